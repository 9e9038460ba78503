"""Two real agents in one local network, without a router, a rendezvous or anything else: they meet and exchange."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.history import History
from tests.lab.crew import wait_for
from tests.lab.spaces import Space, Spaces, why_not
from tests.support.local_client import LocalClient, Refused, Value
from tests.support.programs import Agent, Programs, furnished

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
NOBODY = "http://192.168.5.99:8000"
ADDRESSES = {"alice": "192.168.5.1", "bob": "192.168.5.2"}


def signed_up_earlier(folder: Path, name: str) -> Path:
    """Make the data folder of somebody who has had this name before."""
    data = furnished(folder / name)
    with contextlib.closing(History(data / "history.db")) as history:
        history.set_setting("name", name)
    return data


def wire(spaces: Spaces) -> dict[str, Space]:
    """Join two machines by a cable."""
    alice, bob = (spaces.make(name) for name in ADDRESSES)
    alice.ip(f"link add lan type veth peer name lan netns {bob.name}")
    for space, host in zip((alice, bob), ADDRESSES.values(), strict=True):
        space.ip(f"addr add {host}/24 dev lan", "link set lan up")
    return {"alice": alice, "bob": bob}


@contextlib.contextmanager
def people(folder: Path) -> Iterator[tuple[dict[str, LocalClient], dict[str, Space], dict[str, Agent]]]:
    """Start an agent on each machine; open their pages."""
    with contextlib.ExitStack() as opened:
        machines = wire(opened.enter_context(Spaces()))
        programs = opened.enter_context(Programs(folder))
        agents = {name: Agent(name, signed_up_earlier(folder, name), NOBODY, signs_up=False) for name in machines}
        for name, agent in agents.items():
            with machines[name].entered():
                programs.run(agent)
        pages = {}
        for name, agent in agents.items():
            with machines[name].entered():
                pages[name] = opened.enter_context(contextlib.closing(LocalClient(agent.page_url)))
        yield pages, machines, agents


def listed(page: LocalClient, name: str) -> Value | None:
    """Return what a page is told of somebody whom the list of people has."""
    people: list[Value] = []
    with contextlib.suppress(Refused):  # there is no rendezvous, and not yet anybody in the network
        people = page.call("list_people")["people"]
    return next((person for person in people if person["name"] == name), None)


def test_two_people_meet_connect_and_exchange_a_quote(tmp_path: Path) -> None:
    with people(tmp_path) as (pages, machines, agents):
        alice, bob = pages["alice"], pages["bob"]
        seen = wait_for("alice to see bob", lambda: listed(alice, "bob"), 40)
        assert seen is not None
        assert (seen["online"], seen["lan"], seen["unchecked"], seen["connected"]) == (True, True, True, False)
        wait_for("bob to see alice", lambda: listed(bob, "alice"), 40)

        request = alice.ask("connect_to", "bob")
        asked = bob.until_asked("alice", "connection")
        assert (asked, bob.requests[asked]["unchecked"]) == (request, True)
        bob.accept(request)
        alice.until_phase(request, "done")

        quote = alice.ask("ask_quote", "bob")
        bob.accept(quote)
        alice.until_phase(quote, "done")
        alice.until_person("bob", connected=True, lan=True, path="lan")

        with machines["bob"].entered():  # who is away and comes back is found again
            assert agents["bob"].stop() == 0
        alice.until_person("bob", online=False)
        with machines["bob"].entered():
            agents["bob"].start()
            agents["bob"].wait_until_ready()
        alice.until_person("bob", online=True, lan=True)
