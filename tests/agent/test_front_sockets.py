"""Two cores, each with its front and pump on real sockets, and a real rendezvous between them."""

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import eventlet
import pytest
import requests

from agent.node import Node
from agent.protocol.candidates import Filtering, Mapping, Nat, PathKind
from agent.protocol.card import own_card
from agent.protocol.endpoint import Endpoint
from agent.protocol.events import QuoteAccepted, QuoteArrived, RequestMade
from agent.protocol.front import Front
from agent.protocol.packet import Address
from agent.protocol.reach_events import Reflexive, RelayBound
from agent.protocol.reflexion import StunServer
from agent.protocol.request import Kind
from rendezvous.contract.encoding import from_text
from rendezvous.contract.ticket import Ticket, decode_ticket
from tests.support.handshakes import ALICE, BOB
from tests.support.live_agent import Agent, sign_up
from tests.support.live_rendezvous import PATIENCE, Rendezvous, Someone, running
from tests.support.pair import QUOTE


@pytest.fixture(scope="module")
def rendezvous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendezvous]:
    with running(tmp_path_factory.mktemp("data")) as rendezvous:
        yield rendezvous


class Side:
    """One person's core on a real socket; says yes to everything, and gives one quote."""

    def __init__(self, name: str, peer: bytes) -> None:
        me = ALICE if name == "alice" else BOB
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.core = Endpoint(me, name, 1, os.urandom, [peer])
        self.front = Front(self.core, os.urandom)
        self.events: list[Any] = []
        self.node = Node(self.front, self.udp, self._on_event)
        self.node.start()

    @property
    def address(self) -> Address:
        host, port = self.udp.getsockname()
        return host, port

    def all(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def stop(self) -> None:
        self.node.stop()
        self.udp.close()

    def _on_event(self, event: Any) -> None:
        self.events.append(event)
        match event:
            case RequestMade(id, made_here=False):
                self.core.answer(id, True, QUOTE, "", self.node.now())
            case QuoteAccepted(id, receives=True):
                self.core.quote_inside(id, self.node.now())


@pytest.fixture
def sides() -> Iterator[tuple[Side, Side]]:
    both = Side("alice", BOB.key), Side("bob", ALICE.key)
    yield both
    for side in both:
        side.stop()


def until(true: Callable[[], object]) -> bool:
    """Let the loop run until something is true, for ten seconds at most."""
    for _ in range(1000):
        if true():
            return True
        eventlet.sleep(0.01)
    return False


def tickets(rendezvous: Rendezvous) -> list[tuple[Ticket, bytes]]:
    """Ask for tickets as agents do; return what each side gets."""
    agents = [Agent(rendezvous, sign_up(rendezvous, Someone(number), f"p{number}")) for number in (1, 2)]
    mine = agents[0].call("ticket", {"peer": "p2"})
    theirs = agents[1].tickets.until(lambda _: True)
    for agent in agents:
        agent.close()
    return [(decode_ticket(from_text(said["ticket"])), from_text(said["secret"])) for said in (mine, theirs)]


def test_a_quote_comes_through_a_real_relay(rendezvous: Rendezvous, sides: tuple[Side, Side]) -> None:
    alice, _ = sides
    server = "127.0.0.1", rendezvous.udp_port
    made = tickets(rendezvous)
    for side, peer, (ticket, secret) in zip(sides, (BOB.key, ALICE.key), made, strict=True):
        side.front.relay(peer, ticket, secret, [server], side.node.now())
        side.node.wake()
    alice.core.ask(bytes(16), Kind.QUOTE, own_card(BOB, "bob"), 60, "", alice.node.now())
    alice.node.wake()
    assert until(lambda: alice.all(QuoteArrived))
    assert alice.all(QuoteArrived)[0].text == QUOTE.text
    assert [event.kind for event in alice.all(RelayBound)] == [PathKind.RELAY_UDP]
    (status,) = alice.front.relays()
    assert status.server == server
    assert made[0][0].budget - 100_000 < status.left < made[0][0].budget


def test_a_real_stun_server_says_that_there_is_no_nat(rendezvous: Rendezvous, sides: tuple[Side, Side]) -> None:
    alice, _ = sides
    told = requests.get(f"{rendezvous.url}/identity", timeout=PATIENCE).json()["stun"][0]
    server = StunServer(("127.0.0.1", rendezvous.udp_port), told["second_port"])
    alice.front.hosts([alice.address])
    alice.front.learn([server], alice.node.now())
    alice.node.wake()
    found = Nat(Mapping.NONE, Filtering.OPEN if server.second_port else Filtering.UNKNOWN)
    assert until(lambda: alice.all(Reflexive)[-1:] == [Reflexive((alice.address,), found)])
