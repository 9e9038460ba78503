"""Networks behind NATs, and relays, on the simulated network: what stands between two people.

Owns translation, filtering and routing (RFC 4787 in its terms); delays, rates and loss are the links' of `network`, by
the hosts that each network sees. A `Lan` is what one NAT hides; the `Internet` is the outermost one. Private addresses
must differ between LANs. Everything that was sent is kept in `Internet.sent`, for tests that look for leaks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from tests.support.network import Address, Host, Link, Network, Path

RELAYS = ("relay-udp", "relay-ws")
LARGEST_RELAYED = 1200
STUN = ("192.0.2.53", 3478)
FIRST_PORT = 20_000


class Filters(Enum):
    """Whose datagrams come in to a mapping."""

    OPEN = "everybody's"
    ADDRESS = "those of addresses that were sent to"
    PORT = "those of exactly the address and port that was sent to"


@dataclass(slots=True)
class Mapping:
    """A port outside that stands for an address inside."""

    inside: Address
    port: int
    used: float
    sent_to: set[Address] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Nat:
    """A NAT at `outer`, the address of its outside; `symmetric` maps anew for each destination.

    Only what leaves keeps a mapping alive, for `lifetime` seconds (RFC 4787 REQ-6 asks for no more).
    """

    outer: str
    filters: Filters = Filters.PORT
    symmetric: bool = False
    hairpin: bool = False
    blocks_udp: bool = False
    lifetime: float = 120.0
    _mappings: dict[tuple[Address, Address | None], Mapping] = field(default_factory=dict)
    _opened: dict[Address, Mapping] = field(default_factory=dict)
    _next_port: int = FIRST_PORT

    def outward(self, source: Address, destination: Address, now: float) -> Address | None:
        """Return as what a datagram from inside appears outside; None where it may not pass."""
        if self.blocks_udp:
            return None
        opened = self._opened.get(source)
        if opened is not None and destination in opened.sent_to:
            return self.outer, opened.port
        key = source, destination if self.symmetric else None
        mapping = self._mappings.get(key)
        if mapping is None or now - mapping.used > self.lifetime:
            mapping = self._mappings[key] = Mapping(source, self._next_port, now)
            self._next_port += 7  # so that guessing the next one is not what makes a test pass
        mapping.used = now
        mapping.sent_to.add(destination)
        return self.outer, mapping.port

    def inward(self, source: Address, port: int, now: float) -> Address | None:
        """Return for whom inside a datagram to this port is; None where it is let in for nobody."""
        for opened in self._opened.values():
            if opened.port == port:
                opened.sent_to.add(source)
                return opened.inside
        for mapping in self._mappings.values():
            if mapping.port == port and now - mapping.used <= self.lifetime:
                return mapping.inside if self._lets_in(mapping, source) else None
        return None

    def _lets_in(self, mapping: Mapping, source: Address) -> bool:
        if self.filters is Filters.OPEN:
            return True
        if self.filters is Filters.ADDRESS:
            return source[0] in {host for host, _ in mapping.sent_to}
        return source in mapping.sent_to

    def open_port(self, inside: Address) -> Address:
        """Map a port for everybody and for good, as UPnP IGD and PCP do; return the address outside.

        What came in by it is answered from it; everything else leaves as before.
        """
        self._opened[inside] = Mapping(inside, self._next_port, 0.0)
        self._next_port += 7
        return self.outer, self._opened[inside].port

    def flush(self) -> None:
        """Forget every mapping, as a router that starts anew."""
        self._mappings.clear()
        for opened in self._opened.values():
            opened.sent_to.clear()


@dataclass(slots=True, eq=False)
class Lan:
    """The hosts that see each other's own addresses; `nat` leads to `outside`."""

    nat: Nat | None = None
    outside: "Lan | None" = None
    hosts: set[str] = field(default_factory=set)
    path: Path = field(default_factory=lambda: Path(delay=0.0005))


class Sent(NamedTuple):
    """A datagram as it left a host."""

    time: float
    source: Address
    destination: Address
    data: bytes


class Internet(Network):
    """A network with LANs behind NATs. What has no link of its own takes a new one like `lan.path`."""

    def __init__(self, seed: int = 0, **path: Any) -> None:
        super().__init__(seed)
        self.public = Lan(path=Path(**({"delay": 0.02} | path)))
        self._lans: dict[str, Lan] = {}
        self._nats: dict[str, Lan] = {}  # what is behind an outer address
        self._bindings: dict[Address, dict[Address, tuple[Address, Address, Link]]] = {}
        self.sent: list[Sent] = []
        self.settle(STUN[0])

    # --- building it ---

    def lan(self, nat: Nat | None, outside: Lan | None = None, **path: Any) -> Lan:
        """Put a network behind a NAT that is in `outside`; without a NAT it is a network that leads nowhere."""
        lan = Lan(nat, outside or self.public, path=Path(**({"delay": 0.0005} | path)))
        if nat is not None:
            assert lan.outside is not None
            lan.outside.hosts.add(nat.outer)
            self._nats[nat.outer] = lan
        return lan

    def settle(self, host: str, lan: Lan | None = None) -> None:
        """Say where an address is."""
        lan = lan or self.public
        lan.hosts.add(host)
        self._lans[host] = lan

    def leave(self, host: str) -> None:
        """Take an address off the network that it is in."""
        self._lans.pop(host).hosts.discard(host)

    def move(self, host: Host, address: Address, lan: Lan | None = None) -> None:
        """Give a host another address, perhaps in another network, as a laptop that is carried away."""
        self.detach(host.address)
        self.leave(host.address[0])
        self.settle(address[0], lan)
        host.address = address
        self.attach(address, host.arrived)

    def nats_of(self, address: Address) -> list[Nat]:
        """Return the NATs between an address and the public internet, innermost first."""
        found, lan = [], self._lans[address[0]]
        while lan.nat is not None and lan.outside is not None:
            found.append(lan.nat)
            lan = lan.outside
        return found

    def reflexive(self, address: Address) -> Address | None:
        """Return what a STUN server sees of an address; None where nothing gets through."""
        found = self._way_out(address, STUN)
        return found[0] if found is not None else None

    def link(self, one: str, other: str, lan: Lan | None = None) -> Link:
        """Return the link between two hosts of a network, as they see each other; made where there is none."""
        found = self._links.get((one, other))
        if found is None:
            like = (lan or self.public).path
            path = Path(**{name: getattr(like, name) for name in Path.__dataclass_fields__})
            found = self.connect(one, other, Link(self, path))
        return found

    # --- relays ---

    def bind(self, relay: str, number: int, one: Address, other: Address, **path: Any) -> tuple[Link, Link]:
        """Let two hosts reach each other as `(relay, number)`, by links of their own."""
        route = relay, number
        links = Link(self, Path(**({"delay": 0.03} | path))), Link(self, Path(**({"delay": 0.03} | path)))
        table = self._bindings.setdefault(route, {})
        table[one], table[other] = (other, route, links[0]), (one, route, links[1])
        return links

    def rebound(self, route: Address, before: Address, after: Address) -> None:
        """Bind a side of a relay's route at another address, as the relay's client does."""
        table = self._bindings[route]
        other, seen, link = table.pop(before)
        table[after] = other, seen, link
        table[other] = (after, *table[other][1:])

    def routes_of(self, address: Address) -> list[Address]:
        """Return the relayed addresses that somebody has."""
        return [route for route, table in self._bindings.items() if address in table]

    def links(self) -> list[Link]:
        """Return all links but those of relays."""
        return list(self._links.values())

    def _relay(self, source: Address, route: Address, data: bytes) -> None:
        assert len(data) <= LARGEST_RELAYED, "a relay's header must fit as well"
        found = self._bindings.get(route, {}).get(source)
        blocked = route[0] == RELAYS[0] and self._way_out(source, STUN) is None
        if found is None or blocked or (route[0] == RELAYS[0] and self._blocked(found[0])):
            self.unreachable += 1
        else:
            other, seen, link = found
            link.carry(seen, other, data)

    def _blocked(self, address: Address) -> bool:
        return any(nat.blocks_udp for nat in self.nats_of(address)) if address[0] in self._lans else True

    # --- what travels ---

    def send(self, source: Address, destination: Address, data: bytes) -> None:
        """Put one datagram on its way, through the NATs of whoever sends it."""
        self.sent.append(Sent(self.now, source, destination, data))
        if destination[0] in RELAYS:
            self._relay(source, destination, data)
            return
        found = self._way_out(source, destination)
        if found is None:
            self.unreachable += 1
        else:
            seen, lan = found
            self.link(seen[0], destination[0], lan).carry(seen, destination, data)

    def deliver(self, source: Address, destination: Address, data: bytes) -> None:
        """Hand a datagram to its host, through the NATs in front of it."""
        inside: Address | None = destination
        while inside is not None and (lan := self._nats.get(inside[0])) is not None:
            assert lan.nat is not None
            inside = lan.nat.inward(source, inside[1], self.now)
        receive = self._nodes.get(inside) if inside is not None else None
        if receive is None:
            self.unreachable += 1
        else:
            receive(self.now, source, data)

    def _way_out(self, source: Address, destination: Address) -> tuple[Address, Lan] | None:
        """Return as what a source appears in the network that the destination is in, and that network."""
        for lan in self._outwards(source[0]):
            if destination[0] in lan.hosts:
                return source, lan
            nat = lan.nat
            if nat is None or (destination[0] == nat.outer and not nat.hairpin):
                return None
            seen = nat.outward(source, destination, self.now)
            if seen is None:
                return None
            source = seen
        return None

    def _outwards(self, host: str) -> Iterator[Lan]:
        lan = self._lans.get(host)
        while lan is not None:
            yield lan
            lan = lan.outside
