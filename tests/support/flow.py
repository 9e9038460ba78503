"""A model of one transfer: what a congestion controller needs around it, and no protocol.

A sender with a window, a pacer, packet-threshold and time-threshold loss detection and probe
timeouts (RFC 9002, in short), and a receiver that acknowledges every second packet or after 25 ms.
`transfer` and `share` measure controllers on the simulated network with it.
"""

from collections.abc import Callable, Sequence
from math import ceil, floor
from struct import Struct
from typing import Any, NamedTuple, Protocol

from agent.protocol.pacing import Pacer
from tests.support.network import IP_AND_UDP_HEADERS, Address, Link, Network, Path

DATAGRAM = 1452
PAYLOAD = 1416  # what a sealed datagram carries of a picture
ACK_OVERHEAD = 40  # bytes of header, delay and tag
ACK_DELAY = 0.025
PACKET_THRESHOLD = 3
TIMER_STEP = 0.001
RANGES_IN_AN_ACK = 32
DATA = Struct("!QI")
LARGEST = Struct("!Q")
RANGE = Struct("!HH")  # the gap above, and the numbers in it less one


class Controls(Protocol):
    """What a congestion controller offers a sender."""

    @property
    def window(self) -> int: ...
    @property
    def rate(self) -> float: ...
    def on_sent(self, now: float, size: int, in_flight: int) -> Any: ...
    def on_app_limited(self, in_flight: int) -> None: ...
    def on_ack(
        self,
        now: float,
        acked: Sequence[tuple[Any, int]],
        lost: int,
        in_flight: int,
        rtt: float | None,
        min_rtt: float,
    ) -> None: ...
    def on_lost(self, now: float, lost: int, in_flight: int) -> None: ...
    def on_persistent_congestion(self, now: float) -> None: ...


Make = Callable[[int, float], Controls]


class Shares(NamedTuple):
    """What the first of two senders got of what both did, and both of what the link could carry."""

    first: float
    used: float


class Receiver:
    """Acknowledges what arrives, and knows when everything has."""

    def __init__(
        self,
        network: Network,
        address: Address,
        ack_every: int = 2,
        ack_delay: float = ACK_DELAY,
    ) -> None:
        self.network, self.address = network, address
        self.ack_every, self.ack_delay = ack_every, ack_delay
        self.chunks: set[int] = set()
        self.finished_at: float | None = None
        self.bytes = 0
        self._ranges: list[list[int]] = []
        self._unacknowledged = 0
        self._timer = 0
        self._expected: int | None = None
        network.attach(address, self._receive)

    def expect(self, chunks: int) -> None:
        """Note the time when so many different chunks have arrived."""
        self._expected = chunks

    def _receive(self, now: float, source: Address, data: bytes) -> None:
        number, chunk = DATA.unpack_from(data)
        self.bytes += len(data) + IP_AND_UDP_HEADERS
        self.chunks.add(chunk)
        if self.finished_at is None and len(self.chunks) == self._expected:
            self.finished_at = now
        in_order = self._note(number)
        self._unacknowledged += 1
        if self._unacknowledged >= self.ack_every or not in_order:
            self._acknowledge(source)
        elif self._unacknowledged == 1:
            self.network.call_at(now + self.ack_delay, self._on_timer, self._timer, source)

    def _note(self, number: int) -> bool:
        """Add a packet number to the ranges, newest first; false if it came out of order."""
        ranges = self._ranges
        if ranges and number == ranges[0][1] + 1:
            ranges[0][1] = number
            return True
        place = next((i for i, (_, high) in enumerate(ranges) if high < number), len(ranges))
        if place and ranges[place - 1][0] <= number:
            return False
        ranges.insert(place, [number, number])
        for newer in (place, place - 1):
            if 0 <= newer < len(ranges) - 1 and ranges[newer + 1][1] + 1 == ranges[newer][0]:
                ranges[newer][0] = ranges.pop(newer + 1)[0]
        del ranges[RANGES_IN_AN_ACK:]
        return False

    def _on_timer(self, timer: int, source: Address) -> None:
        if timer == self._timer and self._unacknowledged:
            self._acknowledge(source)

    def _acknowledge(self, source: Address) -> None:
        self._unacknowledged = 0
        self._timer += 1
        ack = bytearray(LARGEST.pack(self._ranges[0][1]))
        above = self._ranges[0][1]
        for low, high in self._ranges:
            ack += RANGE.pack(min(above - high, 65_535), min(high - low, 65_535))
            above = low
        self.network.send(self.address, source, bytes(ack) + bytes(ACK_OVERHEAD))


class Sender:
    """Sends `size` bytes, or without end, as its controller lets it."""

    def __init__(
        self,
        network: Network,
        address: Address,
        receiver: Receiver,
        controller: Make,
        size: int | None = None,
    ) -> None:
        self.network, self.address, self.receiver = network, address, receiver
        self.control = controller(DATAGRAM, network.now)
        self.pacer = Pacer(DATAGRAM, network.now)
        self.chunks_left: list[int] = []
        self.next_chunk = 0
        self.chunks = None if size is None else ceil(size / PAYLOAD)
        if self.chunks is not None:
            receiver.expect(self.chunks)
        self.in_flight = 0
        self.rtt = 0.0
        self.rtt_var = 0.0
        self.min_rtt = float("inf")
        self.retransmitted = 0
        self.probes = 0
        self.trace: Callable[[Sender], None] | None = None
        self._number = 0
        self._sent: dict[int, tuple[float, int, Any]] = {}  # number: when, chunk, snapshot
        self._done: set[int] = set()
        self._largest = -1
        self._probe_count = 0
        self._last_sent = network.now
        self._timer_at: float | None = None
        network.attach(address, self._receive)
        network.call_at(network.now, self._pump)

    @property
    def finished(self) -> bool:
        return self.receiver.finished_at is not None

    def _pump(self) -> None:
        now, control = self.network.now, self.control
        wake = None
        while True:
            chunks = self._chunks_to_send()
            if not chunks:
                control.on_app_limited(self.in_flight)
                break
            room = (control.window - self.in_flight) // DATAGRAM
            if room <= 0:
                break
            rate = control.rate
            budget = self.pacer.budget(now, rate) // DATAGRAM
            if budget <= 0:
                wake = self.pacer.next_time(now, DATAGRAM, rate)
                break
            self._send([self._take_chunk() for _ in range(min(room, budget, chunks, 45))])
        self._set_timer(wake)

    def _chunks_to_send(self) -> int:
        fresh = 1_000 if self.chunks is None else self.chunks - self.next_chunk
        return len(self.chunks_left) + fresh

    def _take_chunk(self) -> int:
        if self.chunks_left:
            self.retransmitted += 1
            return self.chunks_left.pop()
        self.next_chunk += 1
        return self.next_chunk - 1

    def _send(self, chunks: list[int]) -> None:
        now, size = self.network.now, DATAGRAM * len(chunks)
        snapshot = self.control.on_sent(now, size, self.in_flight)
        self.pacer.spent(size)
        self.in_flight += size
        self._last_sent = now
        for chunk in chunks:
            self._sent[self._number] = (now, chunk, snapshot)
            data = DATA.pack(self._number, chunk).ljust(DATAGRAM, b"\0")
            self.network.send(self.address, self.receiver.address, data)
            self._number += 1

    def _receive(self, now: float, source: Address, data: bytes) -> None:
        acked: dict[Any, int] = {}
        rtt: float | None = None
        sent = self._sent
        lowest = next(iter(sent), 0)
        low = LARGEST.unpack_from(data)[0]
        for gap, length in RANGE.iter_unpack(data[LARGEST.size : -ACK_OVERHEAD]):
            high = low - gap
            low = high - length
            for number in range(max(low, lowest), high + 1):
                packet = sent.pop(number, None)
                if packet is None:
                    continue
                acked[packet[2]] = acked.get(packet[2], 0) + DATAGRAM
                self._done.add(packet[1])
                if number > self._largest:
                    self._largest = number
                    rtt = now - packet[0]
        if not acked:
            return
        self._probe_count = 0
        if rtt is not None:
            self._measure(rtt)
        self.in_flight -= sum(acked.values())
        lost = self._detect_losses(now)
        control = self.control
        control.on_ack(now, list(acked.items()), lost, self.in_flight, rtt, self.min_rtt)
        if self.trace:
            self.trace(self)
        self._pump()

    def _measure(self, rtt: float) -> None:
        self.min_rtt = min(self.min_rtt, rtt)
        if not self.rtt:
            self.rtt, self.rtt_var = rtt, rtt / 2
        else:
            self.rtt_var += (abs(self.rtt - rtt) - self.rtt_var) / 4
            self.rtt += (rtt - self.rtt) / 8

    def _detect_losses(self, now: float) -> int:
        lost = 0
        old = now - max(1.125 * self.rtt, TIMER_STEP)
        for number, (when, chunk, _) in list(self._older_than(self._largest)):
            if number > self._largest - PACKET_THRESHOLD and when > old:
                break
            del self._sent[number]
            lost += DATAGRAM
            if chunk not in self._done:
                self.chunks_left.append(chunk)
        self.in_flight -= lost
        return lost

    def _older_than(self, largest: int) -> Any:
        for item in self._sent.items():
            if item[0] >= largest:
                return
            yield item

    def _set_timer(self, wake: float | None) -> None:
        times = [] if wake is None else [wake]
        if self._sent:
            number, (when, _, _) = next(iter(self._sent.items()))
            if number < self._largest:
                times.append(when + 1.125 * self.rtt)
            times.append(self._probe_at())
        if not times:
            return
        now = self.network.now
        at = max(ceil(min(times) / TIMER_STEP), floor(now / TIMER_STEP) + 1) * TIMER_STEP
        if self._timer_at is None or at < self._timer_at:
            self._timer_at = at
            self.network.call_at(at, self._on_timer, at)

    def _on_timer(self, at: float) -> None:
        if self._timer_at != at or self.finished:
            return
        self._timer_at = None
        now = self.network.now
        lost = self._detect_losses(now)
        if lost:
            self.control.on_lost(now, lost, self.in_flight)
        elif self._sent and now >= self._probe_at() - 1e-9:
            self._probe()
        self._pump()

    def _probe_at(self) -> float:
        timeout = self.rtt + max(4 * self.rtt_var, TIMER_STEP) + ACK_DELAY if self.rtt else 1.0
        return self._last_sent + timeout * float(2**self._probe_count)

    def _probe(self) -> None:
        """Send the oldest unacknowledged chunks again (RFC 9002 section 6.2.4)."""
        self.probes += 1
        self._probe_count += 1
        if self._probe_count == 3:
            self.control.on_persistent_congestion(self.network.now)
        oldest = [chunk for _, chunk, _ in list(self._sent.values())[:2]]
        self._send(oldest)


def ideal_seconds(size: int, rate: float, rtt: float, loss: float = 0.0) -> float:
    """Return when an ideal sender is done: ten packets at first, doubling until the link is full.

    `rate` is in bytes a second, headers counted.
    """
    packet = DATAGRAM + IP_AND_UDP_HEADERS
    left = ceil(size / PAYLOAD) * packet
    time, burst = 0.0, 10 * packet
    while burst < rate * rtt and left > burst:
        left -= burst
        burst *= 2
        time += rtt
    return (time + left / rate + rtt / 2) / (1 - loss)


def transfer(controller: Make, size: int, seed: int = 1, **path: Any) -> float:
    """Return the seconds that a transfer of `size` bytes takes over a `Path`, the same both ways."""
    network = Network(seed)
    network.join("sender", "receiver", **path)
    receiver = Receiver(network, ("receiver", 1))
    sender = Sender(network, ("sender", 1), receiver, controller, size)
    assert network.run_until(lambda: sender.finished, deadline=120), "the transfer did not end"
    return network.now


def share(one: Make, other: Make, seconds: float, late: float = 0.0, **path: Any) -> Shares:
    """Let two senders without end share a bottleneck, the second one starting `late` seconds later."""
    network = Network(1)
    bottleneck = Link(network, Path(**path))
    receivers = []
    for name, make, start in (("one", one, 0.0), ("other", other, late)):
        network.connect(name, name + "'s peer", bottleneck)
        network.connect(name + "'s peer", name, Link(network, Path(delay=path["delay"])))
        receivers.append(receiver := Receiver(network, (name + "'s peer", 1)))
        network.call_at(start, Sender, network, (name, 1), receiver, make)
    network.run_for(late)
    before = [receiver.bytes for receiver in receivers]
    network.run_for(seconds)
    after = [receiver.bytes for receiver in receivers]
    first, second = (end - start for end, start in zip(after, before, strict=True))
    rate: float = path["rate"]
    return Shares(first / (first + second), (first + second) / (rate * seconds))
