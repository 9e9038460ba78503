"""How many datagrams of one address are answered: a source may be forged, and whoever owns it must not be flooded with
our replies. Used by the entry point.

Owns a bucket for each address that was heard lately (of IPv6: a /64), in the one process that has the UDP ports. What
is too much gets no answer; STUN's clients ask again by themselves.
"""

import time
from collections.abc import Callable
from typing import Final

from rendezvous.proxies import network_of
from rendezvous.stun import Reply

BURST: Final = 2000.0
PER_SECOND: Final = 200.0
"""Replies to one address: a school behind one NAT may start at once; somebody who never asked gets 10 KB/s at most."""
MOST: Final = 50_000
"""Addresses that are remembered; beyond, all begin anew."""

Answer = Callable[[bytes, str, int], Reply | None]


class Throttle:
    """The buckets of all addresses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, who: str) -> bool:
        """Tell whether this address may be answered once more."""
        now = self._clock()
        left, at = self._buckets.get(who, (BURST, now))
        left = min(BURST, left + (now - at) * PER_SECOND)
        if len(self._buckets) >= MOST and who not in self._buckets:
            self._buckets.clear()
        self._buckets[who] = (left - 1 if left >= 1 else left, now)
        return left >= 1


def throttled(answer: Answer, clock: Callable[[], float] = time.monotonic) -> Answer:
    """Answer no address more often than its bucket allows."""
    throttle = Throttle(clock)

    def limited(datagram: bytes, host: str, port: int) -> Reply | None:
        return answer(datagram, host, port) if throttle.take(network_of(host)) else None

    return limited
