"""Loss recovery against RFC 9002: what is lost and when, when to probe, and what a liar gets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.protocol.acks import MAX_ACK_DELAY, Ranges
from agent.protocol.congestion import MINIMUM_WINDOW, Controller
from agent.protocol.errors import PeerError
from agent.protocol.recovery import (
    GRANULARITY,
    LOST_REMEMBERED,
    MAX_PACKET_THRESHOLD,
    MAX_PROBE_INTERVAL,
    PACKET_THRESHOLD,
    TIME_THRESHOLD,
    Recovery,
)
from tests.support.sent_packets import RTT, SIZE, Numbers, ack, recovery, send

# --- round trips (section 5) ---


def test_the_first_sample_is_the_estimate() -> None:
    path = recovery(rtt=None)
    send(path, 1, 0.0)
    path.acknowledged(ack((0, 1), delay=0.02), 0.2)
    assert (path.smoothed_rtt, path.rtt_variance, path.min_rtt) == (0.2, 0.1, 0.2)


def test_later_samples_are_smoothed_without_the_delay_of_the_peer() -> None:
    path = recovery(rtt=0.1)
    send(path, 1, 1.0)
    path.acknowledged(ack((0, 1), delay=0.02), 1.2)
    assert path.rtt_variance == pytest.approx(3 / 4 * 0.05 + 1 / 4 * 0.08)
    assert path.smoothed_rtt == pytest.approx(7 / 8 * 0.1 + 1 / 8 * 0.18)
    assert path.min_rtt == 0.1


def test_a_delay_that_would_make_the_sample_too_short_is_not_believed() -> None:
    path = recovery(rtt=0.1)
    send(path, 1, 1.0)
    path.acknowledged(ack((0, 1), delay=0.02), 1.11)
    assert path.smoothed_rtt == pytest.approx(7 / 8 * 0.1 + 1 / 8 * 0.11)


def test_a_delay_beyond_the_agreed_one_counts_as_part_of_the_path() -> None:
    path = recovery(rtt=0.1)
    send(path, 1, 1.0)
    path.acknowledged(ack((0, 1), delay=4000.0), 1.5)
    assert path.smoothed_rtt == pytest.approx(7 / 8 * 0.1 + 1 / 8 * (0.5 - MAX_ACK_DELAY))


def test_only_the_highest_number_gives_a_sample() -> None:
    path = recovery()
    send(path, 1, 0.0)
    send(path, 1, 0.0)
    path.acknowledged(ack((1, 2)), RTT)
    path.acknowledged(ack((0, 2)), 9.0)
    assert path.smoothed_rtt == pytest.approx(RTT)


# --- loss (section 6.1) ---


def test_three_packets_that_were_overtaken_are_not_lost_a_fourth_is() -> None:
    path = recovery()
    sent = send(path, 5, 0.0)
    path.acknowledged(ack((PACKET_THRESHOLD, PACKET_THRESHOLD + 1)), RTT)
    assert sent.lost_ones == [0]
    path.acknowledged(ack((3, 5)), RTT)
    assert sent.lost_ones == [0, 1]
    assert sent.arrived_ones == [3, 4]
    assert path.in_flight == SIZE
    assert path.bytes_lost == 2 * SIZE


def test_one_that_was_overtaken_is_lost_after_nine_eighths_of_a_round_trip() -> None:
    path = recovery()
    first = send(path, 1, 0.0)
    send(path, 1, 0.0)
    path.acknowledged(ack((1, 2)), RTT)
    due = path.timeout()
    assert due is not None
    assert due == pytest.approx(TIME_THRESHOLD * RTT)
    path.handle_timeout(due - 0.001)
    assert first.lost_ones == []
    path.handle_timeout(due)
    assert first.lost_ones == [0]
    assert path.timeout() is None


def test_what_remains_of_a_run_that_was_cut_has_its_timer_too() -> None:
    path = recovery()
    sent = send(path, 10, 0.0)
    path.acknowledged(ack((5, 6)), RTT)
    assert sent.lost_ones == [0, 1, 2]
    assert path.timeout() == pytest.approx(TIME_THRESHOLD * RTT)
    path.handle_timeout(TIME_THRESHOLD * RTT)
    assert sent.lost_ones == [0, 1, 2, 3, 4]


def test_a_path_that_has_just_become_slower_is_given_that_time() -> None:
    path = recovery(rtt=0.1)
    first = send(path, 2, 0.0)
    path.acknowledged(ack((1, 2)), 0.3)
    assert first.lost_ones == []
    assert path.timeout() == pytest.approx(TIME_THRESHOLD * 0.3)


def test_on_the_shortest_path_a_packet_has_still_a_millisecond() -> None:
    path = recovery(rtt=1e-5)
    send(path, 2, 0.0)
    path.acknowledged(ack((1, 2)), 1e-5)
    assert path.timeout() == pytest.approx(GRANULARITY)


def test_what_was_never_overtaken_is_never_lost() -> None:
    path = recovery()
    path.acknowledged(ack((send(path, 1, 0.0).base, 1)), RTT)
    last = send(path, 3, 1.0)
    for now in (2.0, 5.0, 60.0):
        path.handle_timeout(now)
    assert path.bytes_lost == 0
    assert path.in_flight == 3 * SIZE
    assert set(last.lost_ones) == {1, 2}  # to be sent again as probes, and yet in flight


def test_packets_that_were_only_late_raise_the_threshold() -> None:
    path = recovery()
    sent = send(path, 40, 0.0)
    path.acknowledged(ack((10, 20)), RTT)
    assert sent.lost_ones == list(range(10))
    path.acknowledged(ack((5, 20)), RTT)
    more = send(path, 40, RTT)
    path.acknowledged(ack((60, 61), (5, 20)), RTT + 0.01)
    assert more.lost_ones == list(range(40, 46))  # 15 and more before the highest
    assert path.bytes_lost == SIZE * (10 + 20 + 6)


def test_the_threshold_does_not_rise_without_end() -> None:
    path = recovery()
    path.next_number = 1
    send(path, 240, 0.0)
    path.acknowledged(ack((230, 231)), RTT)
    path.acknowledged(ack((1, 231)), RTT)
    assert path._threshold == MAX_PACKET_THRESHOLD


def test_the_memory_of_what_was_lost_has_an_end() -> None:
    path = recovery()
    for _ in range(100):
        base = send(path, 1, 0.0).base
        send(path, 1, 0.0)
        path.acknowledged(ack((base + 1, base + 2)), RTT)
    send(path, 5, 1.0)
    path.acknowledged(ack((path.next_number - 1, path.next_number)), 2.0)
    assert len(path._recently_lost) <= LOST_REMEMBERED


# --- probes (section 6.2) ---


def test_silence_is_probed_after_a_probe_timeout_that_doubles_up_to_a_limit() -> None:
    path = recovery(rtt=0.05)
    sent = send(path, 4, 0.0)
    now, waits = 0.0, []
    for _ in range(5):
        due = path.timeout()
        assert due is not None
        waits.append(due - now)
        now = due
        path.handle_timeout(now)
        assert path.probes == 2
    once = 0.05 + 4 * 0.025 + MAX_ACK_DELAY
    assert waits == pytest.approx([once, 2 * once, 4 * once, MAX_PROBE_INTERVAL, MAX_PROBE_INTERVAL])
    assert set(sent.lost_ones) == {0, 1}
    assert path.bytes_lost == 0


def test_silence_is_no_loss_of_a_probe_of_the_size_of_the_path() -> None:
    path = recovery()
    size_probe = Numbers(path.allocate(1))
    size_probe.tells_congestion = False  # type: ignore[misc]
    path.sent(size_probe.base, 1, 1452, size_probe, 0.0)
    data = send(path, 3, 0.0)
    due = path.timeout()
    assert due is not None
    path.handle_timeout(due)
    assert size_probe.lost_ones == []
    assert data.lost_ones == [data.base, data.base + 1]


def test_no_probe_leaves_before_an_answer_can_have_come() -> None:
    path = recovery(rtt=3.0)
    send(path, 1, 0.0)
    once = 3.0 + 4 * 1.5 + MAX_ACK_DELAY
    assert path.timeout() == pytest.approx(once)
    path.handle_timeout(once)
    assert path.timeout() == pytest.approx(2 * once)


def test_an_acknowledgement_ends_the_backoff() -> None:
    path = recovery(rtt=0.05)
    send(path, 4, 0.0)
    for now in (0.2, 0.6, 1.4):
        path.handle_timeout(now)
    assert path.timeouts == 3
    path.acknowledged(ack((0, 4)), 1.5)
    path.set_rtt(0.05)
    send(path, 1, 4.0)
    assert path.timeout() == pytest.approx(4.0 + 0.05 + 4 * 0.025 + MAX_ACK_DELAY)


def test_each_run_that_leaves_takes_a_probe() -> None:
    path = recovery()
    send(path, 4, 0.0)
    path.handle_timeout(1.0)
    send(path, 1, 1.0)
    assert path.probes == 1
    send(path, 1, 1.0)
    send(path, 1, 1.0)
    assert path.probes == 0


def test_a_timer_that_fires_early_does_nothing() -> None:
    path = recovery()
    send(path, 4, 0.0)
    path.handle_timeout(0.01)
    assert path.probes == 0
    assert recovery().timeout() is None


# --- persistent congestion (section 7.6.2, its own example) ---


def silence(*, acked: tuple[tuple[int, int], ...] = ((8, 9),), last_lost: float = 8.0) -> int:
    """Send as the example does, and return the window after the acknowledgement at 12.2 s."""
    path = recovery()
    send(path, 1, 0.0)
    send(path, 1, 1.0)
    path.acknowledged(ack((0, 1)), 1.2)
    for now in (2.0, 3.0, 4.0, 5.0, 6.0, last_lost, 12.0):
        send(path, 1, now)
    path.smoothed_rtt, path.rtt_variance = 1.0, 0.275 / 3  # the next sample, 0.2 s, makes the probe timeout 2 s
    path.acknowledged(ack(*acked), 12.2)
    return path.controller.window


def test_losses_over_three_probe_timeouts_are_persistent_congestion() -> None:
    assert silence() == MINIMUM_WINDOW * SIZE


def test_losses_over_a_shorter_time_are_not() -> None:
    assert silence(last_lost=6.5) > MINIMUM_WINDOW * SIZE


def test_losses_around_something_that_arrived_are_not() -> None:
    assert silence(acked=((8, 9), (4, 5))) > MINIMUM_WINDOW * SIZE


# --- liars (RFC 9000 section 21.4) ---


def test_acknowledging_what_was_never_sent_ends_the_session() -> None:
    path = recovery()
    send(path, 5, 0.0)
    with pytest.raises(PeerError) as caught:
        path.acknowledged(ack((0, 6)), RTT)
    assert caught.value.code == "ack"


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(20, 50))
def test_some_numbers_are_left_out_and_acknowledging_one_ends_the_session(seed: int, batch: int) -> None:
    path = Recovery(Controller(SIZE, 0.0), seed)
    used: set[int] = set()
    while path.next_number < 40_000:
        first = send(path, batch, 0.0).base
        used |= set(range(first, first + batch))
    left_out = sorted(set(range(path.next_number)) - used)
    assert 2 <= len(left_out) <= 8
    for number in left_out:
        with pytest.raises(PeerError):
            path.acknowledged(ack((number, number + 1)), RTT)
    path.acknowledged(ack((left_out[-1] + 1, path.next_number), (left_out[-2] + 1, left_out[-1])), RTT)


# --- all of it, against a list of packets ---


class Flight(RuleBasedStateMachine):
    """Packets leave in runs; acknowledgements of any of them come at any time, and timers fire."""

    def __init__(self) -> None:
        super().__init__()
        self.path = recovery()
        self.now = 0.0
        self.flying: dict[int, float] = {}
        self.gone: set[int] = set()  # declared lost
        self.arrived: set[int] = set()
        self.contents: list[Numbers] = []

    def threshold_delay(self) -> float:
        return max(TIME_THRESHOLD * max(self.path.smoothed_rtt, self.path.latest_rtt), GRANULARITY)

    @rule(count=st.integers(1, 12))
    def leave(self, count: int) -> None:
        content = send(self.path, count, self.now)
        self.contents.append(content)
        self.flying |= dict.fromkeys(range(content.base, content.base + count), self.now)

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.05, 0.2]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.path.next_number > 0)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        sent = sorted(set(self.flying) | self.gone | self.arrived)
        chosen = data.draw(st.sets(st.sampled_from(sent[-30:]), min_size=1))
        ranges = tuple(reversed(list(Ranges(*((number, number + 1) for number in chosen)))))
        fresh = chosen & set(self.flying)
        self.path.acknowledged(ack(*ranges), self.now)
        self.arrived |= fresh
        for number in fresh:
            del self.flying[number]
        if fresh:
            self.declare(by_time_alone=False)

    @rule()
    def fire(self) -> None:
        due = self.path.timeout()
        if due is None:
            return
        self.now = max(self.now, due)
        overtaken = [number for number in self.flying if number < max(self.arrived, default=-1)]
        self.path.handle_timeout(self.now)
        if overtaken:
            self.declare(by_time_alone=True)

    def declare(self, by_time_alone: bool) -> None:
        largest = max(self.arrived)
        for number, left in list(self.flying.items()):
            by_number = not by_time_alone and number <= largest - self.path._threshold
            by_time = left + self.threshold_delay() <= self.now + 1e-9
            if number < largest and (by_number or by_time):
                self.gone.add(number)
                del self.flying[number]

    @invariant()
    def each_packet_is_in_flight_or_arrived_or_lost(self) -> None:
        assert self.path.in_flight == SIZE * len(self.flying)
        arrived = [number for content in self.contents for number in content.arrived_ones]
        assert sorted(arrived) == sorted(self.arrived)
        lost = {number for content in self.contents for number in content.lost_ones}
        assert self.gone <= lost
        assert self.path.bytes_lost == SIZE * len(self.gone)

    @invariant()
    def what_was_overtaken_has_a_timer(self) -> None:
        overtaken = [left for number, left in self.flying.items() if number < max(self.arrived, default=-1)]
        due = self.path.timeout()
        if overtaken:
            assert due is not None
            assert due <= min(overtaken) + self.threshold_delay() + 1e-9
        assert (due is None) == (not self.flying)


Flight.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestFlight = Flight.TestCase
