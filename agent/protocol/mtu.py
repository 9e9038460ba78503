"""How large a datagram the path takes: packetization-layer path MTU discovery (RFC 8899).

Starts at 1200 bytes, tries the most that we ever send, and halves what is left between the largest that arrived and
the smallest that did not. ICMP has no say, so nobody can forge a small path. Probes are packets of a PING and padding;
their loss is no sign of congestion. Used by `session`.
"""

from typing import Final

from agent.protocol.packet import LARGEST_DATAGRAM, SMALLEST_DATAGRAM

MAX_PROBES: Final = 3  # losses of one size before it counts as too large (RFC 8899 section 5.1.2)
CLOSE_ENOUGH: Final = 24  # bytes between what arrives and what does not
RAISE_SECONDS: Final = 600.0  # until a path is searched again (PMTU_RAISE_TIMER)
BLACK_HOLE_TIMEOUTS: Final = 3  # probe timeouts in a row with larger datagrams: the path has changed


class PathMtu:
    """The search on one path, up to `most`; `size` is what may be sent now, in bytes of UDP payload."""

    def __init__(self, now: float, most: int = LARGEST_DATAGRAM) -> None:
        self._most = most
        self._begin(now)

    def _begin(self, at: float) -> None:
        self.size = SMALLEST_DATAGRAM
        self._too_large = self._most + CLOSE_ENOUGH
        self._trying = self._most
        self._losses = 0
        self._in_flight = False
        self._again_at: float | None = at if self._most > self.size else None

    def take_probe(self, now: float) -> int | None:
        """Return the size of a probe that is to be sent now, or None."""
        if self._in_flight or self._again_at is None or now < self._again_at:
            return None
        self._in_flight = True
        return self._trying

    def arrived(self, size: int) -> None:
        """Note that a probe arrived: datagrams of this size may be sent."""
        self._in_flight = False
        if size > self.size and size < self._too_large:
            self.size = size
            self._next()

    def lost(self, size: int) -> None:
        """Note that a probe was lost: after three, this size is too large."""
        self._in_flight = False
        if size != self._trying:
            return
        self._losses += 1
        if self._losses >= MAX_PROBES:
            self._too_large = size
            self._next()

    def black_hole(self, now: float) -> None:
        """Fall back to what every path takes, and search again later."""
        self._begin(now + RAISE_SECONDS)

    def timeout(self) -> float | None:
        """Return when `take_probe` has something, or None."""
        return None if self._in_flight else self._again_at

    def _next(self) -> None:
        self._losses = 0
        gap = self._too_large - self.size
        if gap <= CLOSE_ENOUGH:
            self._again_at = None
        else:
            self._trying = self.size + gap // 2
