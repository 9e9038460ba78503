"""One path of a session: an address of the peer, challenges sent to it, what came of them (RFC 9000 section 8.2).

Used by `paths`, which knows when to try and which one to choose. A challenge counts as answered only where it was sent.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from agent.protocol.candidates import Found, PathKind
from agent.protocol.keepalive import Interval
from agent.protocol.mtu import PathMtu
from agent.protocol.packet import LARGEST_DATAGRAM, SMALLEST_DATAGRAM, Address
from agent.protocol.ranking import rank, relayed
from agent.protocol.report import Outcome, Tried

CHALLENGE_SIZE: Final = 8
FIRST_ROUND: Final = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Seconds after each challenge until the next; after the last one, until the path counts as silent."""
NEXT_ROUND: Final = (0.25, 0.5, 1.0)
AGAIN: Final = (5.0, 15.0, 60.0, 300.0)
"""Seconds between rounds; the last one repeats."""
FRESH: Final = 30.0
"""Seconds after an answer for which a path that was not kept alive is believed to work."""
HURRY_AFTER: Final = 0.05
"""Seconds between two challenges to one address, whatever the reason."""


class Path:
    """An address of the peer. `rtt` is that of its challenges, in seconds; `found` is None where nobody named it."""

    def __init__(self, address: Address, found: Found | None, kind: PathKind, keepalive: Interval, now: float) -> None:
        self.address = address
        self.found = found
        self.relayed = relayed(address)
        self.place(kind)
        self.appeared = now
        self.since = now  # when it came into use
        self.heard = -inf  # when a packet last came from there
        self.begin_mtu(now)
        self.keepalive = keepalive  # of all paths behind the same NATs
        self.rtt: float | None = None
        self.outcome = Outcome.TRYING
        self.answered_at = -inf
        self.doubts = 0  # answers that are wanted before it is chosen
        self.wins = 0  # answers in a row that were faster than those of the path in use
        self.next_try: float | None = None
        self._gaps: list[float] = []
        self._again = 0
        self._tried_at = -inf
        self.dropped = False  # there is no such route any more
        self.put_off = False  # it is tried later, if it is of use then
        self._sent: dict[bytes, float] = {}

    def begin_mtu(self, now: float) -> None:
        """Search for the largest datagram from the start."""
        self.mtu = PathMtu(now, SMALLEST_DATAGRAM if self.relayed else LARGEST_DATAGRAM)

    def place(self, kind: PathKind) -> None:
        """Take a place among the paths: what is known of its kind has changed."""
        self.kind, self.rank = kind, rank(kind, self.address)

    # --- challenges ---

    @property
    def probing(self) -> bool:
        """Tell whether a round of challenges is under way."""
        return bool(self._sent)

    def begin(self, gaps: Sequence[float], now: float) -> None:
        """Begin a round of challenges: one, and after each gap but the last another."""
        self._gaps, self.next_try, self.put_off = list(gaps), now, False
        self._sent.clear()

    def hurry(self, now: float) -> None:
        """Try now: there is reason to. What was just tried is not tried more often for that."""
        if self.probing:
            if self._gaps and now - self._tried_at >= HURRY_AFTER:
                self.next_try = now
        elif not self._again or now - self._tried_at >= NEXT_ROUND[-1]:
            self.begin(self._gaps or NEXT_ROUND, now)

    def challenge(self, now: float, random: Callable[[int], bytes]) -> bytes | None:
        """Return the challenge that is due; None ends the round: nothing has come back."""
        if not self._gaps:
            self._silent(now)
            return None
        data = random(CHALLENGE_SIZE)
        self._sent[data] = self._tried_at = now
        self.put_off = False
        self.next_try = now + self._gaps.pop(0)
        return data

    def answered(self, data: bytes, now: float) -> bool:
        """Take a response; tell whether it answers a challenge of this path."""
        sent = self._sent.get(data)
        if sent is None:
            return False
        self.rtt, self.outcome, self.answered_at = now - sent, Outcome.ANSWERED, now
        self.doubts = max(0, self.doubts - 1)
        self._sent.clear()
        self._gaps, self.next_try = [], None
        if self.doubts:
            self.begin(NEXT_ROUND, now)
        return True

    def later(self, now: float, seconds: float | None = None) -> None:
        """Try again after so many seconds, or longer and longer each time."""
        if seconds is None:
            seconds = AGAIN[min(self._again, len(AGAIN) - 1)]
            self._again += 1
        self._sent.clear()
        self._gaps, self.next_try, self.put_off = list(NEXT_ROUND), now + seconds, True

    def rest(self) -> None:
        """Try no more until there is reason to."""
        self._gaps, self.next_try = [], None
        self._sent.clear()

    def proved(self) -> None:
        """Note that it has carried packets for long: if it is left, it is tried again soon."""
        self._again = 0

    def unsendable(self, outcome: Outcome) -> None:
        """Note why datagrams do not go; ICMP can be forged, so what has answered is not believed to be gone."""
        if self.outcome is not Outcome.ANSWERED:
            self.outcome = outcome
            if self.probing:
                self._gaps = []

    def failed(self, now: float) -> None:
        """Note that it does not answer any more: it must do so twice before it is chosen again."""
        self.outcome, self.answered_at, self.doubts, self.wins = Outcome.NO_ANSWER, -inf, 2, 0
        self.begin(NEXT_ROUND, now)

    def _silent(self, now: float) -> None:
        if self.outcome in (Outcome.TRYING, Outcome.ANSWERED):
            self.outcome = Outcome.NO_ANSWER
        self.answered_at = -inf
        self.later(now)

    # --- questions ---

    def works(self, now: float) -> bool:
        """Tell whether it is believed to work: it has answered, and not too long ago."""
        return self.answered_at > -inf and (self.relayed or now - max(self.answered_at, self.heard) <= FRESH)

    def tried(self) -> Tried | None:
        """Return what the doctor is told of it; nothing of relays, which are told of elsewhere."""
        if self.relayed:
            return None
        found = Found.REFLEXIVE if self.found is None else self.found
        return Tried(found, self.address, self.outcome, self.rtt if self.outcome is Outcome.ANSWERED else None)
