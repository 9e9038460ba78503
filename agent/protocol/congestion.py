"""Congestion control: how much may be in flight, and how fast it may leave."""

from collections.abc import Sequence
from enum import Enum
from typing import Final

Sent = tuple[int, float, float, float, bool]

INITIAL_WINDOW: Final = 10
STARTUP_GAIN: Final = 2.4
UP_GAIN: Final = 1.25
UP_EXTRA: Final = 48_000
DOWN_GAIN: Final = 0.75
CRUISE_ROUNDS: Final = 4
WINDOW_GAIN: Final = 1.5
BACKOFF: Final = 0.8
DRAIN: Final = 0.9
GROWTH: Final = 8
MIN_RTT_SECONDS: Final = 10.0
HIGH_SAMPLES: Final = 4


class Phase(Enum):
    STARTUP = 1
    DOWN = 2
    CRUISE = 3
    UP = 4


class Controller:
    def __init__(self, datagram_size: int, now: float) -> None:
        self.datagram_size = datagram_size
        self.phase = Phase.STARTUP
        self._window = float(INITIAL_WINDOW * datagram_size)
        self._rate = self._window / 0.001
        # delivery rate
        self._delivered = 0
        self._delivered_at = now
        self._first_sent_at = now
        self._limited_until = 0
        self._rates = [0.0, 0.0]
        self.bandwidth = 0.0
        # rtt
        self.min_rtt = float("inf")
        self._rtts = [float("inf"), float("inf")]
        # rounds
        self._round_end = 0
        self._rounds = 0
        self._lost_in_round = 0
        self._round_start_delivered = 0
        self._high = 0
        self._held_until: int | None = None
        self._full = 0.0
        self._full_rounds = 0
        self._phase_round = 0
        self._phase_at = now
        self.ceiling = float("inf")
        self._queue_low = float("inf")
        self.queue = 0.0
        self._cycle = 0
        self._last_rtt = 0.0
        self._congested_round = -1

    @property
    def window(self) -> int:
        return int(self._window)

    @property
    def rate(self) -> float:
        return self._rate

    def on_sent(self, now: float, size: int, in_flight: int) -> Sent:
        if not in_flight:
            self._first_sent_at = self._delivered_at = now
        return (self._delivered, self._delivered_at, self._first_sent_at, now, self._delivered < self._limited_until)

    def on_app_limited(self, in_flight: int) -> None:
        if in_flight < self._window:
            self._limited_until = self._delivered + in_flight

    def on_ack(
        self,
        now: float,
        acked: Sequence[tuple[Sent, int]],
        lost: int,
        in_flight: int,
        rtt: float | None,
        min_rtt: float,
    ) -> None:
        size = 0
        newest = acked[0][0]
        for sent, acked_bytes in acked:
            size += acked_bytes
            if sent[3] > newest[3]:
                newest = sent
        self._delivered += size
        self._delivered_at = now
        delivered, delivered_at, first_sent_at, sent_at, limited = newest
        if sent_at > self._first_sent_at:
            self._first_sent_at = sent_at
        interval = max(sent_at - first_sent_at, now - delivered_at)
        rate = (self._delivered - delivered) / interval if interval > 0 else 0.0
        if rate > self._rates[0] and (not limited or rate > self.bandwidth):
            self._rates[0] = rate
            self.bandwidth = max(self._rates)
        if rtt is not None:
            self._note_rtt(now, rtt)
        self._lost_in_round += lost
        new_round = delivered >= self._round_end
        if new_round:
            self._start_round()
        if self.phase is Phase.STARTUP:
            self._startup(size + lost, new_round, limited, delivered)
        else:
            self._cycle_phase(now, in_flight, new_round)
        if new_round:
            self._lost_in_round = 0
            self._queue_low = float("inf")
        self._set()

    def _note_rtt(self, now: float, rtt: float) -> None:
        if rtt < self._rtts[0]:
            self._rtts[0] = rtt
            self.min_rtt = min(self._rtts)
        self._last_rtt = rtt
        queue = rtt - self.min_rtt
        if queue < self._queue_low:
            self._queue_low = queue

    def _start_round(self) -> None:
        self._rounds += 1
        self._round_end = self._delivered
        self.delivered_in_round = self._delivered - self._round_start_delivered
        self._round_start_delivered = self._delivered

    def _threshold(self) -> float:
        return max(0.002, min(self.min_rtt / 32, 0.008))

    def _startup(self, size: int, new_round: bool, limited: bool, delivered: int) -> None:
        if self._last_rtt - self.min_rtt <= self._threshold():
            self._high = 0
            if self._held_until is not None and delivered >= self._held_until:
                self._held_until = None
        else:
            self._high += 1
            if self._high >= HIGH_SAMPLES:
                if self._held_until is None:
                    self._held_until = self._delivered
                elif delivered >= self._held_until:
                    self._leave_startup()
                    return
        if self._held_until is None:
            self._window += size
        if new_round and not limited:
            if self.bandwidth > self._full * 1.25:
                self._full = self.bandwidth
                self._full_rounds = 0
            else:
                self._full_rounds += 1
                if self._full_rounds >= 3:
                    self._leave_startup()
        if new_round and self._heavy_loss():
            self._leave_startup()

    def _heavy_loss(self) -> bool:
        return self._lost_in_round >= 8 * self.datagram_size and self._lost_in_round > 0.15 * (
            self._lost_in_round + self.delivered_in_round
        )

    def _leave_startup(self) -> None:
        self._go(Phase.DOWN)

    def _go(self, phase: Phase) -> None:
        self.phase = phase
        self._phase_round = self._rounds

    def _cycle_phase(self, now: float, in_flight: int, new_round: bool) -> None:
        bdp = self.bandwidth * self.min_rtt
        if new_round and self._lost_in_round and self._rounds > self._congested_round + 1:
            if self._queue_low > 0.25 * self.min_rtt + 0.004 or self._heavy_loss():
                self._congested_round = self._rounds
                self.ceiling = max(BACKOFF * (in_flight + self._lost_in_round), bdp * 0.5, 4 * self.datagram_size)
        if new_round:
            self.ceiling += self.datagram_size * max(1, (self._rounds - self._congested_round) / GROWTH)
        if self.phase is Phase.DOWN:
            if in_flight <= DRAIN * bdp or self._rounds > self._phase_round + 3:
                self._go(Phase.CRUISE)
        elif self.phase is Phase.CRUISE:
            if self._rounds > self._phase_round + CRUISE_ROUNDS + self._cycle % 3:
                self._cycle += 1
                self._rates = [0.0, self._rates[0]]
                self._rtts = [float("inf"), self._rtts[0]]
                self._go(Phase.UP)
        elif self.phase is Phase.UP:
            if self._rounds > self._phase_round + 1:
                self._go(Phase.DOWN)

    def _set(self) -> None:
        if self.phase is Phase.STARTUP:
            self._rate = STARTUP_GAIN * self._window / self.min_rtt
            return
        bdp = self.bandwidth * self.min_rtt
        gain = 1.0
        if self.phase is Phase.UP:
            gain = 1 + min(UP_GAIN - 1, UP_EXTRA / bdp)
        elif self.phase is Phase.DOWN:
            gain = DOWN_GAIN
        self._rate = gain * self.bandwidth
        self._window = max(min(WINDOW_GAIN * bdp, self.ceiling), 4 * self.datagram_size)

    def on_lost(self, now: float, lost: int, in_flight: int) -> None:
        self._lost_in_round += lost

    def on_persistent_congestion(self, now: float) -> None:
        pass

    def on_path_change(self, now: float) -> None:
        self.__init__(self.datagram_size, now)
