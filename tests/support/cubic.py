"""TCP CUBIC (RFC 9438) with NewReno's one reduction a round trip: what a fair share is measured against.

Slow start ends at the first loss (no HyStart++, as in RFC 9438 without its option); Reno-friendly
region, concave and convex growth, fast convergence. Unpaced, as most TCP is.
"""

from collections.abc import Sequence

C = 0.4
BETA = 0.7


class Cubic:
    """A window in the manner of `Controller`, so that the model sender can drive it."""

    def __init__(self, datagram_size: int, now: float) -> None:
        self._mss = datagram_size
        self._window = 10.0  # packets, as all windows here
        self._threshold = float("inf")
        self._most = 0.0
        self._epoch_at: float | None = None
        self._reno = 0.0
        self._k = 0.0
        self._recovering_until = -1.0
        self._rtt = 0.1

    @property
    def window(self) -> int:
        return int(self._window * self._mss)

    @property
    def rate(self) -> float:
        return 1e9

    def on_sent(self, now: float, size: int, in_flight: int) -> float:
        return now

    def on_app_limited(self, in_flight: int) -> None:
        pass

    def on_ack(
        self,
        now: float,
        acked: Sequence[tuple[float, int]],
        lost: int,
        in_flight: int,
        rtt: float | None,
        min_rtt: float,
    ) -> None:
        self._rtt = rtt or self._rtt
        if lost:
            self.on_lost(now, lost, in_flight)
        newest = max(sent_at for sent_at, _ in acked)
        packets = sum(size for _, size in acked) / self._mss
        if newest <= self._recovering_until:
            return
        if self._window < self._threshold:
            self._window += packets
        else:
            self._grow(now, packets)

    def _grow(self, now: float, packets: float) -> None:
        """Follow the cubic curve, or Reno's line where that is above (sections 4.2 to 4.5)."""
        if self._epoch_at is None:
            self._epoch_at = now
            self._reno = self._window
            self._most = max(self._most, self._window)
            self._k = ((self._most - self._window) / C) ** (1 / 3)
        alpha = 3 * (1 - BETA) / (1 + BETA) if self._reno < self._most else 1.0
        self._reno += alpha * packets / self._window
        after = now - self._epoch_at + self._rtt
        target = C * (after - self._k) ** 3 + self._most
        target = min(max(target, self._window), 1.5 * self._window)
        self._window += (target - self._window) / self._window * packets
        self._window = max(self._window, self._reno)

    def on_lost(self, now: float, lost: int, in_flight: int) -> None:
        """Reduce once for all that was sent before this moment (sections 4.6 and 4.7)."""
        if now <= self._recovering_until + self._rtt:
            return
        self._recovering_until = now
        fast_convergence = self._window < self._most
        self._most = self._window * ((1 + BETA) / 2 if fast_convergence else 1.0)
        self._window = self._threshold = max(2.0, self._window * BETA)
        self._epoch_at = None

    def on_persistent_congestion(self, now: float) -> None:
        self._threshold = max(2.0, self._window * BETA)
        self._window = 1.0
        self._epoch_at = None
