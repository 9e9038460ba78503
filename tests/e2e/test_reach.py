"""How real agents get at each other: strangers at the relay, contacts directly, and without the rendezvous too."""

import hashlib
import json
import time
from collections.abc import Iterator

import pytest

from tests.support.local_client import LocalClient, Value, clients, connect
from tests.support.pictures import picture
from tests.support.programs import Agent, Programs, Rendezvous, furnished

NOWHERE = ("--no-candidates", "0.0.0.0/0,::/0")
DEBUG = ("--log-level", "debug")


@pytest.fixture(scope="module")
def agents(programs: Programs, rendezvous: Rendezvous) -> list[Agent]:
    """Alice and Bob, who tell everything that they do; Carol and Dora, who tell no peer where they are."""
    flags = {"alice": DEBUG, "bob": DEBUG, "carol": NOWHERE, "dora": NOWHERE}
    started = [
        programs.run(Agent(name, furnished(programs.folder / name), rendezvous.url, *more))
        for name, more in flags.items()
    ]
    for agent in started:
        agent.wait_until_ready()
    return started


@pytest.fixture
def people(agents: list[Agent]) -> Iterator[list[LocalClient]]:
    with clients(*(agent.page_url for agent in agents)) as people:
        for person in people:
            person.until(lambda person=person: person.me, "a name")  # type: ignore[misc]
        yield people


def path_to(person: LocalClient, name: str) -> str | None:
    """Return the path in use, as the page is told it."""
    path: str | None = person.call("get_person", name=name)["person"].get("path")
    return path


def said_by(agent: Agent, person: LocalClient) -> str:
    """Return all that an agent has told its page, its log, and the doctor."""
    events = [json.dumps(value) for _, _, value in person.events]
    return "\n".join([agent.log, *events, json.dumps(person.call("get_doctor", peer="alice"))])


def test_a_stranger_comes_through_the_relay_and_both_move_together_after_the_yes(
    agents: list[Agent], people: list[LocalClient]
) -> None:
    alice, bob = people[:2]
    ours = alice.state["settings"]["peer_port"]
    theirs = bob.state["settings"]["peer_port"]
    request = alice.ask("connect_to", "bob", wish="We met at the fair")
    bob.until_phase(request, "waiting")
    assert (path_to(alice, "bob"), path_to(bob, "alice")) == ("relay-udp", "relay-udp")
    assert str(ours) not in said_by(agents[1], bob)
    assert str(theirs) not in "\n".join([agents[0].log, json.dumps([value for *_, value in alice.events])])
    bob.accept(request)
    for side, name in ((alice, "bob"), (bob, "alice")):
        side.until_phase(request, "done")
        side.until_person(name, connected=True, path="loopback")
    assert f":{ours}" in said_by(agents[1], bob)  # now the doctor may tell


def test_a_quote_crosses_over_tcp_where_the_path_is_direct(people: list[LocalClient]) -> None:
    alice, bob = people[:2]
    entry = quote_asked(alice, bob)
    assert entry["via"] in ("tcp", "tcp-back")


def test_who_tells_no_address_exchanges_through_the_relay(people: list[LocalClient]) -> None:
    carol, dora = people[2:]
    connect(carol, dora)
    entry = quote_asked(carol, dora)
    assert entry["via"] == "session"
    data = picture("PNG", (900, 600), seed=5, compress_level=0)
    request = carol.ask("ask_image", "dora")
    dora.accept(request, item=dora.upload(data)["item"])
    url = carol.until_phase(request, "done")["image"]["url"]
    assert carol.get(url)[2] == data
    for side, name in ((carol, "dora"), (dora, "carol")):
        side.until_phase(request, "done")
        assert path_to(side, name) == "relay-udp"
        doctor = side.call("get_doctor", peer=name)
        assert doctor["tried"] == []
        assert 0 < doctor["relay"]["left"] < 1 << 30


def quote_asked(asker: LocalClient, giver: LocalClient) -> Value:
    """Have a quote exchanged; return the asker's entry."""
    assert giver.me is not None
    request = asker.ask("ask_quote", giver.me)
    giver.accept(request)
    giver.until_phase(request, "done")
    return asker.until_phase(request, "done")


def test_without_the_rendezvous_contacts_go_on_and_find_each_other_again_where_they_were(
    agents: list[Agent], people: list[LocalClient], rendezvous: Rendezvous
) -> None:
    alice, bob = people[:2]
    rendezvous.kill()
    data = picture("PNG", (1200, 900), seed=6, compress_level=0)
    request = alice.ask("ask_image", "bob")
    bob.accept(request, item=bob.upload(data)["item"])
    image = alice.until_phase(request, "done")["image"]
    assert image["sha256"] == hashlib.sha256(data).hexdigest()
    assert quote_asked(bob, alice)["via"] in ("tcp", "tcp-back")

    agents[1].kill()
    agents[1].start()
    agents[1].wait_until_ready()
    with clients(agents[1].page_url) as (again,):
        began = time.monotonic()
        assert quote_asked(again, alice)["quote"]
        assert time.monotonic() - began < 20
        again.until_person("alice", path="loopback")
