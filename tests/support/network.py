"""A simulated network with a clock of its own: what the protocol's tests run on, not sockets.

Owns time, links and their impairments, and `Host`, which drives one protocol endpoint through its
five doors as the real pump does. It knows nothing of the protocol: what travels is bytes between
`(host, port)` addresses. Everything that happens follows from the seed, so a failing test fails
again.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, Protocol

Address = tuple[str, int]
Receive = Callable[[float, Address, bytes], None]

IP_AND_UDP_HEADERS = 28  # bytes that every datagram costs on the link beside its own
LONGEST_HOLD = 0.1  # seconds after which a reordered datagram moves on even if nothing overtakes it
TURNS_AT_ONE_INSTANT = 20_000  # more than this without time moving on is an endpoint that spins


class Network:
    """An event loop on simulated seconds, and the links between hosts."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self._order = count()
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._nodes: dict[Address, Receive] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._seen_as: dict[Address, Address] = {}
        self._behind: dict[Address, Address] = {}
        self.unreachable = 0

    def call_at(self, when: float, call: Callable[..., object], *arguments: Any) -> None:
        """Run `call` at `when`, or at once if that is past; within an instant, in order."""
        heappush(self._events, (max(when, self.now), next(self._order), call, arguments))

    def run_until(self, done: Callable[[], bool], deadline: float) -> bool:
        """Let events happen until `done()`; false if `deadline` or the last event came first."""
        events = self._events
        while not done():
            if not events or events[0][0] > deadline:
                self.now = max(self.now, deadline)
                return False
            self.now, _, call, arguments = heappop(events)
            call(*arguments)
        return True

    def run_for(self, seconds: float) -> None:
        """Let this much time pass."""
        self.run_until(lambda: False, self.now + seconds)

    def attach(self, address: Address, receive: Receive) -> None:
        """Hand what arrives at `address` to `receive(now, source, data)`."""
        self._nodes[address] = receive

    def detach(self, address: Address) -> None:
        """Let nothing arrive at `address` any more."""
        self._nodes.pop(address, None)

    def connect(self, source: str, destination: str, link: "Link") -> "Link":
        """Carry what host `source` sends to `destination` over `link`, which pairs may share."""
        self._links[source, destination] = link
        return link

    def join(self, one: str, other: str, **path: Any) -> tuple["Link", "Link"]:
        """Connect two hosts by a link of the same `Path` each way."""
        there = self.connect(one, other, Link(self, Path(**path)))
        return there, self.connect(other, one, Link(self, Path(**path)))

    def rebind(self, address: Address, seen_as: Address) -> None:
        """Make `address` appear as `seen_as` from now on, as a NAT that forgot its mapping does.

        What others send to the earlier mapping is lost. Links go by the host that others see.
        """
        self._behind.pop(self._seen_as.get(address, address), None)
        self._seen_as[address] = seen_as
        self._behind[seen_as] = address

    def send(self, source: Address, destination: Address, data: bytes) -> None:
        """Put one datagram on the link between the two hosts; without a link it is lost."""
        source = self._seen_as.get(source, source)
        link = self._links.get((source[0], destination[0]))
        if link is None:
            self.unreachable += 1
        else:
            link.carry(source, destination, data)

    def deliver(self, source: Address, destination: Address, data: bytes) -> None:
        """Hand a datagram that came through its link to the node behind `destination`."""
        inside = self._behind.get(destination)
        if inside is None and destination not in self._seen_as:
            inside = destination
        receive = self._nodes.get(inside) if inside else None
        if receive is None:
            self.unreachable += 1
        else:
            receive(self.now, source, data)


@dataclass(slots=True)
class Path:
    """The properties of one direction; they may be changed while it is in use.

    Probabilities are 0 to 1. `burst` is Gilbert-Elliott: the chances to turn bad, to turn good
    again, and to lose a datagram while bad. A `reorder`ed datagram is overtaken by up to
    `reorder_depth` others.
    """

    delay: float = 0.0  # seconds, one way
    jitter: float = 0.0  # seconds, uniform on top of the delay; order is kept
    rate: float | None = None  # bytes a second, headers included
    queue: float = 250_000.0  # bytes that wait for the link before the tail is dropped
    loss: float = 0.0
    burst: tuple[float, float, float] | None = None
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_depth: int = 0
    corrupt: float = 0.0
    down: bool = False


@dataclass(slots=True)
class Counters:
    """What went through a link. `queue_bytes_max` is what waited or was being sent, at most."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    dropped: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0
    queue_bytes_max: float = 0.0


@dataclass(slots=True)
class _Held:
    """A datagram that waits to be overtaken."""

    overtakers: int
    arguments: tuple[Address, Address, bytes]


@dataclass(slots=True, eq=False)
class Link:
    """One direction between hosts: loss, a drop-tail queue, a line of some rate, then delay."""

    network: Network
    path: Path = field(default_factory=Path)
    counters: Counters = field(default_factory=Counters)
    _line_free_at: float = 0.0
    _last_arrival: float = 0.0
    _bad: bool = False
    _held: list[_Held] = field(default_factory=list)

    def queued(self) -> float:
        """Return the bytes that wait for the line now."""
        return max(0.0, self._line_free_at - self.network.now) * (self.path.rate or 0.0)

    def blackout(self, start: float, seconds: float) -> None:
        """Lose everything from `start` on, for so long."""
        self.network.call_at(start, self._set_down, True)
        self.network.call_at(start + seconds, self._set_down, False)

    def _set_down(self, down: bool) -> None:
        self.path.down = down

    def carry(self, source: Address, destination: Address, data: bytes) -> None:
        """Take one datagram: lose it, or see that it arrives."""
        path, counters, random = self.path, self.counters, self.network.random.random
        size = len(data) + IP_AND_UDP_HEADERS
        counters.packets += 1
        counters.bytes += size
        if path.down or self._burst_loses() or (path.loss and random() < path.loss):
            counters.lost += 1
            return
        departure = self._through_the_queue(size)
        if departure is None:
            counters.dropped += 1
            return
        arrival = departure + path.delay
        if path.jitter:
            arrival += path.jitter * random()
        self._last_arrival = arrival = max(arrival, self._last_arrival)
        if path.corrupt and random() < path.corrupt:
            counters.corrupted += 1
            data = self._flip_a_bit(data)
        arguments = (source, destination, data)
        if path.reorder and random() < path.reorder:
            self._hold(arrival, arguments)
        else:
            self.network.call_at(arrival, self.network.deliver, *arguments)
        if path.duplicate and random() < path.duplicate:
            counters.duplicated += 1
            self.network.call_at(arrival, self.network.deliver, *arguments)
        if self._held:
            self._overtake(arrival)

    def _burst_loses(self) -> bool:
        if self.path.burst is None:
            return False
        turn_bad, turn_good, lose = self.path.burst
        random = self.network.random.random
        self._bad = random() >= turn_good if self._bad else random() < turn_bad
        return self._bad and random() < lose

    def _through_the_queue(self, size: int) -> float | None:
        """Return when the line has sent so many bytes; None if the queue has no room for them."""
        now, rate = self.network.now, self.path.rate
        if rate is None:
            return now
        start = max(now, self._line_free_at)
        waiting = (start - now) * rate + size
        if waiting > self.path.queue:
            return None
        self.counters.queue_bytes_max = max(self.counters.queue_bytes_max, waiting)
        self._line_free_at = start + size / rate
        return self._line_free_at

    def _flip_a_bit(self, data: bytes) -> bytes:
        changed = bytearray(data)
        bit = self.network.random.randrange(8 * len(changed))
        changed[bit >> 3] ^= 1 << (bit & 7)
        return bytes(changed)

    def _hold(self, arrival: float, arguments: tuple[Address, Address, bytes]) -> None:
        """Keep a datagram back until so many later ones, or `LONGEST_HOLD`, have passed."""
        self.counters.reordered += 1
        later = self.network.random.randint(1, self.path.reorder_depth)
        held = _Held(1 + later, arguments)  # it counts itself as well
        self._held.append(held)
        self.network.call_at(arrival + LONGEST_HOLD, self._release, held)

    def _overtake(self, arrival: float) -> None:
        for held in self._held[:]:
            held.overtakers -= 1
            if held.overtakers <= 0:
                self._held.remove(held)
                self.network.call_at(arrival, self.network.deliver, *held.arguments)

    def _release(self, held: _Held) -> None:
        if held in self._held:
            self._held.remove(held)
            self.network.deliver(*held.arguments)


@dataclass(frozen=True, slots=True)
class Datagrams:
    """Datagrams of one address back to back, each of `size` bytes; the last may be shorter.

    The shape of the protocol's own value, so that this module imports nothing of the protocol.
    """

    address: Address
    data: bytes
    size: int


class Core(Protocol):
    """The five doors of a protocol endpoint."""

    def receive(self, datagrams: Any, now: float) -> None: ...
    def datagrams_to_send(self, now: float) -> Sequence[Any]: ...
    def next_event(self) -> Any: ...
    def next_timeout(self) -> float | None: ...
    def handle_timeout(self, now: float) -> None: ...


class Host:
    """Drives a protocol endpoint on the simulated network, as the agent's pump does on sockets.

    Arrivals of one instant (or, with `turn`, of so many seconds: the granularity of a real loop)
    are handed over together, those of one source and size as one value, as the kernel's GRO does.
    Timers are late by up to `turn` too. Events go to `on_event`, or else gather in `events`.
    After calling a verb of the core, call `wake`.
    """

    def __init__(
        self,
        network: Network,
        address: Address,
        core: Core,
        *,
        on_event: Callable[[Any], None] | None = None,
        datagrams: Callable[[Address, bytes, int], Any] = Datagrams,
        turn: float = 0.0,
    ) -> None:
        self.network = network
        self.address = address
        self.core = core
        self.events: deque[Any] = deque()
        self.turns = 0
        self._on_event = on_event or self.events.append
        self._datagrams = datagrams
        self._turn = turn
        self._inbox: list[tuple[Address, bytes]] = []
        self._next_turn: float | None = None
        self._turns_now = 0
        self._last_turn = -1.0
        network.attach(address, self.arrived)
        self.wake()

    def wake(self) -> None:
        """See to it that the endpoint gets its turn now."""
        self._have_a_turn_at(self.network.now)

    def stop(self) -> None:
        """Vanish without a word: nothing arrives, nothing leaves, no timer fires."""
        self.network.detach(self.address)
        self._next_turn = -1.0

    def arrived(self, now: float, source: Address, data: bytes) -> None:
        """Take a datagram, as `Network.attach` wants it."""
        self._inbox.append((source, data))
        self._have_a_turn_at(now + self._turn)

    def _have_a_turn_at(self, when: float) -> None:
        if self._next_turn is None or when < self._next_turn:
            self._next_turn = when
            self.network.call_at(when, self._take_turn, when)

    def _take_turn(self, when: float) -> None:
        if self._next_turn != when:
            return  # overtaken by an earlier turn, or stopped
        self._next_turn = None
        now = self.network.now
        self._count_turn(now)
        core = self.core
        if self._inbox:
            core.receive(self._arrivals(), now)
        timeout = core.next_timeout()
        if timeout is not None and timeout <= now:
            core.handle_timeout(now)
        busy = True
        while busy:
            busy = self._hand_out_events()
            busy = self._send(now) or busy
        timeout = core.next_timeout()
        if timeout is not None:
            self._have_a_turn_at(max(timeout, now + self._turn))

    def _count_turn(self, now: float) -> None:
        self.turns += 1
        self._turns_now = self._turns_now + 1 if now == self._last_turn else 0
        self._last_turn = now
        assert self._turns_now < TURNS_AT_ONE_INSTANT, "the endpoint's timeout stays in the past"

    def _arrivals(self) -> list[Any]:
        """Join what one source sent in datagrams of one size; a shorter one ends the run."""
        arrivals, inbox, start = [], self._inbox, 0
        self._inbox = []
        for end in range(1, len(inbox) + 1):
            source, first = inbox[start]
            if end < len(inbox):
                next_source, following = inbox[end]
                full = len(inbox[end - 1][1]) == len(first)
                if next_source == source and full and len(following) <= len(first):
                    continue
            joined = b"".join(data for _, data in inbox[start:end])
            arrivals.append(self._datagrams(source, joined, len(first)))
            start = end
        return arrivals

    def _hand_out_events(self) -> bool:
        any_came = False
        while (event := self.core.next_event()) is not None:
            any_came = True
            self._on_event(event)
        return any_came

    def _send(self, now: float) -> bool:
        any_sent = False
        while batch := self.core.datagrams_to_send(now):
            any_sent = True
            for datagrams in batch:
                data, size = bytes(datagrams.data), datagrams.size
                for start in range(0, len(data), size):
                    self.network.send(self.address, datagrams.address, data[start : start + size])
        return any_sent
