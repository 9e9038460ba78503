"""The client of all relays: which peers can be reached through one, under which relayed address, and with what left.

Owns the bindings by peer, wraps what the endpoint sends to relayed addresses and unwraps what comes. Sans-IO as the
core. A peer may have several bindings, where both sides have asked for a ticket: of those through which both can be
reached the one that ends last stays. Both sides see the same tickets, so they keep the same one. Used by `front`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

from agent.protocol.binding import NO_ANSWER, Binding
from agent.protocol.candidates import PathKind
from agent.protocol.packet import Address, Datagrams
from agent.protocol.reach_events import ReachEvent, RelayBound, RelayLost, TicketNeeded
from agent.protocol.wrapping import header_of, unwrap, wrap
from rendezvous.contract import relay
from rendezvous.contract.relay import HEADER_SIZE, Kind, Refusal
from rendezvous.contract.ticket import Side, Ticket

MOST_STRANGERS: Final = 32  # bindings for people who asked us and whom we are not connected with; a relay allows 64
MOST_OF_ONE: Final = 4  # bindings with one peer
UNNEEDED: Final = 120.0  # seconds without a session after which a binding is let go
LOOK: Final = 10.0  # seconds between looks at whether there is one
RENEW: Final = 120.0  # seconds before a ticket ends
ASK_AGAIN: Final = 30.0  # seconds between wishes for a ticket
OVERLAP: Final = 5.0  # seconds that a route is kept beside the one that takes its place
_TOO_MANY_STRANGERS: Final = "Too many people who are no contacts want to reach this agent through a relay."


class Routes(Protocol):
    """What is needed of the endpoint."""

    def add_route(self, key: bytes, address: Address, now: float) -> None: ...
    def drop_route(self, key: bytes, address: Address, now: float) -> None: ...
    def needs(self, key: bytes) -> bool: ...
    def is_connected(self, key: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """One binding, as people may see it: `left` bytes of its budget, `rtt` seconds to the relay, `trouble` a sentence
    or empty; `peer`: the other side is bound too.
    """

    key: bytes
    kind: PathKind
    server: Address | None
    left: int
    rtt: float | None
    bound: bool
    peer: bool
    trouble: str


@dataclass(slots=True)
class _Entry:
    """A binding, whom it is for, and what the endpoint has been told of it."""

    binding: Binding
    key: bytes
    ends: float
    needed: float
    route: Address | None = None
    with_peer: bool = False
    trouble: str = ""
    retires: float = inf

    @property
    def rank(self) -> tuple[int, bytes]:
        return self.binding.ticket.expires, self.binding.ticket.id


class Relays:
    """All bindings of one agent. What is for relays goes into `out`, what is for the agent into `events`."""

    def __init__(
        self, routes: Routes, random: Callable[[int], bytes], out: deque[Datagrams], events: deque[ReachEvent]
    ) -> None:
        self._routes, self._random, self._out, self._events = routes, random, out, events
        self._entries: dict[int, _Entry] = {}
        self._bound: dict[tuple[Address, bytes], _Entry] = {}  # by server and binding
        self._leaving: list[tuple[float, bytes, Address]] = []  # routes that are about to go
        self._wanted: dict[bytes, float] = {}  # when a ticket is wished for
        self._wished: dict[bytes, float] = {}  # when it was
        self._count = 0
        self._next_look = inf
        self._blocked = False

    # --- verbs ---

    def relay(
        self, key: bytes, ticket: Ticket, secret: bytes, servers: Sequence[Address], now: float, lasts: float
    ) -> None:
        """Reach a peer through a relay from now on, for as long as there is need and the ticket `lasts`."""
        mine = [entry for entry in self._entries.values() if entry.key == key]
        if any(entry.rank == (ticket.expires, ticket.id) for entry in mine) or not servers:
            return
        full = ticket.side is Side.OTHER and self._is_strange(key) and self._strangers() >= MOST_STRANGERS
        if full and not mine:
            self._events.append(RelayLost(key, _TOO_MANY_STRANGERS))
            return
        if full or len(mine) >= MOST_OF_ONE:
            self._end(min(mine, key=lambda entry: (entry.with_peer, entry.rank)), now)
        self._wanted.pop(key, None)
        self._count += 1
        binding = Binding(self._count, ticket, secret, servers, self._random, now, self._blocked, self._out)
        self._entries[self._count] = _Entry(binding, key, now + lasts, now)
        self._next_look = min(self._next_look, now + LOOK)

    def release(self, key: bytes, now: float) -> None:
        """Reach a peer through no relay any more."""
        self._wanted.pop(key, None)
        for entry in [entry for entry in self._entries.values() if entry.key == key]:
            self._end(entry, now)

    def rebind(self, now: float, key: bytes | None = None) -> None:
        """Bind everything anew, or what is for one peer: our address may be another."""
        for entry in self._entries.values():
            if entry.binding.over is None and key in (None, entry.key):
                entry.binding.bind(now)

    def set_blocked(self, blocked: bool, now: float) -> None:
        """Learn whether any UDP at all comes back."""
        self._blocked = blocked
        for entry in self._entries.values():
            entry.binding.set_blocked(blocked, now)

    def unsendable(self, address: Address, now: float) -> None:
        """Learn that datagrams to an address, of a relay perhaps, do not leave."""
        for entry in self._entries.values():
            entry.binding.unsendable(address, now)

    def statuses(self) -> list[RelayStatus]:
        """Return all bindings."""
        return [
            RelayStatus(e.key, b.kind, b.server, b.left, b.rtt, b.server is not None, b.peer, b.trouble)
            for e in self._entries.values()
            for b in [e.binding]
        ]

    # --- doors ---

    def receive(self, datagrams: Datagrams, at: int, now: float) -> tuple[Datagrams | None, int]:
        """Take what is at byte `at`, one of a relay's: return what goes up, and how many bytes were read."""
        view, size = memoryview(datagrams.data)[at:], datagrams.size
        if view[0] == Kind.DATA and min(size, len(view)) > HEADER_SIZE:
            header, inner, read = unwrap(view, size)
            entry = self._bound.get((datagrams.address, header[1:]))
            if entry is None:
                return None, read
            entry.binding.heard(read)
            return Datagrams((entry.binding.kind, entry.binding.number), inner, size - HEADER_SIZE), read
        said = relay.decode(bytes(view[:size]))
        for entry in [e for e in self._entries.values() if datagrams.address in e.binding.servers]:
            entry.binding.receive(said, datagrams.address, now)
            self._look_after(entry, now)
        return None, size

    def wrapped(self, datagrams: Datagrams, now: float) -> list[Datagrams]:
        """Return what carries datagrams for a relayed address; nothing where there is no such binding now."""
        entry = self._entries.get(datagrams.address[1])
        if entry is None or (server := entry.binding.server) is None:
            return []
        header = header_of(entry.binding.id)
        out = [Datagrams(server, data, size) for data, size in wrap(header, datagrams.data, datagrams.size)]
        for outer in out:
            entry.binding.sent(len(outer.data), now)
        return out

    def next_timeout(self) -> float:
        """Return when `handle_timeout` must be called at the latest."""
        times = [self._next_look, *self._wanted.values(), *(when for when, _, _ in self._leaving)]
        for entry in self._entries.values():
            times += entry.binding.timeout(), entry.ends, entry.retires
        return min(times)

    def handle_timeout(self, now: float) -> None:
        """Act on what is due."""
        for entry in list(self._entries.values()):
            if now >= entry.ends:
                entry.binding.end(Refusal.EXPIRED)
            entry.binding.handle_timeout(now)
            self._look_after(entry, now)
        for entry in [entry for entry in self._entries.values() if now >= entry.retires]:
            self._end(entry, now)
        for when, key, route in self._leaving[:]:
            if now >= when:
                self._leaving.remove((when, key, route))
                self._routes.drop_route(key, route, now)
        if now >= self._next_look:
            self._look(now)
        for key in [key for key, when in self._wanted.items() if now >= when]:
            del self._wanted[key]
            self._wished[key] = now
            self._events.append(TicketNeeded(key))

    # --- inside ---

    def _is_strange(self, key: bytes) -> bool:
        return not self._routes.is_connected(key)

    def _strangers(self) -> int:
        entries = self._entries.values()
        return sum(e.binding.ticket.side is Side.OTHER and self._is_strange(e.key) for e in entries)

    def _look_after(self, entry: _Entry, now: float) -> None:
        """Tell the endpoint and the agent what has changed with a binding."""
        binding = entry.binding
        route = (binding.kind.value, binding.number) if binding.server is not None else None
        self._find_again(entry)
        if route != entry.route:
            self._reroute(entry, route, now)
        elif route is not None and binding.peer and not entry.with_peer:
            self._routes.add_route(entry.key, route, now)  # what was dropped until now gets through
        entry.with_peer = route is not None and binding.peer
        if route is None and binding.trouble and binding.trouble != entry.trouble and not self._others(entry):
            self._events.append(RelayLost(entry.key, binding.trouble))
        entry.trouble = binding.trouble
        if binding.over is not None:
            self._end(entry, now)
            if not self._others(entry):
                self._want(entry.key, now)
        elif entry.with_peer:
            self._retire_others(entry, now)

    def _find_again(self, entry: _Entry) -> None:
        found = (entry.binding.server, entry.binding.id)
        if found[0] is not None and self._bound.get((found[0], found[1])) is entry:
            return
        for place in [place for place, other in self._bound.items() if other is entry]:
            del self._bound[place]
        if found[0] is not None:
            self._bound[found[0], found[1]] = entry

    def _reroute(self, entry: _Entry, route: Address | None, now: float) -> None:
        old, entry.route = entry.route, route
        if route is not None:
            self._leaving = [leaving for leaving in self._leaving if leaving[2] != route]
            self._routes.add_route(entry.key, route, now)
            self._events.append(RelayBound(entry.key, entry.binding.kind, entry.binding.left, entry.binding.rtt or 0.0))
        if old is not None and route is not None:
            self._leaving.append((now + OVERLAP, entry.key, old))
        elif old is not None:
            self._routes.drop_route(entry.key, old, now)

    def _retire_others(self, entry: _Entry, now: float) -> None:
        """Let go of the bindings with the same peer that end before one that works."""
        for other in self._entries.values():
            if other.key == entry.key and other.rank < entry.rank and other.retires == inf:
                other.retires = now + OVERLAP

    def _end(self, entry: _Entry, now: float) -> None:
        del self._entries[entry.binding.number]
        for place in [place for place, other in self._bound.items() if other is entry]:
            del self._bound[place]
        gone = [leaving for leaving in self._leaving if leaving[2][1] == entry.binding.number]
        self._leaving = [leaving for leaving in self._leaving if leaving not in gone]
        for route in {entry.route, *(leaving[2] for leaving in gone)}:
            if route is not None:
                self._routes.drop_route(entry.key, route, now)

    def _others(self, entry: _Entry) -> bool:
        """Tell whether another binding with the same peer is at work."""
        return any(e.key == entry.key and e is not entry and e.route is not None for e in self._entries.values())

    def _want(self, key: bytes, now: float) -> None:
        """Wish for another ticket."""
        self._wanted.setdefault(key, max(now, self._wished.get(key, -inf) + ASK_AGAIN))

    def _look(self, now: float) -> None:
        """Let go of what nobody needs, and wish for new tickets in time, and where a relay does not answer."""
        for entry in list(self._entries.values()):
            if self._routes.needs(entry.key):
                entry.needed = now
                ending = now >= entry.ends - RENEW and entry.retires == inf and self._is_last(entry)
                if ending or (entry.binding.trouble == NO_ANSWER and not self._others(entry)):
                    self._want(entry.key, now)
            elif now >= entry.needed + UNNEEDED:
                self._end(entry, now)
        self._wished = {key: when for key, when in self._wished.items() if now < when + ASK_AGAIN}
        self._next_look = now + LOOK if self._entries else inf

    def _is_last(self, entry: _Entry) -> bool:
        return all(other.rank <= entry.rank for other in self._entries.values() if other.key == entry.key)
