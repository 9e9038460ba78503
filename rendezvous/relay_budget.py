"""How much a relay carries for whom: rates and volumes of tickets and people, and how many bindings. Used by
`relay.py`, and by whoever tells people about it.

Owns the numbers and the buckets; who is bound where is `relay.py`'s. All of it is in memory, of one relay: it begins
anew with the process.
"""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Rules:
    """What one process carries; sizes in bytes of whole datagrams, rates in bytes a second, times in seconds."""

    idle: int = 60
    """Silence that a binding outlives: three keepalives may be lost."""
    challenge: float = 10.0
    """How long a challenge may be answered: beyond any round trip."""
    ticket_bytes: int = 2**30
    """That one ticket is good for, both directions together."""
    ticket_rate: float = 12.5e6
    ticket_burst: float = 1.5e6
    person_rate: float = 25e6
    person_burst: float = 3e6
    person_bytes: float = 4 * 2.0**30
    """Of one identity, sent and received, within `person_seconds`; comes back evenly."""
    person_seconds: float = 3600.0
    person_bindings: int = 64
    bindings: int = 20_000
    tickets: int = 100_000
    people: int = 100_000

    @classmethod
    def of(cls, rate: int, ticket_bytes: int, person_bytes: int) -> Self:
        """Return the rules for a rate of one ticket, of which a person has twice as much, and for two volumes."""
        burst = max(rate * 0.12, 65_536.0)
        return cls(
            ticket_bytes=ticket_bytes,
            ticket_rate=rate,
            ticket_burst=burst,
            person_rate=2.0 * rate,
            person_burst=2 * burst,
            person_bytes=person_bytes,
        )


class Bucket:
    """A budget that fills at a rate, up to a burst."""

    __slots__ = ("_at", "_burst", "_rate", "left")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst, self._at = rate, burst, now
        self.left = burst

    def fill(self, now: float) -> float:
        """Return what there is now."""
        left = self.left
        if now > self._at:
            left += (now - self._at) * self._rate
            self.left = left = left if left < self._burst else self._burst
        self._at = now
        return left


class Person:
    """What one identity has left, and how many bindings it has."""

    __slots__ = ("bindings", "speed", "volume")

    def __init__(self, rules: Rules, now: float) -> None:
        self.bindings = 0
        self.speed = Bucket(rules.person_rate, rules.person_burst, now)
        self.volume = Bucket(rules.person_bytes / rules.person_seconds, rules.person_bytes, now)
