"""What stands between the endpoint and the socket: relays and STUN servers. Sans-IO, with the same five doors.

What comes from relays and STUN servers goes to their clients; relayed datagrams go up under relayed addresses, and what
the endpoint sends to those goes down wrapped. Verbs about peers stay the endpoint's: callers keep it. After any door or
verb of either, call the doors here as the endpoint's docstring says. Used by `agent.node` and `agent.app`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Protocol

from agent.protocol import handshake, packet
from agent.protocol.binding import WEBSOCKET
from agent.protocol.candidates import RELAY_UDP, RELAY_WS
from agent.protocol.events import Event, PathChanged
from agent.protocol.packet import Address, Datagrams
from agent.protocol.reach_events import ReachEvent
from agent.protocol.reflexion import Reflexion, StunServer
from agent.protocol.relays import Relays, RelayStatus, Routes
from rendezvous.contract.relay import FIRST_BYTES
from rendezvous.contract.ticket import Ticket

_RELAYED = (RELAY_UDP, RELAY_WS)
_STUN = range(4)  # RFC 7983
_PEERS = (packet.DATA, handshake.INITIATION, handshake.RESPONSE, handshake.COOKIE)


class Core(Routes, Protocol):
    """What is needed of the endpoint: its doors, and where peers can be reached."""

    def receive(self, arrivals: Sequence[Datagrams], now: float) -> None: ...
    def datagrams_to_send(self, now: float) -> list[Datagrams]: ...
    def next_event(self) -> Event | None: ...
    def next_timeout(self) -> float | None: ...
    def handle_timeout(self, now: float) -> None: ...
    def close(self, now: float) -> None: ...
    def unsendable(self, address: Address, reason: str, now: float) -> None: ...


class Front:
    """The endpoint's doors, with relays and STUN servers beside them. `random(n)` returns n random bytes."""

    def __init__(self, endpoint: Core, random: Callable[[int], bytes]) -> None:
        self._endpoint = endpoint
        self._out: deque[Datagrams] = deque()
        self._events: deque[ReachEvent] = deque()
        self._relays = Relays(endpoint, random, self._out, self._events)
        self._reflexion = Reflexion(random, self._out, self._events)
        self._blocked = False
        self._doubted: list[bytes] = []  # peers whose direct path is gone: a NAT may have forgotten us
        self._due = inf  # when one of the two has something to do
        self._stale = False  # it may be another time by now

    # --- verbs ---

    def relay(
        self, key: bytes, ticket: Ticket, secret: bytes, servers: Sequence[Address], now: float, lasts: float = 3600.0
    ) -> None:
        """Reach a peer through the relay at `servers`, by a ticket that is good for `lasts` seconds.

        `("websocket", 0)` among the servers is the WebSocket of the rendezvous, used where UDP is silent: its datagrams
        leave for `("websocket", n)`, a connection for each n. What becomes of it: RelayBound, RelayLost, TicketNeeded.
        """
        self._relays.relay(key, ticket, secret, servers, now, lasts)
        self._stale = True

    def release(self, key: bytes, now: float) -> None:
        """Reach a peer through no relay any more; what is not needed is released by itself after two minutes."""
        self._relays.release(key, now)
        self._stale = True

    def relays(self) -> list[RelayStatus]:
        """Return how it stands with all relays."""
        return self._relays.statuses()

    def learn(self, servers: Sequence[StunServer], now: float) -> None:
        """Ask these STUN servers, given by IP address, what they see of us: now, and as often as keeps it true.

        What becomes of it: Reflexive.
        """
        self._reflexion.learn(servers, now)
        self._stale = True

    def hosts(self, addresses: Sequence[Address]) -> None:
        """Learn the addresses of this machine, each with the peer port: what is seen as it is has no NAT."""
        self._reflexion.hosts(addresses)

    def seen(self) -> list[tuple[Address, Address | None]]:
        """Return each STUN server, and as what it sees us; None where it does not answer."""
        return self._reflexion.seen()

    def relearn(self, now: float) -> None:
        """Learn everything anew that depends on our addresses: the network has changed."""
        self._reflexion.relearn(now)
        self._relays.rebind(now)
        self._stale = True

    def unsendable(self, address: Address, reason: str, now: float) -> None:
        """Learn that the kernel, ICMP or the WebSocket says that datagrams to an address do not go (see Endpoint)."""
        self._relays.unsendable(address, now)
        self._reflexion.unsendable(address, now)
        self._heed(now)
        self._stale = True
        self._endpoint.unsendable(address, reason, now)

    def close(self, now: float) -> None:
        """Say goodbye to all peers: the agent stops. Next: `datagrams_to_send`, until there is nothing."""
        self._endpoint.close(now)

    # --- the five doors ---

    def receive(self, arrivals: Sequence[Datagrams], now: float) -> None:
        """Take datagrams."""
        for datagrams in arrivals:
            if datagrams.data and datagrams.data[0] not in _PEERS:
                self._stale = True
                arrivals = self._taken_apart(arrivals, now)
                break
        if arrivals:
            self._endpoint.receive(arrivals, now)

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        """Return datagrams to send now, none if there are none. Their data is good until the next call."""
        if self._doubted:
            self._doubt(now)
        if self._out:
            out = list(self._out)
            self._out.clear()
            return out
        while out := self._endpoint.datagrams_to_send(now):
            for datagrams in out:
                if datagrams.address[0] in _RELAYED:
                    self._stale = True
                    out = self._wrapped(out, now)
                    break
            if out:
                return out
        return []

    def next_event(self) -> Event | ReachEvent | None:
        """Return what happened next, or None."""
        if self._events:
            return self._events.popleft()
        event = self._endpoint.next_event()
        if isinstance(event, PathChanged) and event.kind.relayed:
            self._doubted.append(event.peer.key)
        return event

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` must be called at the latest, or None."""
        if self._stale:
            self._stale = False
            self._due = min(self._relays.next_timeout(), self._reflexion.next_timeout())
        theirs = self._endpoint.next_timeout()
        if theirs is None:
            return None if self._due == inf else self._due
        return min(theirs, self._due)

    def handle_timeout(self, now: float) -> None:
        """Act on what is due. Too early or too often does no harm."""
        if now >= self._due or self._stale:
            self._stale = True
            self._reflexion.handle_timeout(now)
            self._heed(now)
            self._relays.handle_timeout(now)
        self._endpoint.handle_timeout(now)

    # --- inside ---

    def _taken_apart(self, arrivals: Sequence[Datagrams], now: float) -> list[Datagrams]:
        """Hand over what is for the clients; return the rest, and what was inside."""
        up = []
        for datagrams in arrivals:
            data, size, at = datagrams.data, datagrams.size, 0
            if data and data[0] in _PEERS:
                up.append(datagrams)
                continue
            while at < len(data):
                if data[at] in FIRST_BYTES:
                    inner, read = self._relays.receive(datagrams, at, now)
                    at += read
                    if inner is not None:
                        up.append(inner)
                    elif self._blocked and datagrams.address[0] != WEBSOCKET:
                        self._reflexion.came(now)
                    continue
                one = Datagrams(datagrams.address, data[at : at + size], size)
                at += size
                if one.data[0] in _STUN:
                    self._receive_stun(one, now)
                else:
                    up.append(one)
        return up

    def _doubt(self, now: float) -> None:
        """Bind anew for peers that are left to a relay, and look whether our address is another."""
        for key in self._doubted:
            self._relays.rebind(now, key)
        self._doubted.clear()
        self._reflexion.doubt(now)
        self._stale = True

    def _receive_stun(self, datagrams: Datagrams, now: float) -> None:
        if self._reflexion.receive(bytes(datagrams.data), datagrams.address, now):
            self._relays.rebind(now)
        self._heed(now)

    def _heed(self, now: float) -> None:
        """Let the relays know whether UDP is blocked."""
        if self._reflexion.blocked != self._blocked:
            self._blocked = not self._blocked
            self._relays.set_blocked(self._blocked, now)

    def _wrapped(self, out: list[Datagrams], now: float) -> list[Datagrams]:
        wrapped = []
        for datagrams in out:
            if datagrams.address[0] in _RELAYED:
                wrapped += self._relays.wrapped(datagrams, now)
            else:
                wrapped.append(datagrams)
        return wrapped
