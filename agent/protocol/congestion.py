"""Congestion control: how much may be in flight, and how fast it may leave.

A model of the path in the manner of BBR (draft-ietf-ccwg-bbr-01): `bandwidth` is the most that was delivered lately,
`min_rtt` the shortest round trip lately, and their product is what fills the path without a queue. Loss alone is no
sign of congestion; loss while a queue stands is. What differs from BBR, to be as small as the aim allows:

- STARTUP doubles the window each round trip, and pauses as soon as round trips grow longer. If a round trip later they
  still are, the path is full; if not, it goes on. So it leaves without the overshoot of BBR's wait for three rounds
  without growth (RFC 9406 has the same aim). While a queue stands the bottleneck does not rest: what it delivers then
  is its rate, and STARTUP leaves with that, whatever it lost meanwhile.
- `min_rtt` is forgotten as fast as `bandwidth`, after two cycles. Each cycle drains the sender's own queue, so alone it
  sees the empty path; beside a sender that fills the queue it sees the queue, and holds its share: Copa's competitive
  mode without a mode.
- UP adds bytes for one round trip and then waits for what comes of them, so it builds a small queue on long paths too.
- Loss while a queue stands sets a ceiling on what is in flight, by CUBIC's factor; it then rises with time as CUBIC's
  window does (RFC 9438), so shares converge.

Owns no clock and no packet: the session passes the time in, keeps the snapshots and counts what is in flight. One call
for each batch, never for each packet. Pacing itself is pacing.py's.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final

from agent.protocol.delivery import DeliveryRate, Sent
from agent.protocol.pacing import burst_bytes

INITIAL_WINDOW: Final = 14_520  # bytes: ten of the largest datagrams (RFC 9002 section 7.2)
INITIAL_RATE: Final = INITIAL_WINDOW / 0.001  # they may leave at once (RFC 9002 section 7.7)
MINIMUM_WINDOW: Final = 4  # packets: fewer would wait for delayed acknowledgements

STARTUP_GAIN: Final = 2.4  # a round leaves in under half a round trip, so its queue shows early
QUEUE_SAMPLES: Final = 4  # so many long round trips in a row are a queue and not jitter
SLOWER: Final = 2  # STARTUP grows by half after a pause that proved nothing (as in RFC 9406)
BUSY_PACKETS: Final = 64  # delivered in a row while a queue stood: enough to tell how fast the bottleneck is
FULL_GROWTH: Final = 1.25  # less growth than this in each of three rounds: the path is full
FULL_ROUNDS: Final = 3

UP_GAIN: Final = 1.25
UP_BYTES: Final = 48_000  # what UP adds to a queue in its first round trip, at most
DOWN_GAIN: Final = 0.75
DOWN_ROUNDS: Final = 3
CRUISE_GAIN, CRUISE_DRAIN = 0.99, 0.97  # `bandwidth` is the highest of many samples: a little too much; while it shows
DRAINED: Final = 0.9  # of bandwidth * min_rtt in flight: the sender's own queue is gone
CRUISE_ROUNDS: Final = 4  # plus 0, 1 or 2, so that senders do not probe in step
CRUISE_SECONDS: Final = 0.05  # at least, where round trips are microseconds
WINDOW_GAIN: Final = 1.5  # the window bounds mistakes; it is pacing that sets the rate
HOST_SECONDS: Final = 0.005  # that data and acknowledgements may wait for the two programs, beside the round trip
PROBE_RTT_SECONDS: Final = 5.0  # without a sight of the shortest round trip

BACKOFF: Final = 0.7  # RFC 9438 section 4.6
RISE_SECONDS: Final = 2.0  # each round the ceiling rises by a packet for so many seconds of peace
HEAVY_LOSS: Final = 0.15  # of a round: more than any path loses by chance
HEAVY_LOSS_PACKETS: Final = 8
SHORTEST_RTT: Final = 1e-6  # what a coarse clock may call 0
INFINITY: Final = float("inf")


class Phase(Enum):
    """What the controller is doing; STARTUP comes once, the rest in turn."""

    STARTUP = "doubles its rate until the path is full"
    DOWN = "sends less than the path takes, until its own queue is gone"
    CRUISE = "sends what the path takes"
    UP = "sends a little more, to see whether the path takes it"
    PROBE_RTT = "sends half, to see the path without a queue"


STARTUP, DOWN, CRUISE, UP, PROBE_RTT = Phase  # for speed: Enum's own attributes are slow


class Controller:
    """The congestion controller of one path; sizes in bytes, times in seconds, rates in bytes/s."""

    __slots__ = (
        "_base_at",
        "_base_rtt",
        "_began_at",
        "_busy_rate",
        "_busy_since",
        "_ceiling",
        "_congested_at",
        "_congested_until",
        "_cycle",
        "_delivery",
        "_divisor",
        "_flight",
        "_full_bandwidth",
        "_full_rounds",
        "_jitter",
        "_last_rtt",
        "_left",
        "_lost",
        "_paused_until",
        "_phase_at",
        "_phase_rate",
        "_phase_rounds",
        "_queued_samples",
        "_rates",
        "_round_at",
        "_round_delivered",
        "_round_end",
        "_round_rtt",
        "_rtts",
        "_stale",
        "_standing",
        "_up_bytes",
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
        self._begin(now, INITIAL_WINDOW)

    def _begin(self, now: float, window: int) -> None:
        """Know nothing of the path, and begin with a window of so many bytes."""
        self._enter(STARTUP, now)
        self._began_at = now  # what left before it says nothing
        self._left = 0  # bytes since then
        self.window = window  # that may be in flight
        self.rate = INITIAL_RATE  # at which it may leave
        self.bandwidth = 0.0
        self._rates = [0.0, 0.0]  # the highest of this cycle and of the one before
        self.min_rtt = INFINITY
        self._rtts = [INFINITY, INFINITY]  # the shortest, likewise
        self._jitter = 0.0
        self._last_rtt = 0.0
        self._base_rtt = INFINITY  # the shortest since PROBE_RTT, and when it was seen last
        self._base_at = now
        self._paused_until: int | None = None  # `delivered` at which STARTUP's pause is judged
        self._queued_samples = 0
        self._busy_since = (now, now, 0)  # the first of these samples: when, when its packet left, and `delivered`
        self._standing = False  # whether a queue stood for all of the last round
        self._busy_rate = 0.0  # at which the bottleneck delivered while a queue stood
        self._flight = 0  # the most bytes in flight since the window grew
        self._full_bandwidth = 0.0
        self._full_rounds = 0
        self._divisor = 1  # of STARTUP's growth
        self._up_bytes = 0.0
        self._ceiling = INFINITY
        self._congested_at = now
        self._congested_until = 0  # `delivered` at which the effect of the last cut shows
        self._round_end = self._round_delivered = self._delivery.delivered
        self._round_at = now
        self._round_rtt = INFINITY  # the shortest of this round
        self._lost = 0  # in this round

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase = phase
        self._stale = True  # window and rate do not fit any more
        self._phase_at = now
        self._phase_rounds = 0
        self._phase_rate = 0.0  # the highest of its rounds

    def on_sent(self, now: float, size: int, in_flight: int) -> Sent:
        """Note that `size` bytes leave together, with `in_flight` before them.

        The snapshot is to be kept with them and handed back to `on_ack`.
        """
        self._left += size
        if in_flight + size > self._flight:
            self._flight = in_flight + size
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
        if delivery.sent_at < self._began_at:
            return
        if rate > self._rates[0] and (not delivery.limited or rate > self.bandwidth):
            self._rates[0] = rate
            if rate > self.bandwidth:
                self.bandwidth = rate
                self._stale = True
        if rtt is not None:
            if not self._last_rtt:
                self._last_rtt = rtt
            self._note_rtt(now, rtt if rtt > SHORTEST_RTT else SHORTEST_RTT)
        lost = min(lost, self._left)  # the rest left before we began anew
        self._lost += lost
        if self.phase is STARTUP:
            self._start_up(now, rtt, lost)
        if delivery.prior >= self._round_end:
            self._end_round(now, in_flight)
        elif self.phase is DOWN and in_flight <= DRAINED * self.bandwidth * self.min_rtt:
            self._enter(CRUISE, now)
        if self._stale:
            self._apply()

    def on_lost(self, now: float, lost: int, in_flight: int) -> None:
        """Note bytes that a timer, not an acknowledgement, declared lost."""
        self._lost += min(lost, self._left)

    def on_persistent_congestion(self, now: float) -> None:
        """Begin again from the smallest window (RFC 9002 section 7.6)."""
        self._begin(now, MINIMUM_WINDOW * self.datagram_size)

    def on_path_change(self, now: float) -> None:
        """Begin again: nothing is known of the new path (RFC 9000 section 9.4)."""
        self._delivery.restart(now)
        self._begin(now, INITIAL_WINDOW)

    def _note_rtt(self, now: float, rtt: float) -> None:
        self._jitter += (abs(rtt - self._last_rtt) - self._jitter) / 8
        self._last_rtt = rtt
        if rtt < self._round_rtt:
            self._round_rtt = rtt
        if rtt < self._rtts[0]:
            self._rtts[0] = rtt
            if rtt < self.min_rtt:
                self.min_rtt = rtt
                self._stale = True
        if rtt <= 1.02 * self._base_rtt:
            self._base_rtt = min(self._base_rtt, rtt)
            self._base_at = now
        elif now - self._base_at > PROBE_RTT_SECONDS and self.phase is not STARTUP:
            self._base_at = now
            self._rtts[0] = rtt
            self._enter(PROBE_RTT, now)

    def _is_queue(self, rtt: float) -> bool:
        """Whether this is longer than the shortest by more than chance: 2 to 4 ms, and jitter."""
        return rtt > self.min_rtt + min(max(self.min_rtt / 32, 0.002), 0.004) + 2 * self._jitter

    def _start_up(self, now: float, rtt: float | None, lost: int) -> None:
        """Grow by what was delivered as long as no queue shows; leave when one stays.

        What was lost counts as well: it left room in the path. `_end_round` finds the losses that
        mean something. A window that is not used does not grow (RFC 9002 section 7.8).
        """
        delivery = self._delivery
        judged = self._paused_until is not None and delivery.prior >= self._paused_until
        if rtt is not None and not self._is_queue(rtt):
            self._queued_samples = 0
            if judged:
                self._paused_until = None
                self._divisor = SLOWER
        elif rtt is not None:
            self._note_busy(now)
            self._queued_samples += 1
            if self._queued_samples >= QUEUE_SAMPLES:
                if judged:
                    self._end_startup(now)
                elif self._paused_until is None:
                    self._paused_until = delivery.delivered
        if self._paused_until is None and self.window < 3 * self._flight:
            self.window += (delivery.size + lost) // self._divisor
            self._stale = True

    def _note_busy(self, now: float) -> None:
        """Measure a bottleneck that has a queue: it does not rest then, so what it delivers is its rate.

        As `DeliveryRate` does, count the longer of the times in which the packets left and arrived.
        """
        delivery = self._delivery
        if not self._queued_samples:
            self._busy_since = (now, delivery.sent_at, delivery.delivered)
        began, left, delivered = self._busy_since
        size, seconds = delivery.delivered - delivered, max(now - began, delivery.sent_at - left)
        if size >= BUSY_PACKETS * self.datagram_size and seconds > self.min_rtt / 4:
            self._busy_rate = max(self._busy_rate, size / seconds)

    def _end_startup(self, now: float) -> None:
        """Go on with what STARTUP has found: the most that was delivered in a round trip, or by a busy bottleneck."""
        self.bandwidth = self._rates[0] = max(self.bandwidth, self._busy_rate)
        self._enter(DOWN, now)

    def _end_round(self, now: float, in_flight: int) -> None:
        """Judge a round trip: all that left before its beginning has been answered."""
        delivery = self._delivery
        lost, rtt = self._lost, self._round_rtt
        delivered = delivery.delivered - self._round_delivered
        rate = delivered / max(now - self._round_at, SHORTEST_RTT)
        self._phase_rate = max(self._phase_rate, rate)
        self._round_end = self._round_delivered = delivery.delivered
        self._round_at = now
        self._round_rtt = INFINITY
        self._lost = 0
        self._phase_rounds += 1
        self._stale = True
        heavy = lost > HEAVY_LOSS * (lost + delivered) and lost >= HEAVY_LOSS_PACKETS * self.datagram_size
        if self.phase is STARTUP:
            full = heavy or (not delivery.limited and self._is_full())
            if full and self.min_rtt < INFINITY:
                self._end_startup(now)
            return
        self._standing = rtt < INFINITY and self._is_queue(rtt)
        standing = INFINITY > rtt > 1.25 * self._base_rtt + 0.004
        if lost and (heavy or standing) and delivery.prior >= self._congested_until:
            self._congested_at = now
            self._congested_until = delivery.delivered + in_flight
            self._ceiling = BACKOFF * (in_flight + lost)
        else:
            peace = (now - self._congested_at) / RISE_SECONDS
            self._ceiling += max(1.0, peace) * self.datagram_size
            if rtt < INFINITY and not self._is_queue(rtt):
                self._ceiling *= 1.125
        self._take_turns(now, rtt)

    def _is_full(self) -> bool:
        """Whether the bandwidth has stopped to grow (draft-ietf-ccwg-bbr-01 section 5.3.1.2)."""
        if self.bandwidth >= FULL_GROWTH * self._full_bandwidth:
            self._full_bandwidth = self.bandwidth
            self._full_rounds = 0
        else:
            self._full_rounds += 1
        return self._full_rounds >= FULL_ROUNDS

    def _take_turns(self, now: float, rtt: float) -> None:
        """Go on to the next phase, at the end of a round, if it is time."""
        rounds, seconds = self._phase_rounds, now - self._phase_at
        if self.phase is DOWN:
            if rounds > DOWN_ROUNDS:  # a queue stays: there is less bandwidth than there was
                self.bandwidth = self._phase_rate
                self._rates = [self._phase_rate, self._phase_rate]
                self._enter(CRUISE, now)
        elif self.phase is CRUISE:
            enough = CRUISE_ROUNDS + self._cycle % 3 if self._cycle else 1
            if rounds > enough and seconds > CRUISE_SECONDS:
                self._begin_cycle()
                self._enter(UP, now)
        elif self.phase is UP:
            if rounds > 1:  # the first round answers what left before it
                self._end_up(now, rtt)
        elif rounds > 1 and seconds > 0.1:
            self._base_rtt = self.min_rtt = self._rtts[0]
            self._rtts[1] = INFINITY
            self._base_at = now
            self._enter(CRUISE, now)

    def _begin_cycle(self) -> None:
        """Forget what was measured before the last cycle, if that one measured anything."""
        self._cycle += 1
        if self._rates[0] > 0 and self._rtts[0] < INFINITY:
            self.bandwidth = self._rates[0]
            self._rates = [0.0, self.bandwidth]
            self.min_rtt = self._rtts[0]
            self._rtts = [INFINITY, self.min_rtt]
        self._full_bandwidth = self.bandwidth
        self._up_bytes = min(UP_BYTES, (UP_GAIN - 1) * self.bandwidth * self.min_rtt)

    def _end_up(self, now: float, rtt: float) -> None:
        """Leave UP, unless the path took it all: then go up again, and twice as steeply."""
        bdp = self.bandwidth * self.min_rtt
        growth = 1.0 + 0.5 * self._up_bytes / bdp
        if self._is_queue(rtt) or self.bandwidth < growth * self._full_bandwidth:
            self._enter(DOWN, now)
            return
        self._full_bandwidth = self.bandwidth
        self._up_bytes = min(2 * self._up_bytes, bdp)
        self._enter(UP, now)

    def _apply(self) -> None:
        """Set window and rate to what the phase makes of the model."""
        self._stale, phase = False, self.phase
        if phase is STARTUP:
            if self.min_rtt < INFINITY and self.window > INITIAL_WINDOW:
                self.rate = STARTUP_GAIN * self.window / self.min_rtt
            return
        bdp = self.bandwidth * self.min_rtt
        least = MINIMUM_WINDOW * self.datagram_size
        gain, window_gain = 1.0, WINDOW_GAIN
        if phase is UP and not self._phase_rounds:  # its second round waits for what comes of the first
            gain += self._up_bytes / bdp
            window_gain = max(WINDOW_GAIN, gain)
        elif phase is DOWN:
            gain = DOWN_GAIN
        elif phase is CRUISE:
            gain = CRUISE_DRAIN if self._standing else CRUISE_GAIN
        self.rate = gain * self.bandwidth
        if phase is PROBE_RTT:
            self.window = int(max(0.5 * self.bandwidth * self._base_rtt, least))
            return
        window = window_gain * bdp + HOST_SECONDS * self.bandwidth + 3 * burst_bytes(self.rate, self.datagram_size)
        self.window = int(min(window, max(self._ceiling, gain * bdp, least)))
