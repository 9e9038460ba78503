"""How many datagrams of one address are answered: a source may be forged, and whoever owns it must not be flooded with
our replies. Used by the entry point.

Owns a bucket for each address that was heard lately (of IPv6: a /64), in the one process that has the UDP ports. What
is too much gets no answer; STUN's clients ask again by themselves.
"""

import time
from collections.abc import Callable
from typing import Final

from rendezvous.limits import network_of
from rendezvous.stun import Reply

BURST: Final = 2000.0
PER_SECOND: Final = 200.0
"""Replies to one address: a school behind one NAT may start at once; somebody who never asked gets 10 KB/s at most."""
MOST: Final = 50_000
"""Addresses that are remembered; beyond, all begin anew."""

Answer = Callable[[bytes, str, int], Reply | None]


def throttled(answer: Answer, clock: Callable[[], float] = time.monotonic) -> Answer:
    """Answer no address more often than its bucket allows."""
    buckets: dict[str, tuple[float, float]] = {}

    def take(who: str) -> bool:
        now = clock()
        left, at = buckets.get(who, (BURST, now))
        left = min(BURST, left + (now - at) * PER_SECOND)
        if len(buckets) >= MOST and who not in buckets:
            buckets.clear()
        buckets[who] = (left - 1 if left >= 1 else left, now)
        return left >= 1

    def limited(datagram: bytes, host: str, port: int) -> Reply | None:
        return answer(datagram, host, port) if take(network_of(host)) else None

    return limited
