"""Alice and Bob behind NATs, with a relay between them: what is gathered and told about them is done here at once."""

from dataclasses import dataclass
from typing import Any, Final

from agent.protocol.candidates import Candidate, Filtering, Found, Mapping, PathKind
from agent.protocol.candidates import Nat as Behaviour
from agent.protocol.events import PathChanged
from agent.protocol.packet import Address
from agent.protocol.report import Report
from agent.protocol.request import Kind, Phase
from tests.support.handshakes import ALICE, BOB
from tests.support.nats import Filters, Internet, Lan, Nat
from tests.support.network import Link
from tests.support.pair import Person

RELAY: Final[Address] = ("relay-udp", 1)
STUN_DELAY: Final = 0.1  # seconds that it takes to ask a STUN server
RELAY_DELAY: Final = 0.03  # seconds, each way; the direct path has 0.02


@dataclass(frozen=True, slots=True)
class Front:
    """What stands in front of somebody: the filters of a NAT, or None where there is none."""

    filters: Filters | None = None
    symmetric: bool = False
    carrier: bool = False
    """There is a second NAT, of the same behaviour, behind it."""
    blocked: bool = False
    hairpin: bool = False
    lifetime: float = 120.0
    ipv6: bool = False
    """There is no NAT, and the address is one of IPv6."""


NONE, FULL_CONE = Front(), Front(Filters.OPEN)
ADDRESS_RESTRICTED, PORT_RESTRICTED = Front(Filters.ADDRESS), Front(Filters.PORT)
IPV6 = Front(ipv6=True)
SYMMETRIC = Front(Filters.PORT, symmetric=True)
DOUBLE = Front(Filters.PORT, carrier=True)
BLOCKED = Front(Filters.PORT, blocked=True)


class Side:
    """One person, and the networks around them; `number` keeps their addresses apart from the other's."""

    def __init__(self, meeting: "Meeting", name: str, front: Front, number: int, lan: Lan | None) -> None:
        self.net, self.front, self.number = meeting.net, front, number
        self.nats: list[Nat] = []
        self.mapped: Address | None = None
        self.lan = lan or self._networks(front)
        host = f"198.51.{100 + number}.1" if self.lan is self.net.public else f"192.168.{number}.2"
        if front.ipv6:
            host = f"2001:db8:{number}::2"
        self.address = host, 4000 + number
        self.net.settle(host, self.lan)
        identity, peer = (ALICE, BOB.key) if name == "alice" else (BOB, ALICE.key)
        peers = [peer] if meeting.connected else []
        self.person = meeting.person(self.net, name, identity, peers, where=self.address)
        self.person.dials = False
        self.person.notices = self._notice

    def _notice(self, event: object) -> None:
        """Ask STUN anew where a direct path was lost: the NAT may have forgotten."""
        if isinstance(event, PathChanged) and event.kind.relayed:
            self.net.call_at(self.net.now + STUN_DELAY, self.gather)

    def _networks(self, front: Front) -> Lan:
        if front.filters is None:
            return self.net.public
        outside = self.net.public
        outer = f"203.0.113.{self.number}"
        if front.carrier:
            outside = self._behind(outer, None)
            outer = f"100.64.0.{self.number}"
        return self._behind(outer, outside)

    def _behind(self, outer: str, outside: Lan | None) -> Lan:
        front = self.front
        assert front.filters is not None
        nat = Nat(outer, front.filters, front.symmetric, front.hairpin, front.blocked, front.lifetime)
        self.nats.append(nat)
        return self.net.lan(nat, outside)

    def candidates(self) -> list[Candidate]:
        """Return what an agent would gather."""
        found = [Candidate(Found.HOST, self.address)]
        reflexive = self.net.reflexive(self.address)
        if reflexive is not None and reflexive != self.address:
            found.append(Candidate(Found.REFLEXIVE, reflexive))
        if self.mapped is not None:
            found.append(Candidate(Found.MAPPED, self.mapped))
        return found

    def behaviour(self) -> Behaviour:
        """Return what STUN would say of the NAT."""
        front = self.front
        if front.filters is None:
            return Behaviour(Mapping.NONE, Filtering.OPEN)
        if front.blocked:
            return Behaviour(Mapping.BLOCKED)
        mapping = Mapping.DEPENDENT if front.symmetric else Mapping.INDEPENDENT
        return Behaviour(mapping, Filtering.PORT if front.filters is Filters.PORT else Filtering.OPEN)

    def gather(self) -> None:
        """Tell the core where it can be reached, as the agent does at the start and when its network changes."""
        self.person.core.set_candidates(self.candidates(), self.behaviour(), self.net.now)
        self.person.host.wake()

    def move(self, address: Address, lan: Lan | None = None) -> None:
        """Take another address, as a laptop that is carried away, and notice it."""
        self.net.move(self.person.host, address, lan)
        for route in self.net.routes_of(self.address):
            self.net.rebound(route, self.address, address)
        self.address = self.person.where = address
        self.lan = lan or self.net.public
        self.person.core.network_changed(self.net.now)
        self.gather()


class Meeting:
    """Two sides, and the links of the relay between them; `start` lets their cores know what is to be known."""

    person: type[Person] = Person

    def __init__(
        self,
        one: Front = NONE,
        other: Front = NONE,
        *,
        seed: int = 1,
        connected: bool = False,
        together: bool = False,
        relay: Address = RELAY,
        **path: Any,
    ) -> None:
        self.net = Internet(seed, **path)
        self.connected = connected
        self.relay = relay
        alice = Side(self, "alice", one, 1, None)
        bob = Side(self, "bob", other, 2, alice.lan if together else None)
        self.sides = alice, bob
        self.alice, self.bob = alice.person, bob.person
        shaped = {"delay": RELAY_DELAY} | {name: value for name, value in path.items() if name != "delay"}
        self.relayed: tuple[Link, Link] = self.net.bind(*relay, alice.address, bob.address, **shaped)

    def start(self) -> "Meeting":
        """Give both a route by the relay, and what they have gathered."""
        for side, other in (self.sides, self.sides[::-1]):
            side.person.core.add_route(other.person.card.key, self.relay, self.net.now)
            side.gather()
        return self

    def connect(self, seconds: float = 5.0) -> float:
        """Let Alice ask Bob for a connection, who says yes at once; return when it was there."""
        self.bob.says = lambda asked: True
        id = self.alice.ask(Kind.CONNECTION, self.bob)
        assert self.net.run_until(lambda: self.alice.phase(id) is Phase.DONE, self.net.now + seconds)
        return self.net.now

    def report(self, person: Person) -> Report:
        other = self.bob if person is self.alice else self.alice
        report = person.core.report(other.card.key)
        assert report is not None
        return report

    def kinds(self) -> tuple[PathKind | None, PathKind | None]:
        """Return of which kind the paths are that both use."""
        return self.report(self.alice).kind, self.report(self.bob).kind

    def until(self, *kinds: PathKind, seconds: float = 2.0) -> bool:
        """Run until both use a path of one of these kinds."""
        return self.net.run_until(lambda: all(kind in kinds for kind in self.kinds()), self.net.now + seconds)

    def changes(self, person: Person) -> list[PathChanged]:
        return [event for event in person.events if isinstance(event, PathChanged)]

    def cut(self, down: bool = True) -> None:
        """Let the direct paths go dark, or come back."""
        self.net.public.path.down = down
        for link in self.net.links():
            if link not in self.relayed:
                link.path.down = down
