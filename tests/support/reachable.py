"""A rendezvous' relay and STUN server on the simulated network, and agents of which only the front is real.

Owns no protocol: the servers are `rendezvous.relay` and `rendezvous.stun`, the client is `agent.protocol.front`; `Core`
stands for the endpoint and keeps what it was given.
"""

from collections import deque
from collections.abc import Iterable
from functools import partial
from random import Random
from typing import Any

from agent.protocol.front import Front
from agent.protocol.packet import Address, Datagrams
from agent.protocol.reach_events import Reflexive, RelayLost, TicketNeeded
from agent.protocol.reflexion import StunServer
from rendezvous import stun
from rendezvous.contract.ticket import Ticket
from rendezvous.relay import Place
from tests.support.network import Host, Link, Network
from tests.support.relayed import Bench, person, secret_of

RELAY: Address = ("192.0.2.1", 3478)
STUN: Address = ("192.0.2.53", 3478)
ALICE, BOB = ("10.0.0.1", 4001), ("10.0.0.2", 4002)
WEBSOCKET: Address = ("websocket", 0)


class RelayHost:
    """The relay at an address of the network; a WebSocket of the rendezvous leads to it as well."""

    def __init__(self, network: Network, address: Address = RELAY, **rules: Any) -> None:
        self.network, self.address, self._rules = network, address, rules
        self.heard: list[bytes] = []
        self._websockets: dict[Address, tuple[Address, Address]] = {}
        self.restart()
        network.attach(address, self._receive)

    def restart(self) -> None:
        """Forget all bindings."""
        self.bench = Bench(**self._rules)
        self._began = self.bench.now - self.network.now

    def tickets(self, **about: Any) -> dict[str, Ticket]:
        """Return a ticket each for Alice, who asks, and Bob."""
        self.bench.now = self._began + self.network.now
        return dict(zip(("alice", "bob"), self.bench.tickets(**about), strict=True))

    def take(self, data: bytes, place: Place) -> list[tuple[bytes, Address]]:
        """Let the relay receive a datagram."""
        self.heard.append(data)
        self.bench.now = self._began + self.network.now
        return [(out, (to.host, to.port)) for out, to in self.bench.send(data, place)]

    def serve_websockets(self, agent: Address, **path: Any) -> tuple[Link, Link]:
        """Take what an agent sends to `("websocket", n)`; return the links there and back."""
        for number in range(1, 9):
            self.network.attach((WEBSOCKET[0], number), partial(self._by_websocket, number))
        return self.network.join(agent[0], WEBSOCKET[0], **({"delay": 0.03} | path))

    def _receive(self, now: float, source: Address, data: bytes) -> None:
        self._send(self.take(data, Place(*source)))

    def _by_websocket(self, number: int, now: float, source: Address, data: bytes) -> None:
        place = f"websocket of {source}", number
        self._websockets[place] = (WEBSOCKET[0], number), source
        self._send(self.take(data, Place(*place)))

    def _send(self, out: list[tuple[bytes, Address]]) -> None:
        for data, to in out:
            self.network.send(*self._websockets.get(to, (self.address, to)), data)


class Core:
    """Stands for the endpoint: echoes nothing, decides nothing, keeps everything."""

    def __init__(self) -> None:
        self.routes: dict[bytes, list[Address]] = {}
        self.came: list[Datagrams] = []
        self.to_send: deque[Datagrams] = deque()
        self.sessions: set[bytes] = set()
        self.connected: set[bytes] = set()
        self.blocked: list[tuple[Address, str]] = []
        self.closed = False

    def receive(self, arrivals: Iterable[Datagrams], now: float) -> None:
        self.came += [Datagrams(d.address, bytes(d.data), d.size) for d in arrivals]

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        return [self.to_send.popleft()] if self.to_send else []

    def next_event(self) -> None:
        return None

    def next_timeout(self) -> None:
        return None

    def handle_timeout(self, now: float) -> None:
        pass

    def close(self, now: float) -> None:
        self.closed = True

    def unsendable(self, address: Address, reason: str, now: float) -> None:
        self.blocked.append((address, reason))

    def add_route(self, key: bytes, address: Address, now: float) -> None:
        if address not in self.routes.setdefault(key, []):
            self.routes[key].append(address)

    def drop_route(self, key: bytes, address: Address, now: float) -> None:
        self.routes[key].remove(address)

    def needs(self, key: bytes) -> bool:
        return key in self.sessions

    def is_connected(self, key: bytes) -> bool:
        return key in self.connected

    @property
    def texts(self) -> list[tuple[Address, bytes]]:
        """Return each datagram that came, and from where."""
        return [(d.address, bytes(d.data[at : at + d.size])) for d in self.came for at in range(0, len(d.data), d.size)]


class Agent:
    """A front on the network, with a core that only keeps."""

    def __init__(self, network: Network, address: Address, key: bytes, seed: int = 1) -> None:
        self.network, self.key = network, key
        self.core = Core()
        self.front = Front(self.core, Random(seed).randbytes)
        self.host = Host(network, address, self.front, datagrams=Datagrams)
        self.at = address

    def relay(self, peer: "Agent", ticket: Ticket, *servers: Address, **more: Any) -> None:
        """Bind by a ticket."""
        secret = more.pop("secret", None) or secret_of(ticket)
        self.front.relay(peer.key, ticket, secret, servers or (RELAY,), self.network.now, **more)
        self.host.wake()

    def route(self, peer: "Agent") -> Address | None:
        """Return the newest route to a peer."""
        routes = self.core.routes.get(peer.key)
        return routes[-1] if routes else None

    def send(self, peer: "Agent", data: bytes, size: int = 0) -> None:
        """Send datagrams to a peer by its newest route."""
        route = self.route(peer)
        assert route is not None, "there is no route"
        self.core.to_send.append(Datagrams(route, data, size or len(data)))
        self.host.wake()

    @property
    def lost(self) -> list[str]:
        """Return why relays were lost, in the sentences that people read."""
        return [event.reason for event in self.host.events if isinstance(event, RelayLost)]

    @property
    def seen(self) -> list[Reflexive]:
        """Return what STUN servers saw, one after the other."""
        return [event for event in self.host.events if isinstance(event, Reflexive)]

    @property
    def wishes(self) -> int:
        """Count the wishes for tickets."""
        return sum(isinstance(event, TicketNeeded) for event in self.host.events)


class World:
    """Alice, Bob, and a relay between them; no path but through it."""

    def __init__(self, seed: int = 1, rules: dict[str, Any] | None = None, **path: Any) -> None:
        self.network = Network(seed)
        self.relay = RelayHost(self.network, **(rules or {}))
        self.links = [
            link for host in (ALICE, BOB) for link in self.network.join(host[0], RELAY[0], **({"delay": 0.02} | path))
        ]
        self.alice = Agent(self.network, ALICE, person(1), 1)
        self.bob = Agent(self.network, BOB, person(2), 2)

    def bind(self, *servers: Address, **about: Any) -> dict[str, Ticket]:
        """Give both a ticket and let them bind with it."""
        tickets = self.relay.tickets(**about)
        self.alice.relay(self.bob, tickets["alice"], *servers)
        self.bob.relay(self.alice, tickets["bob"], *servers)
        return tickets

    @property
    def bound(self) -> bool:
        """Tell whether both can be reached by both."""
        agents = (self.alice, self.bob)
        return all(any(status.bound and status.peer for status in agent.front.relays()) for agent in agents)

    def until_bound(self, seconds: float = 10.0) -> bool:
        """Run until both can be reached by both."""
        return self.network.run_until(lambda: self.bound, self.network.now + seconds)

    def reaches(self, seconds: float = 5.0) -> bool:
        """Send from Alice to Bob, again and again, until something arrives."""
        before = len(self.bob.core.came)
        ends = self.network.now + seconds
        while self.network.now < ends:
            if self.alice.route(self.bob):
                self.alice.send(self.bob, b"are you there?")
            if self.bob.route(self.alice):
                self.bob.send(self.alice, b"I am.")
            if self.network.run_until(lambda: len(self.bob.core.came) > before, self.network.now + 0.1):
                return True
        return False


class StunHost:
    """The rendezvous' STUN server on two ports of an address."""

    def __init__(self, network: Network, address: Address = STUN, second_port: int | None = 3479) -> None:
        self.network = network
        self.server = StunServer(address, second_port)
        self.asked: list[float] = []
        for at in filter(None, (self.server.address, self.server.second)):
            network.attach(at, partial(self._receive, at))

    def _receive(self, at: Address, now: float, source: Address, data: bytes) -> None:
        self.asked.append(now)
        reply = stun.answer(data, *source, second_port=self.server.second is not None)
        if reply is None:
            return
        leaves_from = self.server.second if reply.from_second_port else at
        assert leaves_from is not None
        self.network.send(leaves_from, source, reply.datagram)
