"""Two whole cores that reach each other through a relay alone: the endpoint, the front, the rendezvous' own relay."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.protocol.front import Front
from agent.protocol.packet import SMALLEST_DATAGRAM, Address, Datagrams
from agent.protocol.reflexion import StunServer
from agent.protocol.request import Kind, Phase
from rendezvous.contract.relay import HEADER_SIZE
from tests.support.handshakes import ALICE, BOB
from tests.support.network import Host, Network
from tests.support.pair import ADDRESSES, QUOTE, Person, picture
from tests.support.reachable import RELAY, STUN, WEBSOCKET, Agent, RelayHost
from tests.support.relayed import Bench, secret_of, sign


class Relayed(Person):
    """A person whose core has its front."""

    def _new_host(self, **host: Any) -> Host:
        self.front = Front(self.core, self.network.random.randbytes)
        return Host(
            self.network, ADDRESSES[self.name], self.front, on_event=self._on_event, datagrams=Datagrams, **host
        )


class RelayedPair:
    """Alice and Bob, with a ticket each; between them is a relay, and nothing else."""

    def __init__(self, seed: int = 1, connected: bool = True, **path: Any) -> None:
        self.network = Network(seed)
        self.relay = RelayHost(self.network, ticket_rate=1e9, ticket_burst=1e8, person_rate=1e9, person_burst=1e8)
        self.links = [
            link
            for name in ("alice", "bob")
            for link in self.network.join(ADDRESSES[name][0], RELAY[0], **({"delay": 0.015} | path))
        ]
        self.relay.serve_websockets(ADDRESSES["alice"])
        self.alice = Relayed(self.network, "alice", ALICE, [BOB.key] if connected else [])
        self.bob = Relayed(self.network, "bob", BOB, [ALICE.key] if connected else [])
        self.sent: list[int] = []

    def bind(self, *servers: Address) -> None:
        """Give both a ticket."""
        tickets = self.relay.tickets()
        for person, peer in ((self.alice, self.bob), (self.bob, self.alice)):
            ticket = sign(replace(tickets[person.name], asker=ALICE.key, other=BOB.key))
            person.front.relay(peer.card.key, ticket, secret_of(ticket), servers or (RELAY,), self.network.now)
            person.host.wake()

    def until(self, id: bytes, phase: Phase, seconds: float = 60.0) -> bool:
        """Run until both sides are in this phase."""
        people = (self.alice, self.bob)
        return self.network.run_until(lambda: all(p.phase(id) is phase for p in people), self.network.now + seconds)

    def fetch(self, size: int) -> bytes:
        """Have Alice ask for a picture that Bob gives; return the request."""
        self.bob.says = lambda asked: picture(size)
        id = self.alice.ask(Kind.IMAGE, self.bob)
        assert self.until(id, Phase.TRANSFERRING)
        return id


@pytest.mark.parametrize("path", [{}, {"loss": 0.05, "reorder": 0.1, "reorder_depth": 3, "duplicate": 0.05}])
def test_strangers_connect_and_exchange_through_the_relay_alone(path: dict[str, Any]) -> None:
    pair = RelayedPair(connected=False, **path)
    pair.bob.says = lambda asked: True
    pair.bind()
    id = pair.alice.ask(Kind.CONNECTION, pair.bob)
    assert pair.until(id, Phase.DONE, 5.0)
    pair.bob.says = lambda asked: QUOTE
    id = pair.alice.ask(Kind.QUOTE, pair.bob)
    assert pair.until(id, Phase.DONE, 5.0)
    id = pair.fetch(200_000)
    assert pair.until(id, Phase.DONE)
    assert pair.alice.sinks[id].data == picture(200_000).source.data  # type: ignore[attr-defined]
    assert max(map(len, pair.relay.heard)) == HEADER_SIZE + SMALLEST_DATAGRAM


def test_who_asks_before_the_relay_is_bound_does_not_wait_longer_than_it_must() -> None:
    pair = RelayedPair(connected=False)
    pair.bob.says = lambda asked: True
    id = pair.alice.ask(Kind.CONNECTION, pair.bob)
    pair.network.run_for(0.5)
    pair.bind()
    began = pair.network.now
    assert pair.until(id, Phase.DONE)
    assert pair.network.now - began < 1.2


@settings(max_examples=300, deadline=None)
@given(
    data=st.binary(min_size=1, max_size=300),
    first=st.sampled_from([0, 1, 3, 4, *range(0xE0, 0xF0)]),
    size=st.integers(1, 300),
    at=st.sampled_from([RELAY, STUN, ("203.0.113.9", 9), ("websocket", 1), ("relay-udp", 1)]),
)
def test_no_datagram_whatsoever_stops_the_front(data: bytes, first: int, size: int, at: Address) -> None:
    pair = Agent(Network(1), ADDRESSES["alice"], ALICE.key)
    pair.front.learn([StunServer(STUN, 3479)], 0.0)
    ticket = Bench().tickets()[0]
    pair.front.relay(BOB.key, ticket, secret_of(ticket), [RELAY, WEBSOCKET], 0.0)
    pair.front.receive([Datagrams(at, memoryview(bytes([first]) + data), size)], 0.1)
    assert pair.core.routes == {}
    assert pair.front.next_event() is None


@pytest.mark.parametrize("what", ["the relay forgets", "a mapping is flushed", "UDP stops"])
def test_a_transfer_through_the_relay_survives_and_loses_less_than_three_seconds(what: str) -> None:
    def seconds(happens: bool) -> float:
        pair = RelayedPair(rate=3e5)
        pair.bind(RELAY, WEBSOCKET)
        id = pair.fetch(500_000)
        pair.network.run_for(0.5)
        if happens and what == "the relay forgets":
            pair.relay.restart()
        elif happens and what == "a mapping is flushed":
            pair.network.rebind(ADDRESSES["alice"], (ADDRESSES["alice"][0], 5555))
        elif happens:
            for link in pair.links[:2]:
                link.path.down = True
        assert pair.until(id, Phase.DONE)
        return pair.network.now

    assert seconds(True) - seconds(False) < 3.0
