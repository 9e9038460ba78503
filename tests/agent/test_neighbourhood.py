"""The child process that speaks with the neighbourhood: it works, comes back, and never outlives its agent."""

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.identity import load_or_make_identity
from agent.nearby.lines import Gateway
from agent.neighbourhood import LanPerson, Neighbourhood, Wish
from agent.protocol.card import Card, own_card
from tests.support.gateways import FakeGateway

PATIENCE = 30.0
PORT = 23456
ROOT = Path(__file__).resolve().parents[2]


class Watched:
    """A neighbourhood, and all that it has told."""

    def __init__(self) -> None:
        self.mapped: list[list[tuple[str, int]]] = []
        self.people: list[LanPerson] = []
        self.gone: list[str] = []
        self.neighbourhood = Neighbourhood(
            self.mapped.append, self.people.append, lambda name, _: self.gone.append(name), pause=0.1
        )

    def wait(self, happened: Callable[[], bool]) -> None:
        """Wait until something is so."""
        until = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < until, (self.mapped, self.people, self.gone)
            threading.Event().wait(0.01)

    def wait_for_end(self) -> None:
        """Wait until there is no child."""
        pid = self.neighbourhood.pid
        if pid is not None:
            wait_for_death(pid)


@pytest.fixture
def watched() -> Iterator[Watched]:
    """A neighbourhood that is stopped at the end."""
    one = Watched()
    yield one
    one.neighbourhood.stop()
    one.wait_for_end()


@pytest.fixture
def router() -> Iterator[FakeGateway]:
    with FakeGateway() as one:
        yield one


def mapping(router: FakeGateway, card: Card | None = None) -> Wish:
    """Wish for a port at this router."""
    return Wish(PORT, card=card, gateways=(Gateway(router.host, router.port, 9),), loopback=True)


def somebody(folder: Path, name: str) -> Card:
    """Make a person."""
    folder.mkdir(mode=0o700)
    return own_card(load_or_make_identity(folder), name)


def wait_for_death(pid: int) -> None:
    """Wait until a process has ended."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            assert select.select([handle], [], [], PATIENCE)[0], "it lives on"
        finally:
            os.close(handle)


def test_an_open_port_is_told_and_given_back_at_the_end(watched: Watched, router: FakeGateway) -> None:
    watched.neighbourhood.start(mapping(router))
    watched.wait(lambda: watched.mapped == [[("8.8.4.4", PORT)]])
    assert watched.neighbourhood.mappings[0].by == "PCP"
    watched.neighbourhood.stop()
    router.wait_for(lambda: not router.open)
    watched.wait(lambda: watched.mapped[-1] == [])


def test_an_address_behind_another_nat_is_known_but_told_to_nobody(watched: Watched, router: FakeGateway) -> None:
    router.external = "10.1.2.3"
    watched.neighbourhood.start(mapping(router))
    watched.wait(lambda: [one.host for one in watched.neighbourhood.mappings] == ["10.1.2.3"])
    assert watched.mapped == []


def test_two_agents_meet_and_part(watched: Watched, tmp_path: Path) -> None:
    alice, bob = somebody(tmp_path / "alice", "alice"), somebody(tmp_path / "bob", "bob")
    other = Watched()
    watched.neighbourhood.start(Wish(PORT, mapping=False, card=alice, loopback=True))
    other.neighbourhood.start(Wish(PORT + 1, mapping=False, card=bob, loopback=True))
    try:
        watched.wait(lambda: any(person.key == bob.key for person in watched.people))
        other.wait(lambda: any(person.key == alice.key for person in other.people))
        assert bob.key in {person.key for person in watched.neighbourhood.people()}
    finally:
        other.neighbourhood.stop()
    watched.wait(lambda: "bob" in watched.gone)
    other.wait(lambda: "alice" in other.gone)
    other.wait_for_end()


def test_there_is_no_child_where_nothing_is_to_do(watched: Watched, router: FakeGateway) -> None:
    watched.neighbourhood.start(Wish(PORT, mapping=False))
    assert watched.neighbourhood.pid is None
    watched.neighbourhood.start(mapping(router))
    watched.wait(lambda: bool(watched.mapped))
    watched.neighbourhood.start(Wish(PORT, mapping=False))
    watched.wait_for_end()
    router.wait_for(lambda: not router.open)


def test_a_child_that_dies_comes_back_after_a_pause_and_one_line_says_so(
    watched: Watched, router: FakeGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    watched.neighbourhood.start(mapping(router))
    watched.wait(lambda: len(watched.mapped) == 1)
    first = watched.neighbourhood.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    watched.wait(lambda: watched.mapped == [[("8.8.4.4", PORT)], [], [("8.8.4.4", PORT)]])
    assert watched.neighbourhood.pid not in (None, first)
    said = [record.getMessage() for record in caplog.records if record.name == "agent.neighbourhood"]
    assert said == ["The helper for routers and the local network ended with status -9; it starts again in 0.1 s."]


def test_a_changed_network_is_looked_at_anew(watched: Watched, router: FakeGateway) -> None:
    watched.neighbourhood.start(mapping(router))
    watched.wait(lambda: len(watched.mapped) == 1)
    router.external = "8.8.8.8"
    watched.neighbourhood.network_changed()
    watched.wait(lambda: watched.mapped[-1] == [("8.8.8.8", PORT)])


AGENT = """
import sys, threading
from agent.nearby.lines import Gateway
from agent.neighbourhood import Neighbourhood, Wish
mapped = threading.Event()
here = Neighbourhood(lambda _: mapped.set(), print, print)
here.start(Wish(23456, gateways=(Gateway("127.0.0.1", int(sys.argv[1]), 9),)))
assert mapped.wait(30)
print(here.pid, flush=True)
threading.Event().wait()
"""


def test_the_child_of_an_agent_that_is_killed_gives_the_port_back_and_ends(router: FakeGateway) -> None:
    command = [sys.executable, "-c", AGENT, str(router.port)]
    agent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert agent.stdout is not None
    with agent:
        child = int(agent.stdout.readline())
        agent.kill()
    wait_for_death(child)
    router.wait_for(lambda: not router.open)
