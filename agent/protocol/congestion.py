"""Congestion control: how much may be in flight, and how fast it may leave.

A model of the path in the manner of BBR (draft-ietf-ccwg-bbr): `bandwidth` is the most that was
delivered lately, `min_rtt` the shortest round trip lately, and their product is what fills the path
without a queue. Loss by itself is no sign of congestion; loss while a queue stands is. What differs
from BBR, to be as small as the aim allows:

- STARTUP doubles the window each round trip, and pauses as soon as round trips grow longer. If a
  round trip later they still are, the path is full; if not, it goes on. So it leaves without the
  queue, and the overshoot, of BBR's wait for three rounds without growth.
- `min_rtt` is forgotten as fast as `bandwidth`, after two cycles. Every cycle drains the sender's
  own queue, so alone it sees the true one; beside a sender that fills the queue it sees the queue,
  and holds its share. That is Copa's competitive mode without a mode, and replaces PROBE_RTT.
- Loss while a queue stands cuts a ceiling on what is in flight by CUBIC's factor; it then rises with
  time as CUBIC's does, so shares converge.

Owns no clock and no packet: the session passes the time in, keeps the snapshots and counts what is
in flight. One call for each batch, never for each packet. Pacing itself is pacing.py's.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final

from agent.protocol.delivery import DeliveryRate, Sent
from agent.protocol.pacing import burst_bytes

INITIAL_WINDOW: Final = 10  # packets (RFC 6928, RFC 9002 section 7.2)
MINIMUM_WINDOW: Final = 4  # packets: less would wait for delayed acknowledgements

STARTUP_GAIN: Final = 2.4  # a round leaves in less than half a round trip: its queue shows early
QUEUE_SAMPLES: Final = 4  # so many long round trips in a row are a queue and not jitter
FULL_GROWTH: Final = 1.25  # less growth than this in each of three rounds: the path is full
FULL_ROUNDS: Final = 3
HEAVY_LOSS: Final = 0.15  # of a round: more than any path loses by chance
HEAVY_LOSS_PACKETS: Final = 8

UP_GAIN: Final = 1.25
UP_BYTES: Final = 48_000  # what UP may add to the queue in a round trip, at most
DOWN_GAIN: Final = 0.75
DRAINED: Final = 0.9  # of bandwidth * min_rtt in flight: the own queue is gone
WINDOW_GAIN: Final = 1.5  # the window is a bound on mistakes; pacing sets the rate
CRUISE_ROUNDS: Final = 4  # plus 0, 1 or 2, so that senders do not probe in step
CRUISE_SECONDS: Final = 0.05  # at least, where round trips are microseconds

BACKOFF: Final = 0.7  # RFC 9438 section 4.6
RISE_SECONDS: Final = 2.0  # the ceiling rises by t / 2 s packets each round, t since the last loss
SHORTEST_RTT: Final = 1e-6


class Phase(Enum):
    """What the controller is doing; from DOWN on, in a circle."""

    STARTUP = "doubles the rate until the path is full"
    DOWN = "sends less than the path takes, until its own queue is gone"
    CRUISE = "sends what the path takes"
    UP = "sends a little more, to see whether the path takes it"


class Controller:
    """The congestion controller of one path; sizes in bytes, times in seconds, rates in bytes/s."""

    __slots__ = (
        "_base_rtt",
        "_ceiling",
        "_congested_at",
        "_congested_until",
        "_cycle",
        "_delivery",
        "_drained",
        "_full_bandwidth",
        "_full_rounds",
        "_lost",
        "_paused_until",
        "_phase_at",
        "_phase_rounds",
        "_queued_samples",
        "_rates",
        "_round_delivered",
        "_round_end",
        "_round_rtt",
        "_rtts",
        "bandwidth",
        "datagram_size",
        "min_rtt",
        "phase",
        "rate",
        "window",
    )

    def __init__(self, datagram_size: int, now: float) -> None:
        self.datagram_size = datagram_size
        self._delivery = DeliveryRate(now)
        self._cycle = 0
        self._drained = False
        self._start(now, INITIAL_WINDOW)

    def _start(self, now: float, packets: int) -> None:
        """Know nothing of the path, and begin with a window of so many packets."""
        self.phase = Phase.STARTUP
        self.window: int = packets * self.datagram_size
        self.rate: float = self.window / 0.001
        self.bandwidth = 0.0
        self.min_rtt = float("inf")
        self._rates = [0.0, 0.0]  # the highest of this cycle and of the one before
        self._rtts = [float("inf"), float("inf")]  # the shortest, likewise
        self._base_rtt = float("inf")  # the shortest of the path's life
        self._ceiling = float("inf")
        self._congested_at = now
        self._congested_until = 0  # `delivered` when the effect of the last cut can be seen
        self._paused_until: int | None = None  # `delivered` when STARTUP's pause is judged
        self._queued_samples = 0
        self._full_bandwidth = 0.0
        self._full_rounds = 0
        self._phase_at = now
        self._phase_rounds = 0
        self._round_end = self._round_delivered = self._delivery.delivered
        self._round_rtt = float("inf")  # the shortest of this round
        self._lost = 0  # in this round

    def on_sent(self, now: float, size: int, in_flight: int) -> Sent:
        """Note that `size` bytes leave together, with `in_flight` before them.

        The snapshot is to be kept with them and handed back to `on_ack`.
        """
        return self._delivery.on_sent(now, in_flight)

    def on_app_limited(self, in_flight: int) -> None:
        """Note that there was room in the window, but nothing to send."""
        self._delivery.on_app_limited(in_flight)

    def on_ack(
        self,
        now: float,
        acked: Sequence[tuple[Sent, int]],
        lost: int,
        in_flight: int,
        rtt: float | None,
        min_rtt: float,
    ) -> None:
        """Take in one acknowledgement: runs with the bytes of each that are new, at least one.

        `lost` bytes were declared lost by the same event, `in_flight` is what remains, `rtt` the
        sample it gave, if any, and `min_rtt` the shortest that the connection has seen.
        """
        delivery = self._delivery
        rate = delivery.on_ack(now, acked)
        if rate > self._rates[0] and (not delivery.limited or rate > self.bandwidth):
            self._rates[0] = rate
            if rate > self.bandwidth:
                self.bandwidth = rate
        if rtt is not None:
            self._note_rtt(max(rtt, SHORTEST_RTT))
        self._lost += lost
        if self.phase is Phase.STARTUP:
            self._start_up(now, rtt, lost)
        if delivery.prior >= self._round_end:
            self._end_round(now, in_flight)
        elif self.phase is Phase.DOWN and in_flight <= DRAINED * self.bandwidth * self.min_rtt:
            self._enter(Phase.CRUISE, now)
        self._apply()

    def on_lost(self, now: float, lost: int, in_flight: int) -> None:
        """Note bytes that a timer, not an acknowledgement, declared lost."""
        self._lost += lost

    def on_persistent_congestion(self, now: float) -> None:
        """Begin again from the smallest window (RFC 9002 section 7.6)."""
        self._start(now, MINIMUM_WINDOW)

    def on_path_change(self, now: float) -> None:
        """Begin again: nothing is known of the new path (RFC 9000 section 9.4)."""
        self._start(now, INITIAL_WINDOW)

    def _note_rtt(self, rtt: float) -> None:
        if rtt < self._round_rtt:
            self._round_rtt = rtt
        if rtt < self._rtts[0]:
            self._rtts[0] = rtt
            self.min_rtt = min(self._rtts)
            if rtt < self._base_rtt:
                self._base_rtt = rtt

    def _start_up(self, now: float, rtt: float | None, lost: int) -> None:
        """Grow by what was delivered, as long as no queue shows; leave when one stays.

        What was lost counts as well: it left room in the path, and a loss that means something is
        found by `_end_round`.
        """
        delivery = self._delivery
        judged = self._paused_until is not None and delivery.prior >= self._paused_until
        if rtt is not None and rtt <= self.min_rtt + min(max(self.min_rtt / 32, 0.002), 0.008):
            self._queued_samples = 0
            if judged:
                self._paused_until = None
        elif rtt is not None:
            self._queued_samples += 1
            if self._queued_samples >= QUEUE_SAMPLES:
                if judged:
                    self._enter(Phase.DOWN, now)
                elif self._paused_until is None:
                    self._paused_until = delivery.delivered
        if self._paused_until is None and not delivery.limited:
            self.window += delivery.size + lost

    def _end_round(self, now: float, in_flight: int) -> None:
        """Judge a round trip: all that left before its beginning has been answered."""
        delivery = self._delivery
        delivered = delivery.delivered - self._round_delivered
        lost, queue = self._lost, self._round_rtt - self._base_rtt
        self._round_end = self._round_delivered = delivery.delivered
        self._round_rtt = float("inf")
        self._lost = 0
        self._phase_rounds += 1
        heavy = lost >= HEAVY_LOSS_PACKETS * self.datagram_size and lost > HEAVY_LOSS * (lost + delivered)
        if self.phase is Phase.STARTUP:
            if heavy or (not delivery.limited and self._is_full()):
                self._enter(Phase.DOWN, now)
            return
        standing = queue > 0.25 * self._base_rtt + 0.004
        if lost and (heavy or standing) and delivery.prior >= self._congested_until:
            self._congested_at = now
            self._congested_until = delivery.delivered + in_flight
            self._ceiling = BACKOFF * (in_flight + lost)
        else:
            rise = max(1.0, (now - self._congested_at) / RISE_SECONDS)
            self._ceiling += rise * self.datagram_size
        if standing and self.phase is Phase.CRUISE and not self._drained and self.min_rtt < 1.125 * self._base_rtt:
            self._drained = True
            self._enter(Phase.DOWN, now)
        self._turn_the_circle(now)

    def _is_full(self) -> bool:
        """Whether the bandwidth has stopped to grow (draft-ietf-ccwg-bbr section 5.3.1.2)."""
        if self.bandwidth >= FULL_GROWTH * self._full_bandwidth:
            self._full_bandwidth = self.bandwidth
            self._full_rounds = 0
        else:
            self._full_rounds += 1
        return self._full_rounds >= FULL_ROUNDS

    def _turn_the_circle(self, now: float) -> None:
        if self.phase is Phase.DOWN:
            if self._phase_rounds > 3:
                self._enter(Phase.CRUISE, now)
        elif self.phase is Phase.CRUISE:
            rounds = CRUISE_ROUNDS + self._cycle % 3
            if self._phase_rounds > rounds and now - self._phase_at > CRUISE_SECONDS:
                self._begin_cycle()
                self._enter(Phase.UP, now)
        elif self._phase_rounds > 1:
            self._enter(Phase.DOWN, now)

    def _begin_cycle(self) -> None:
        """Forget what was measured before the last cycle, if that one measured anything."""
        self._cycle += 1
        self._drained = False
        self._base_rtt += max(0.0, self.min_rtt - self._base_rtt) / 32
        if self._rates[0] > 0:
            self._rates = [0.0, self._rates[0]]
            self.bandwidth = self._rates[1]
        if self._rtts[0] < float("inf"):
            self._rtts = [float("inf"), self._rtts[0]]
            self.min_rtt = self._rtts[1]

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase = phase
        self._phase_at = now
        self._phase_rounds = 0

    def _apply(self) -> None:
        """Set window and rate to what the phase makes of the model."""
        phase = self.phase
        if phase is Phase.STARTUP:
            if self.min_rtt < float("inf"):
                self.rate = STARTUP_GAIN * self.window / self.min_rtt
            return
        bdp = self.bandwidth * self.min_rtt
        gain = 1.0
        if phase is Phase.UP:
            gain = min(UP_GAIN, 1.0 + UP_BYTES / bdp)
        elif phase is Phase.DOWN:
            gain = DOWN_GAIN
        self.rate = gain * self.bandwidth
        burst = burst_bytes(self.rate, self.datagram_size)
        wanted = WINDOW_GAIN * bdp + 3 * burst
        least = max(bdp, MINIMUM_WINDOW * self.datagram_size)
        self.window = int(min(wanted, max(self._ceiling, least)))
