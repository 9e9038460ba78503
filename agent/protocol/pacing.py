"""Pacing: when the next bytes may leave, so that a window does not leave as one burst.

Owns a token bucket and nothing else: congestion.py says what the rate is, the session what is sent.
A burst is the larger of two datagrams and what the rate gives in 1 ms, at most 64 KB
(RFC 9002 section 7.7; 64 KB is what one UDP_SEGMENT call carries).
"""

from typing import Final, Protocol

BURST_SECONDS: Final = 0.001  # the granularity of the pump's timers
BURST_BYTES_MAX: Final = 65_536
CATCH_UP_SECONDS: Final = 0.005  # a timer that is later than this loses the rest


def burst_bytes(rate: float, datagram_size: int) -> float:
    """Return the bytes that may leave at once at this rate (bytes/s)."""
    return max(2.0 * datagram_size, min(rate * BURST_SECONDS, BURST_BYTES_MAX))


class Pace(Protocol):
    """What the congestion controller says: bytes a second, and bytes in flight at most."""

    @property
    def rate(self) -> float: ...
    @property
    def window(self) -> int: ...


class Pacer:
    """A token bucket; all times are the seconds of one monotonic clock, all sizes bytes."""

    __slots__ = ("_at", "_promised", "_tokens", "datagram_size", "next_at")

    def __init__(self, datagram_size: int, now: float) -> None:
        self.datagram_size = datagram_size
        self.next_at: float | None = None  # when `allowance` may be asked again
        self._tokens = float(2 * datagram_size)
        self._at = now
        self._promised: float | None = None

    def budget(self, now: float, rate: float) -> int:
        """Return the bytes that may leave now; report what left with `spent`.

        Time in which nobody wanted to send fills the bucket to one burst and no further. The time
        by which the timer asked for with `next_time` is late is not lost: it comes on top.
        """
        tokens = self._tokens + (now - self._at) * rate
        limit = burst_bytes(rate, self.datagram_size)
        if self._promised is not None and now >= self._promised:
            limit += min(now - self._promised, CATCH_UP_SECONDS) * rate
            self._promised = None
        self._tokens = min(tokens, max(limit, self._tokens))
        self._at = now
        return int(self._tokens)

    def allowance(self, now: float, room: int, pace: Pace, most: int) -> int:
        """Return how many datagrams of the window's `room` may leave now: none rather than less than a burst.

        Batches that follow the crumbs of the window would stay crumbs (RFC 9293 section 3.8.6.2.1 has it for TCP).
        Where only time is missing, `next_at` says when.
        """
        size, rate = self.datagram_size, pace.rate
        burst = min(most, max(1, int(burst_bytes(rate, size)) // size))
        by_window = room // size
        if by_window < min(burst, pace.window // size // 4) or by_window < 1:
            return 0
        by_pacing = (self.budget(now, rate) + 1) // size
        if by_pacing < burst:
            self.next_at = self.next_time(now, burst * size, rate)
            return 0
        return min(by_window, by_pacing, most)

    def spent(self, size: int) -> None:
        """Take `size` bytes from the bucket; what must not wait (a probe) may overdraw it."""
        self._tokens -= size

    def next_time(self, now: float, size: int, rate: float) -> float:
        """Return when `size` bytes, or one burst if that is less, may leave; `now` if they may."""
        missing = min(size, burst_bytes(rate, self.datagram_size)) - self._tokens - (now - self._at) * rate
        self._promised = now + max(0.0, missing) / rate
        return self._promised
