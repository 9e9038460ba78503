"""How long a path may be silent before a NAT on it forgets us: found by trying, never known.

Owns the arithmetic alone. Used for paths between peers, for bindings at relays and for what STUN servers have seen.
"""

from typing import Final

SHORTEST: Final = 15.0  # seconds; RFC 4787 section 4.3 demands two minutes, what is sold keeps 30 seconds and more
LONGEST: Final = 110.0
_GROWTH: Final = 1.5


class Interval:
    """Seconds between keepalives: grows by half while it holds, is halved by a silence that was too long."""

    def __init__(self, longest: float = LONGEST) -> None:
        self._longest = longest
        self.seconds = min(SHORTEST, longest)

    def held(self) -> None:
        """Note that the path lived through a silence of so many seconds."""
        self.seconds = min(self.seconds * _GROWTH, self._longest)

    def broke(self) -> None:
        """Note that it did not; no silence will be that long again."""
        self._longest = max(SHORTEST, self.seconds / _GROWTH)
        self.seconds = min(max(SHORTEST, self.seconds / 2), self._longest)

    def limit(self, longest: float) -> None:
        """Let no silence be longer than this, whatever holds."""
        self._longest = min(self._longest, longest)
        self.seconds = min(self.seconds, self._longest)
