"""What STUN servers see of us (RFC 8489), and how the NAT in front of us behaves (RFC 5780, as far as one server with
two ports can tell). Sans-IO as the core. Used by `front`.

Each address family is asked for itself. An address is told as soon as it is known; then the server is asked to answer
from its second port, to which nothing has been sent yet (filtering), and only then that port itself (mapping). Nothing
is tested twice for one address: by then the second port has been sent to, and any NAT lets it in. The address is asked
for again and again, which keeps the mapping alive, with the longest pauses that it lives through.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from math import inf
from typing import Final

from agent.protocol.candidates import Filtering, Mapping, Nat, usable
from agent.protocol.keepalive import Interval
from agent.protocol.packet import Address, Datagrams
from agent.protocol.reach_events import ReachEvent, Reflexive
from rendezvous.contract import stun

RTO: Final = 0.5  # seconds until a request is sent again; doubles (RFC 8489 section 6.2.1)
MOST_TRIES: Final = 7  # Rc
LAST_WAIT: Final = 16  # Rm: so many times the RTO after the last request, until there will be no answer
REFRESH_TRIES: Final = 4  # of a server that has answered before
TESTS: Final = 5  # requests that want an answer from where none has been sent to
TEST_EVERY: Final = 0.25  # seconds between them
BLOCKED_AFTER: Final = 2.0  # seconds without any answer
RETRY_FIRST, RETRY_LAST = 30.0, 300.0  # seconds between tries where no server answers
MOST_SERVERS: Final = 4  # of each family
TRANSACTION_SIZE: Final = 12


@dataclass(frozen=True, slots=True)
class StunServer:
    """A STUN server, and the port of the same host from which it answers if asked to."""

    address: Address
    second_port: int | None = None

    @property
    def second(self) -> Address | None:
        """Return its second address."""
        return (self.address[0], self.second_port) if self.second_port else None


class _About(Enum):
    ADDRESS = 0
    FILTERING = 1
    MAPPING = 2


@dataclass(slots=True)
class _Query:
    """A request, sent until the answer comes from where it must come."""

    about: _About
    server: StunServer
    to: Address
    awaited_from: Address
    datagram: bytes
    rto: float
    growth: int
    most: int
    last_wait: float
    next: float
    tries: int = 0
    sent: float = 0.0


@dataclass(slots=True)
class _Family:
    """What is known about one address family."""

    servers: tuple[StunServer, ...]
    server: StunServer | None = None  # the one that is asked again
    address: Address | None = None
    tested: Address | None = None  # what the next two are about
    mapping: Mapping = Mapping.UNKNOWN
    filtering: Filtering = Filtering.UNKNOWN
    interval: Interval = field(default_factory=Interval)
    rtt: float | None = None
    judged: float = inf  # when it counts as blocked without an answer
    silent: bool = False
    again: float = inf
    retry: float = RETRY_FIRST
    refreshing: bool = False
    seen: dict[Address, Address] = field(default_factory=dict)
    queries: dict[bytes, _Query] = field(default_factory=dict)


class Reflexion:
    """The client of all STUN servers. Requests go into `out`; `events` gains a Reflexive when what is known changes."""

    def __init__(self, random: Callable[[int], bytes], out: deque[Datagrams], events: deque[ReachEvent]) -> None:
        self._random, self._out, self._events = random, out, events
        self._families: dict[int, _Family] = {}
        self._hosts: frozenset[Address] = frozenset()
        self._told = Reflexive((), Nat())

    # --- verbs ---

    def learn(self, servers: Sequence[StunServer], now: float) -> None:
        """Ask these servers from now on."""
        for version in (4, 6):
            mine = tuple(server for server in servers if ip_address(server.address[0]).version == version)[
                :MOST_SERVERS
            ]
            family = self._families.get(version)
            if family is None and mine:
                self._families[version] = family = _Family(mine)
            elif family is None or family.servers == mine:
                continue
            elif not mine:
                del self._families[version]
                continue
            family.servers, family.server = mine, None
            self._ask_all(family, now)
        self._tell()

    def relearn(self, now: float) -> None:
        """Ask anew: the network has changed."""
        for family in self._families.values():
            self._ask_all(family, now)

    def doubt(self, now: float) -> None:
        """Look whether the address is another, unless that was looked at just now."""
        for family in self._families.values():
            if family.address is not None and not family.queries:
                self._ask_again(family, now)

    def hosts(self, addresses: Sequence[Address]) -> None:
        """Learn what addresses our own interfaces have, with our port: what is seen as it is has no NAT."""
        self._hosts = frozenset(addresses)
        self._tell()

    def unsendable(self, address: Address, now: float) -> None:
        """Learn that requests to an address do not leave."""
        for family in self._families.values():
            if family.judged < inf and all(query.to == address for query in family.queries.values()):
                family.address, family.silent, family.judged = None, True, inf
        self._tell()

    def came(self, now: float) -> None:
        """Learn that something came over UDP: where no server has answered, ask again."""
        for family in self._families.values():
            if family.silent and not family.queries:
                self._ask_all(family, now)

    # --- questions ---

    @property
    def blocked(self) -> bool:
        """Tell whether no UDP comes back at all, as far as STUN servers can tell."""
        return bool(self._families) and all(family.silent for family in self._families.values())

    def seen(self) -> list[tuple[Address, Address | None]]:
        """Return each server, and as what it has seen us."""
        return [(s.address, f.seen.get(s.address)) for f in self._families.values() for s in f.servers]

    # --- doors ---

    def receive(self, datagram: bytes, source: Address, now: float) -> bool:
        """Take what may be an answer; tell whether our address has changed by it.

        It counts with the transaction of a question, and from the address that was asked, or asked to have answer.
        """
        message = stun.decode(datagram)
        if message is None or message.kind not in (stun.BINDING_SUCCESS, stun.BINDING_ERROR):
            return False
        for version, family in self._families.items():
            query = family.queries.get(message.transaction)
            if query is not None and message.kind == stun.BINDING_ERROR and source == query.to:
                del family.queries[message.transaction]
                self._failed(family, query, now, Filtering.UNKNOWN)
            elif query is not None and message.kind == stun.BINDING_SUCCESS and source == query.awaited_from:
                address = stun.unpack_address(message.get(stun.XOR_MAPPED_ADDRESS) or b"", message.transaction)
                if address is None or not usable(address) or ip_address(address[0]).version != version:
                    return False
                del family.queries[message.transaction]
                before = family.address
                self._answered(family, query, address, now)
                self._tell()
                return before not in (None, family.address)
        return False

    def next_timeout(self) -> float:
        """Return when `handle_timeout` must be called at the latest."""
        times = [inf]
        for family in self._families.values():
            times += family.judged, family.again, *(query.next for query in family.queries.values())
        return min(times)

    def handle_timeout(self, now: float) -> None:
        """Act on what is due."""
        for family in self._families.values():
            for id, query in [(id, query) for id, query in family.queries.items() if now >= query.next]:
                if query.tries < query.most:
                    self._send(query, now)
                else:
                    del family.queries[id]
                    self._failed(family, query, now, Filtering.PORT)
            if now >= family.judged:
                family.address, family.silent, family.judged = None, True, inf
            if now >= family.again:
                family.again = inf
                self._ask_again(family, now)
        self._tell()

    # --- asking ---

    def _ask_all(self, family: _Family, now: float) -> None:
        family.queries.clear()
        family.again, family.refreshing = inf, False
        family.judged = now + BLOCKED_AFTER if not family.silent else inf
        family.seen.clear()
        for server in family.servers:
            self._ask(family, server, _About.ADDRESS, MOST_TRIES, now)

    def _ask_again(self, family: _Family, now: float) -> None:
        if family.server is None or family.address is None:
            self._ask_all(family, now)
            return
        family.refreshing = True
        self._ask(family, family.server, _About.ADDRESS, REFRESH_TRIES, now)

    def _ask(self, family: _Family, server: StunServer, about: _About, most: int, now: float) -> None:
        transaction = self._random(TRANSACTION_SIZE)
        to = awaited_from = server.address
        datagram = stun.encode(stun.Message(stun.BINDING_REQUEST, transaction))
        rto, growth, last_wait = RTO, 2, LAST_WAIT * RTO
        if about is not _About.ADDRESS:
            assert server.second is not None
            awaited_from = server.second
            rto, growth, last_wait = max(TEST_EVERY, family.rtt or RTO), 1, max(RTO, 2 * (family.rtt or 0.0))
        if about is _About.MAPPING:
            to = awaited_from
        if about is _About.FILTERING:
            datagram = stun.change_request(transaction)
        query = _Query(about, server, to, awaited_from, datagram, rto, growth, most, last_wait, now)
        family.queries[transaction] = query
        self._send(query, now)

    def _send(self, query: _Query, now: float) -> None:
        self._out.append(Datagrams(query.to, query.datagram, len(query.datagram)))
        query.tries += 1
        query.sent = now
        query.next = now + (query.last_wait if query.tries == query.most else query.rto)
        query.rto *= query.growth

    # --- what comes of it ---

    def _answered(self, family: _Family, query: _Query, address: Address, now: float) -> None:
        if query.tries == 1:
            family.rtt = now - query.sent
        match query.about:
            case _About.ADDRESS:
                self._seen_as(family, query.server, address, now)
            case _About.FILTERING:
                family.filtering = Filtering.OPEN
                self._test_mapping(family, query.server, now)
            case _About.MAPPING:
                family.mapping = Mapping.INDEPENDENT if address == family.address else Mapping.DEPENDENT

    def _seen_as(self, family: _Family, server: StunServer, address: Address, now: float) -> None:
        family.judged, family.silent, family.retry = inf, False, RETRY_FIRST
        first = not family.seen
        family.seen[server.address] = address
        if not first and server != family.server:  # one more that was asked at the same time
            if address != family.address:
                family.mapping = Mapping.DEPENDENT
            return
        if family.refreshing and address == family.address:
            family.interval.held()
        elif family.refreshing:
            family.interval.broke()
        family.refreshing = False
        family.server, family.address = server, address
        family.again = now + family.interval.seconds
        if address != family.tested:
            family.tested, family.mapping, family.filtering = address, Mapping.UNKNOWN, Filtering.UNKNOWN
            if server.second is not None:
                self._ask(family, server, _About.FILTERING, TESTS, now)

    def _test_mapping(self, family: _Family, server: StunServer, now: float) -> None:
        if family.address not in self._hosts:
            self._ask(family, server, _About.MAPPING, TESTS, now)

    def _failed(self, family: _Family, query: _Query, now: float, filtering: Filtering) -> None:
        """Go on after a request without an answer."""
        if query.about is _About.FILTERING:
            family.filtering = filtering
            self._test_mapping(family, query.server, now)
        elif query.about is _About.ADDRESS and family.refreshing:
            self._ask_all(family, now)
        elif query.about is _About.ADDRESS and not family.queries and not family.seen:
            family.again = now + family.retry
            family.retry = min(2 * family.retry, RETRY_LAST)

    def _tell(self) -> None:
        """Say what is known, if that has changed."""
        families = [family for family in self._families.values() if family.address is not None]
        nat = Nat(Mapping.BLOCKED) if self.blocked else Nat()
        if families:
            first = families[0]
            mapping = Mapping.NONE if first.address in self._hosts else first.mapping
            nat = Nat(mapping, first.filtering)
        value = Reflexive(tuple(family.address for family in families if family.address is not None), nat)
        if value != self._told:
            self._told = value
            self._events.append(value)
