"""Loss recovery of one session: what is in flight, what arrived, what was lost, when to probe (RFC 9002).

Packets are tracked in runs: packets sent at one moment with consecutive numbers. A run is cut where an
acknowledgement or a loss ends inside it. What a run carried is a `Content`, told which of its packets arrived or
were lost. Not here: how much may be sent (`congestion`), and when (`pacing`).
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.protocol.acks import MAX_ACK_DELAY, Ranges
from agent.protocol.congestion import Controller
from agent.protocol.contents import Content
from agent.protocol.delivery import Sent
from agent.protocol.errors import PeerError
from agent.protocol.frames import Ack
from agent.protocol.packet import SMALLEST_DATAGRAM

PACKET_THRESHOLD: Final = 3  # RFC 9002 section 6.1.1; raised when it proves too hasty
MAX_PACKET_THRESHOLD: Final = 128
TIME_THRESHOLD: Final = 9 / 8  # RFC 9002 section 6.1.2
GRANULARITY: Final = 0.001  # seconds
INITIAL_RTT: Final = 0.1  # seconds; the handshake replaces it by what it measured
MAX_PROBE_INTERVAL: Final = 0.8  # seconds: a path that returns is used again within a second
PERSISTENT: Final = 3  # probe timeouts that make congestion persistent (RFC 9002 section 7.6.1)
SKIP_FIRST, SKIP_EVERY = 400, 16_000  # about where the first number is left out, and how far the next ones lie apart
LOST_REMEMBERED: Final = 64  # ranges declared lost that an acknowledgement may yet prove wrong


@dataclass(slots=True)
class Run:
    """Packets first … first + count - 1, each counted as `size` bytes; `base` had index 0 in `content`."""

    first: int
    count: int
    size: int
    time: float
    sent: Sent
    content: Content
    base: int


class Recovery:
    """The sending side of one session's packet number space."""

    def __init__(self, controller: Controller, seed: int) -> None:
        self.controller = controller
        self.next_number = 0
        self.in_flight = 0  # bytes
        self.smoothed_rtt: float = INITIAL_RTT  # seconds
        self.rtt_variance: float = INITIAL_RTT / 2
        self.latest_rtt: float = INITIAL_RTT
        self.min_rtt: float = INITIAL_RTT
        self.measured = False
        self.probes = 0  # packets to send regardless of the window
        self.bytes_sent = 0
        self.bytes_lost = 0
        self._runs: list[Run] = []  # in flight, rising
        self._left: list[Run] = []  # likewise, on the path before this one
        self._left_until = 0.0
        self._unproven = False  # nothing has been acknowledged since we moved
        self._largest_acked = -1
        self._threshold = PACKET_THRESHOLD
        self._recently_lost = Ranges()
        self._loss_time: float | None = None
        self._last_eliciting = 0.0
        self.timeouts = 0  # probe timeouts in a row
        self._skipped: deque[int] = deque(maxlen=8)
        self._skip_state = seed | 1
        self._next_skip = 1 + self._skip_distance() % SKIP_FIRST

    # --- sending ---

    def allocate(self, count: int) -> int:
        """Return the first of `count` new packet numbers; now and then one is left out (section 21.4 of RFC 9000)."""
        if self.next_number >= self._next_skip:
            self._skipped.append(self.next_number)
            self.next_number += 1
            self._next_skip = self.next_number + self._skip_distance()
        first = self.next_number
        self.next_number += count
        return first

    def sent(self, first: int, count: int, size: int, content: Content, now: float) -> None:
        """Track a run of packets that want an acknowledgement."""
        total = count * size
        snapshot = self.controller.on_sent(now, total, self.in_flight)
        self._runs.append(Run(first, count, size, now, snapshot, content, first))
        self.in_flight += total
        self.bytes_sent += total
        self._last_eliciting = now
        self.probes = max(0, self.probes - 1)

    def loss(self, least: int = 0) -> float:
        """Return the share of what was sent that was lost, 0 to 1; 0 where that is no more than `least` packets."""
        return self.bytes_lost / self.bytes_sent if self.bytes_sent > least * SMALLEST_DATAGRAM else 0.0

    def room(self) -> int:
        """Return how many bytes the congestion window still takes."""
        return self.controller.window - self.in_flight

    # --- acknowledgements ---

    def set_rtt(self, rtt: float) -> None:
        """Begin with the round trip that the handshake measured."""
        self.smoothed_rtt = self.latest_rtt = self.min_rtt = rtt
        self.rtt_variance = rtt / 2
        self.measured = True

    def acknowledged(self, ack: Ack, now: float) -> None:
        """Take an ACK frame; raises PeerError when it acknowledges what was never sent."""
        if ack.ranges[0][1] > self.next_number or self._acknowledges_skipped(ack):
            raise PeerError("ack", "it acknowledged packets that were never sent")
        acked: list[Run] = []
        for start, stop in ack.ranges:
            if not self._runs or stop <= self._runs[0].first:
                break
            acked += _cut(self._runs, start, stop)
        if self._left:
            self._acknowledged_elsewhere(ack.ranges)
        self._learn_reordering(ack.ranges)
        newest = max(acked, key=lambda run: run.first, default=None)
        if newest is None:
            return
        largest = newest.first + newest.count - 1
        rtt = None
        if largest > self._largest_acked:
            self._largest_acked = largest
            if largest == ack.ranges[0][1] - 1:  # the delay is that of the highest
                rtt = self._sample(max(now - newest.time, 1e-6), ack.delay)
        timeouts, self.timeouts = self.timeouts, 0
        for run in acked:
            self.in_flight -= run.count * run.size
            run.content.arrived(run.first - run.base, run.count)
        lost, persistent = self._detect_lost(now, min(run.time for run in acked))
        amounts = [(run.sent, run.count * run.size) for run in acked]
        self.controller.on_ack(now, amounts, lost, self.in_flight, rtt, self.min_rtt)
        if persistent:
            self.controller.on_persistent_congestion(now)
        if self._unproven:
            self._unproven = False
            if timeouts:  # what was sent first came before the path was there: it says nothing of how fast that is
                self.controller.on_path_change(now)

    # --- another path ---

    def moved(self, now: float, rtt: float | None, dead: bool) -> None:
        """Begin anew on another path, whose round trip is `rtt` seconds if it is known.

        What is in flight on the path that was left is waited for as long as it may take, unless that is `dead`. It no
        longer counts for the window, nor for round trips and losses.
        """
        self._give_up_left()
        self._left, self._left_until = self._runs, now + self._probe_timeout()
        self._runs, self.in_flight, self._loss_time = [], 0, None
        self.timeouts = self.probes = 0
        self._unproven = True
        if dead:
            self._give_up_left()
        if rtt is not None:
            self.set_rtt(rtt)
        self.controller.on_path_change(now)

    def oldest(self) -> float | None:
        """Return when the oldest packet in flight was sent, or None."""
        return self._runs[0].time if self._runs else None

    def _acknowledged_elsewhere(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Take acknowledgements of what was sent on the path that was left."""
        for start, stop in ranges:
            for run in _cut(self._left, start, stop):
                run.content.arrived(run.first - run.base, run.count)

    def _give_up_left(self) -> None:
        """Send what was lost on the path that was left again."""
        left, self._left = self._left, []
        for run in left:
            run.content.lost(run.first - run.base, run.count)

    # --- timers ---

    def timeout(self) -> float | None:
        """Return when `handle_timeout` must be called, or None while nothing is in flight."""
        if self._left:
            due = self._timeout_here()
            return self._left_until if due is None else min(due, self._left_until)
        return self._timeout_here()

    def _timeout_here(self) -> float | None:
        if self._loss_time is not None:
            return self._loss_time
        if not self._runs:
            return None
        once = self._probe_timeout()
        return self._last_eliciting + min(once * (1 << self.timeouts), max(once, MAX_PROBE_INTERVAL))

    def handle_timeout(self, now: float) -> None:
        """Declare what is overdue lost, or ask for probes (RFC 9002 section 6.2)."""
        if self._left and now >= self._left_until:
            self._give_up_left()
        due = self._timeout_here()
        if due is None or now < due:
            return
        if self._loss_time is not None:
            lost, _ = self._detect_lost(now, now)
            if lost:
                self.controller.on_lost(now, lost, self.in_flight)
            return
        self.timeouts = min(self.timeouts + 1, 16)
        self._last_eliciting = now
        self.probes = 2
        oldest = next((run for run in self._runs if run.content.tells_congestion), None)
        if oldest is not None:  # a probe of the path's size alone has nothing to say again, and is not lost yet
            oldest.content.lost(oldest.first - oldest.base, min(2, oldest.count))

    # --- inside ---

    def _probe_timeout(self) -> float:
        return self.smoothed_rtt + max(4 * self.rtt_variance, GRANULARITY) + MAX_ACK_DELAY

    def _sample(self, rtt: float, delay: float) -> float:
        """Update the estimates of RFC 9002 section 5.3 and return the sample without the peer's delay."""
        if not self.measured:
            self.set_rtt(rtt)
            return rtt
        self.latest_rtt = rtt
        self.min_rtt = min(self.min_rtt, rtt)
        delay = min(delay, MAX_ACK_DELAY)
        adjusted = rtt - delay if rtt >= self.min_rtt + delay else rtt
        self.rtt_variance += (abs(self.smoothed_rtt - adjusted) - self.rtt_variance) / 4
        self.smoothed_rtt += (adjusted - self.smoothed_rtt) / 8
        return adjusted

    def _detect_lost(self, now: float, acked_time: float) -> tuple[int, bool]:
        """Declare packets lost by number and by time; return (bytes, whether congestion is persistent)."""
        self._loss_time = None
        if self._largest_acked < 0:
            return 0, False
        delay = max(TIME_THRESHOLD * max(self.smoothed_rtt, self.latest_rtt), GRANULARITY)
        by_number = self._largest_acked - self._threshold + 1
        cut_at = 0
        for run in self._runs:
            if run.first > self._largest_acked:
                break
            if run.time + delay <= now + 1e-9:
                cut_at = min(run.first + run.count, self._largest_acked)
            elif run.first + run.count > by_number:  # what is below it is lost, the rest may still come
                self._loss_time = run.time + delay
                break
        lost = _cut(self._runs, 0, max(cut_at, by_number))
        if not lost:
            return 0, False
        total = told = 0
        for run in lost:
            total += run.count * run.size
            told += run.count * run.size if run.content.tells_congestion else 0
            run.content.lost(run.first - run.base, run.count)
            self._recently_lost.add(run.first, run.first + run.count)
        while len(self._recently_lost) > LOST_REMEMBERED:
            self._recently_lost.remove(*self._recently_lost.first())
        self.in_flight -= total
        self.bytes_lost += told
        span = lost[-1].time - lost[0].time
        silent = acked_time >= lost[-1].time and span > PERSISTENT * self._probe_timeout()
        return told, silent

    def _learn_reordering(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Raise the packet threshold where packets declared lost arrived after all (RFC 9002 section 6.1.1)."""
        if not self._recently_lost:
            return
        for start, stop in ranges:
            for low, high in self._recently_lost.overlapping(start, stop):
                distance = max(self._largest_acked - low, 0) + 1
                self._threshold = min(max(self._threshold, distance), MAX_PACKET_THRESHOLD)
                self._recently_lost.remove(low, high)

    def _acknowledges_skipped(self, ack: Ack) -> bool:
        """Tell a lie by what was left out; what lies before all that is in flight would gain the peer nothing."""
        oldest = self._runs[0].first if self._runs else self.next_number
        recent = [number for number in self._skipped if number >= oldest]
        return any(start <= number < stop for number in recent for start, stop in ack.ranges)

    def _skip_distance(self) -> int:
        """Return a distance that the peer cannot foresee: xorshift from a secret seed."""
        x = self._skip_state
        x ^= x << 13 & 0xFFFFFFFF
        x ^= x >> 17
        x ^= x << 5 & 0xFFFFFFFF
        self._skip_state = x
        return SKIP_EVERY // 2 + x % SKIP_EVERY


def _cut(runs: list[Run], start: int, stop: int) -> list[Run]:
    """Take start..stop out of the runs and return what was there, cut to size."""
    low = bisect_left(runs, start, key=lambda run: run.first + run.count - 1)
    high = bisect_left(runs, stop, key=lambda run: run.first)
    if low >= high:
        return []
    taken: list[Run] = []
    kept: list[Run] = []
    for run in runs[low:high]:
        end = run.first + run.count
        a, b = max(run.first, start), min(end, stop)
        if a == run.first and b == end:
            taken.append(run)
            continue
        for part, x, y in ((kept, run.first, a), (taken, a, b), (kept, b, end)):
            if x < y:
                part.append(Run(x, y - x, run.size, run.time, run.sent, run.content, run.base))
    runs[low:high] = kept
    return taken
