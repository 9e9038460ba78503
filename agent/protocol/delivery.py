"""Delivery rate: how fast the path brought data to the other side, measured at acknowledgements.

Owns the counters of draft-cheng-iccrg-delivery-rate-estimation-02 and the snapshot of them that is
kept with every run of packets. It judges nothing: congestion.py decides what a sample means.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Final

Sent = tuple[int, float, float, float, bool]
"""What is remembered of a run of packets that left together: the bytes delivered by then, when the
last of those were acknowledged, when the run that they ended had left, when this run left, and
whether the sender lacked data."""


SENT_AT: Final = itemgetter(3)
SHORTEST_INTERVAL: Final = 1e-6  # what a coarse clock may call 0


class DeliveryRate:
    """Samples of the delivery rate; times in seconds, sizes in bytes."""

    __slots__ = ("_at", "_first_sent_at", "_limited_until", "delivered", "limited", "prior", "sent_at", "size")

    def __init__(self, now: float) -> None:
        self.delivered = 0  # bytes acknowledged since the beginning
        self.size = 0  # of which by the last acknowledgement
        self.prior = 0  # `delivered` when the newest packet of the last acknowledgement left
        self.sent_at = now  # when that packet left
        self.limited = False  # whether that packet left while there was not enough to send
        self._at = now
        self._first_sent_at = now
        self._limited_until = 0

    def restart(self, now: float) -> None:
        """Measure from now on: what is in flight left for another path."""
        self._at = self._first_sent_at = now

    def on_sent(self, now: float, in_flight: int) -> Sent:
        """Return the snapshot to keep with what leaves now (section 3.2)."""
        if not in_flight:
            self._first_sent_at = self._at = now
        limited = self.delivered < self._limited_until
        return self.delivered, self._at, self._first_sent_at, now, limited

    def on_app_limited(self, in_flight: int) -> None:
        """Mark what leaves before all that is in flight is delivered as no measure (section 3.4)."""
        self._limited_until = self.delivered + in_flight + 1

    def on_ack(self, now: float, acked: Sequence[tuple[Sent, int]]) -> float:
        """Return the rate in bytes a second up to the newest of the acknowledged runs (section 3.3).

        It is the smaller of the rates at which that data left and arrived, so acknowledgements that
        come bunched together do not exaggerate it.
        """
        newest, size = acked[0]
        if len(acked) > 1:
            size = sum([run_size for _, run_size in acked])
            newest = max([run for run, _ in acked], key=SENT_AT)
        self.size = size
        self.delivered += size
        self.prior, prior_at, first_sent_at, sent_at, self.limited = newest
        self.sent_at = sent_at
        self._at = now
        if sent_at > self._first_sent_at:
            self._first_sent_at = sent_at
        sending, arriving = sent_at - first_sent_at, now - prior_at
        interval = arriving if arriving > sending else sending
        return (self.delivered - self.prior) / (interval or SHORTEST_INTERVAL)
