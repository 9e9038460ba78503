"""Whether the peer of a session is still there: when to ask it, when it counts as gone, when nobody needs it any more.

Used by `session` alone.
"""

from math import inf
from typing import Final

KEEPALIVE_BUSY: Final = 0.25  # seconds, while a transfer should be coming in: a NAT may have forgotten us
SILENCE: Final = 30.0  # seconds without an answer after which the peer is gone
DOUBT: Final = 4.0  # seconds, where the rendezvous says that it is gone: probes have gone out several times by then
IDLE: Final = 120.0  # seconds without need of the session after which it is closed


class Liveness:
    """When a peer was heard, and what follows from that."""

    def __init__(self, now: float) -> None:
        self.heard = now
        self.needed = now  # when somebody last had use for the session
        self._asked = now
        self._unanswered: float | None = None  # when it was asked first since it was heard
        self._doubted = -inf

    def hear(self, now: float) -> None:
        """Note a packet of the peer."""
        self.heard, self._unanswered = now, None

    def doubt(self, now: float) -> None:
        """Wait less long for the next packet: somebody says that the peer is gone."""
        self._doubted = now

    def ask(self, now: float) -> None:
        """Note that the peer is asked whether it is there, or that something sent to it is overdue."""
        self._asked = now
        if self._unanswered is None:
            self._unanswered = now

    def asked_in_vain(self, now: float, patience: float) -> bool:
        """Tell whether it was asked twice at least, and long enough ago, without a word."""
        waited = -inf if self._unanswered is None else now - self._unanswered
        return waited >= max(2 * KEEPALIVE_BUSY, patience)

    def ask_at(self, busy: bool, interval: float) -> float:
        """Return when the peer is to be asked, unless it is heard before; `busy`: a transfer should be coming in.

        `interval` is the longest silence in seconds that the path is known to live through.
        """
        return max(self.heard, self._asked) + (KEEPALIVE_BUSY if busy else interval)

    def gone_at(self, interval: float) -> float:
        """Return when the peer counts as gone unless it is heard before."""
        waiting = self.heard + interval if self._unanswered is None else self._unanswered
        if self.heard < self._doubted:
            return min(waiting + SILENCE, self._doubted + DOUBT)
        return waiting + SILENCE

    def idle_at(self) -> float:
        """Return when nobody will have needed the session for long enough to close it."""
        return self.needed + IDLE
