"""How an agent gets at others: what is gathered when, who is told, and tickets asked for and taken.

Core and front are real, the clock and the directory are in the test's hands.
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import pytest

from agent import reach as reaching
from agent.directory_servers import RelayTicket, Servers
from agent.protocol.candidates import Filtering, Found, Mapping, Nat, PathKind
from agent.protocol.endpoint import Endpoint
from agent.protocol.errors import UsageError
from agent.protocol.front import Front
from agent.protocol.packet import Address, Datagrams
from agent.protocol.reach_events import Reflexive, RelayBound, RelayLost, TicketNeeded
from agent.reach import Reachability, resolved
from rendezvous.contract.ticket import Side, Ticket
from tests.support.handshakes import ALICE, BOB, EVE

PORT = 4001
WAIT = 10.0


class Clock:
    """What stands for the pump."""

    def __init__(self) -> None:
        self.time = 100.0
        self.woken = threading.Event()

    def now(self) -> float:
        return self.time

    def wake(self) -> None:
        self.woken.set()

    def arrived(self, datagrams: Datagrams) -> None:
        raise AssertionError("nothing comes here")


@dataclass
class Told:
    """What stands for the rendezvous: which tickets it was asked for, and what it was told."""

    url: str = "http://127.0.0.1:1"
    servers: Servers = field(default_factory=Servers)
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    words: list[dict[str, object]] = field(default_factory=list)
    refusal: UsageError | None = None
    peer: bytes = BOB.key

    def ticket(self, name: str, look: bytes) -> RelayTicket:
        self.asked.append((name, look))
        if self.refusal is not None:
            raise self.refusal
        return given(name, self.peer)

    def publish_reach(self, words: dict[str, object]) -> None:
        self.words.append(words)


def given(name: str, peer: bytes, side: Side = Side.ASKER) -> RelayTicket:
    """Return a ticket of Alice's that no relay will ever see."""
    keys = (ALICE.key, peer) if side is Side.ASKER else (peer, ALICE.key)
    ticket = Ticket(os.urandom(16), side, *keys, "127.0.0.1:9", 4_000_000_000, 1 << 30, bytes(64))
    return RelayTicket(name, ticket, bytes(32), ("127.0.0.1", 9))


class Agent:
    """Alice's ways to others."""

    def __init__(self, left_out: tuple[Any, ...] = (), unwelcome: bytes = b"") -> None:
        self.core = Endpoint(ALICE, "alice", 1, os.urandom, [BOB.key])
        self.front = Front(self.core, os.urandom)
        self.directory, self.clock = Told(), Clock()
        self.changed = threading.Event()
        self.reach = Reachability(
            self.core,
            self.front,
            self.directory,  # type: ignore[arg-type]
            PORT,
            left_out,
            secret=lambda name: name.encode(),
            welcome=lambda key: key != unwelcome,
            on_change=self.changed.set,
        )
        self.reach.attach(self.clock)

    def bound_for(self) -> set[bytes]:
        return {status.key for status in self.front.relays()}

    def found(self, kind: Found) -> set[Address]:
        return {candidate.address for candidate in self.reach.candidates if candidate.found is kind}


@pytest.fixture
def agent(request: pytest.FixtureRequest) -> Iterator[Agent]:
    made = Agent(**getattr(request, "param", {}))
    yield made
    made.reach.stop()


def begun(agent: Agent) -> Agent:
    agent.reach.begin()
    assert agent.changed.wait(WAIT)
    return agent


def test_nothing_is_gathered_and_nobody_told_before_the_sign_up(agent: Agent) -> None:
    assert agent.reach.candidates == ()
    begun(agent)
    assert ("127.0.0.1", PORT) in agent.found(Found.HOST)
    assert agent.directory.words == []  # nothing is known of the network yet


def test_what_stun_and_the_router_say_is_told_to_the_core_and_the_rendezvous(agent: Agent) -> None:
    begun(agent)
    nat = Nat(Mapping.INDEPENDENT, Filtering.PORT)
    agent.reach.on_event(Reflexive((("198.51.100.7", 5000),), nat))
    agent.reach.mapped([("198.51.100.7", 4001)])
    assert agent.found(Found.REFLEXIVE) == {("198.51.100.7", 5000)}
    assert agent.found(Found.MAPPED) == {("198.51.100.7", 4001)}
    words = agent.directory.words[-1]
    expected = {"mapping": "independent", "filtering": "port", "udp": True, "mapped": True}
    assert expected.items() <= words.items()
    agent.reach.on_event(Reflexive((), Nat(Mapping.BLOCKED)))
    assert {"mapping": "blocked", "udp": False}.items() <= agent.directory.words[-1].items()
    assert agent.found(Found.REFLEXIVE) == set()


@pytest.mark.parametrize(
    "agent", [{"left_out": (ip_network("127.0.0.0/8"), ip_network("198.51.100.0/24"))}], indirect=True
)
def test_what_is_left_out_is_told_to_nobody_whoever_has_found_it(agent: Agent) -> None:
    begun(agent)
    agent.reach.on_event(Reflexive((("198.51.100.7", 5000), ("203.0.113.1", 5)), Nat()))
    agent.reach.mapped([("198.51.100.7", 4001)])
    hosts = {candidate.address[0] for candidate in agent.reach.candidates}
    assert "203.0.113.1" in hosts
    assert not hosts & {"127.0.0.1", "198.51.100.7"}


def test_other_addresses_of_the_machine_are_noticed(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(reaching, "host_addresses", lambda: ("192.0.2.1",))
    begun(agent)
    agent.changed.clear()
    monkeypatch.setattr(reaching, "host_addresses", lambda: ("192.0.2.9",))
    assert agent.changed.wait(WAIT)
    assert agent.found(Found.HOST) == {("192.0.2.9", PORT)}


def test_whoever_is_to_be_asked_is_reached_by_a_ticket(agent: Agent) -> None:
    agent.reach.approach("bob", BOB.key)
    assert agent.directory.asked == [("bob", b"bob")]
    assert agent.bound_for() == {BOB.key}


def test_a_ticket_for_somebody_else_is_not_used(agent: Agent) -> None:
    agent.directory.peer = EVE.key
    with pytest.raises(UsageError) as refused:
        agent.reach.approach("bob", BOB.key)
    assert (refused.value.code, agent.bound_for()) == ("unreachable", set())


def test_a_ticket_that_is_refused_is_a_sentence_sooner_or_later(agent: Agent) -> None:
    agent.directory.refusal = UsageError("unreachable", "There is no relay at this rendezvous.")
    with pytest.raises(UsageError):
        agent.reach.approach("bob", BOB.key)
    agent.reach.approach_later("bob", BOB.key)
    for thread in [thread for thread in threading.enumerate() if thread.name == "ticket"]:
        thread.join(WAIT)
    assert agent.reach.trouble_with("bob") == "There is no relay at this rendezvous."
    agent.reach.on_event(RelayBound(BOB.key, PathKind.RELAY_UDP, 1, 0.1))
    assert agent.reach.trouble_with("bob") == ""
    agent.reach.on_event(RelayLost(BOB.key, "The relay does not answer."))
    assert agent.reach.trouble_with("bob") == "The relay does not answer."
    assert agent.reach.trouble_with("eve") == ""


@pytest.mark.parametrize("agent", [{"unwelcome": EVE.key}], indirect=True)
def test_a_ticket_that_is_handed_over_is_taken_but_of_those_who_are_never_answered(agent: Agent) -> None:
    agent.reach.handed(given("eve", EVE.key, Side.OTHER))
    agent.reach.handed(given("bob", BOB.key, Side.OTHER))
    assert agent.clock.woken.wait(WAIT)
    assert agent.bound_for() == {BOB.key}


def test_a_ticket_that_ends_is_asked_for_again_by_the_name_that_it_was_for(agent: Agent) -> None:
    agent.reach.on_event(TicketNeeded(EVE.key))
    assert agent.directory.asked == []
    agent.reach.approach("bob", BOB.key)
    agent.clock.woken.clear()
    agent.reach.on_event(TicketNeeded(BOB.key))
    assert agent.clock.woken.wait(WAIT)
    assert agent.directory.asked == [("bob", b"bob")] * 2


def test_strangers_take_no_more_than_their_places(agent: Agent) -> None:
    for number in range(40):
        agent.reach._bind(given(f"stranger {number}", bytes([number]) * 32, Side.OTHER))
    assert len(agent.bound_for()) == 32
    agent.reach.approach("bob", BOB.key)
    assert BOB.key in agent.bound_for()


def test_a_name_that_cannot_be_resolved_has_no_addresses() -> None:
    assert resolved(("127.0.0.1", 9)) == [("127.0.0.1", 9)]
    assert resolved(("x" * 300, 9)) == []
