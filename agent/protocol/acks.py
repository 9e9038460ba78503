"""Which numbers have been seen: a set of ranges, and what a receiver of packets owes as acknowledgement.

`Ranges` serves packet numbers, bytes of a stream and bytes of a transfer alike. `Received` is the receiving
side of RFC 9000 section 13.2: every packet is accepted once, and acknowledged in time.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

ACK_EVERY = 2  # packets that want an acknowledgement (RFC 9000 section 13.2.2)
ACK_EAGERLY = 128  # the first packets, by which the sender learns how fast the path is, are not kept waiting at all
ACK_PATIENCE, ACK_PATIENCE_RTT = 0.001, 1 / 32  # seconds, or round trips if that is less, to gather more than that
ACK_BATCH = 128  # packets for which the next acknowledgement waits no longer (draft-ietf-quic-ack-frequency)
MAX_ACK_DELAY = 0.025  # seconds (RFC 9000 section 18.2)
MAX_RANGES_SENT = 32  # ranges in one ACK frame: 8 bytes each, so the frame stays under 300 bytes
MAX_RANGES_KEPT = 256  # below the oldest of these everything counts as seen


class Ranges:
    """A set of integers kept as disjoint half-open ranges in rising order."""

    __slots__ = ("_starts", "_stops")

    def __init__(self, *ranges: tuple[int, int]) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in ranges:
            self.add(start, stop)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._stops, strict=True)

    def __len__(self) -> int:
        """Count the ranges, not the integers."""
        return len(self._starts)

    def __repr__(self) -> str:
        return f"Ranges({', '.join(f'{a}..{b}' for a, b in self)})"

    def total(self) -> int:
        """Count the integers."""
        return sum(self._stops) - sum(self._starts)

    def first(self) -> tuple[int, int]:
        """Return the lowest range; IndexError where there is none."""
        return self._starts[0], self._stops[0]

    def last(self) -> tuple[int, int]:
        """Return the highest range; IndexError where there is none."""
        return self._starts[-1], self._stops[-1]

    def descending(self, most: int) -> list[tuple[int, int]]:
        """Return at most `most` ranges, highest first."""
        return list(zip(self._starts[: -most - 1 : -1], self._stops[: -most - 1 : -1], strict=True))

    def covers(self, start: int, stop: int) -> bool:
        """Tell whether all of start..stop is in the set."""
        at = bisect_right(self._starts, start) - 1
        return start >= stop or (at >= 0 and self._stops[at] >= stop)

    def overlapping(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the parts of start..stop that are in the set."""
        low = bisect_right(self._stops, start)
        high = bisect_left(self._starts, stop)
        found = zip(self._starts[low:high], self._stops[low:high], strict=True)
        return [(max(a, start), min(b, stop)) for a, b in found]

    def add(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Put start..stop in, and return the pieces of it that were not there before."""
        if start >= stop:
            return []
        starts, stops = self._starts, self._stops
        if stops and stops[-1] == start:  # the common case: the highest range grows
            stops[-1] = stop
            return [(start, stop)]
        low = bisect_left(stops, start)  # first range that ends at or after start
        high = bisect_right(starts, stop)  # first range that begins after stop
        new = []
        at = start
        for a, b in zip(starts[low:high], stops[low:high], strict=True):
            if at < a:
                new.append((at, a))
            at = max(at, b)
        if at < stop:
            new.append((at, stop))
        if low < high:
            start, stop = min(start, starts[low]), max(stop, stops[high - 1])
        starts[low:high] = [start]
        stops[low:high] = [stop]
        return new

    def remove(self, start: int, stop: int) -> None:
        """Take start..stop out, whether or not it is there."""
        starts, stops = self._starts, self._stops
        low = bisect_right(stops, start)  # first range that ends after start
        high = bisect_left(starts, stop)  # first range that begins at or after stop
        if start >= stop or low >= high:
            return
        left, right = (starts[low], start), (stop, stops[high - 1])
        kept = [piece for piece in (left, right) if piece[0] < piece[1]]
        starts[low:high] = [a for a, _ in kept]
        stops[low:high] = [b for _, b in kept]


class Received:
    """Packet numbers received in one session, and whether an acknowledgement is due."""

    __slots__ = ("_floor", "_largest_at", "_ranges", "_unacknowledged", "deadline", "largest")

    def __init__(self) -> None:
        self._ranges = Ranges()
        self._floor = 0  # every number below counts as seen
        self._unacknowledged = 0
        self._largest_at = 0.0
        self.largest = -1
        self.deadline: float | None = None  # when an ACK must leave; None: nothing to acknowledge

    def seen(self, number: int) -> bool:
        """Tell whether a packet of this number was accepted before: it is then a duplicate or a replay."""
        if number > self.largest:
            return False
        return number < self._floor or self._ranges.covers(number, number + 1)

    def add(self, first: int, count: int, eliciting: int, now: float, rtt: float = 0.0) -> None:
        """Record a run of `count` authentic packets, of which `eliciting` want an acknowledgement.

        `rtt` is the path's round trip in seconds: the acknowledgement may wait for a small part of it.
        """
        in_order = first == self.largest + 1
        self._ranges.add(first, first + count)
        if first + count - 1 > self.largest:
            self.largest = first + count - 1
            self._largest_at = now
        if len(self._ranges) > MAX_RANGES_KEPT:
            _, self._floor = self._ranges.first()
            self._ranges.remove(0, self._floor)
        if not eliciting:
            return
        self._unacknowledged += eliciting
        if not in_order or self._unacknowledged >= ACK_BATCH:
            self.deadline = now
        elif self._unacknowledged >= ACK_EVERY:
            patience = min(ACK_PATIENCE, ACK_PATIENCE_RTT * rtt) if first >= ACK_EAGERLY else 0.0
            self.deadline = now + patience if self.deadline is None else min(self.deadline, now + patience)
        elif self.deadline is None:
            self.deadline = now + MAX_ACK_DELAY

    def acknowledge(self, now: float) -> tuple[float, list[tuple[int, int]]]:
        """Return (delay in seconds, half-open ranges highest first) for an ACK frame that leaves now."""
        self.deadline = None
        self._unacknowledged = 0
        return max(0.0, now - self._largest_at), self._ranges.descending(MAX_RANGES_SENT)

    def loss(self, least: int = 0) -> float:
        """Estimate which share of the peer's packets never came, 0 to 1, over what is still remembered.

        0 where that is no more than `least` packets.
        """
        span = self.largest + 1 - self._floor
        return 1 - self._ranges.total() / span if span > least else 0.0
