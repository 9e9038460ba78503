"""The pacer: bursts are bounded, and what is late is not lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.pacing import BURST_BYTES_MAX, Pacer, burst_bytes

SIZE = 1452
RATE = 2_500_000.0


@pytest.mark.parametrize(("rate", "burst"), [(1e4, 2 * SIZE), (1e7, 10_000), (1e9, BURST_BYTES_MAX)])
def test_a_burst_is_two_packets_or_a_millisecond_and_at_most_64_kilobytes(rate: float, burst: int) -> None:
    assert burst_bytes(rate, SIZE) == burst
    pacer = Pacer(SIZE, 0.0)
    assert pacer.budget(100.0, rate) == burst


def test_what_was_spent_comes_back_at_the_rate() -> None:
    pacer = Pacer(SIZE, 0.0)
    pacer.spent(pacer.budget(0.0, RATE))
    assert pacer.budget(0.0, RATE) == 0
    assert pacer.budget(0.0005, RATE) == 1250


def test_the_next_time_is_when_the_budget_is_there() -> None:
    pacer = Pacer(SIZE, 0.0)
    assert pacer.next_time(0.0, SIZE, RATE) == 0.0
    pacer.spent(2 * SIZE)
    at = pacer.next_time(0.0, SIZE, RATE)
    assert at == pytest.approx(SIZE / RATE)
    assert pacer.budget(at + 1e-9, RATE) == SIZE


def test_a_pause_in_which_nobody_waited_saves_no_more_than_a_burst() -> None:
    pacer = Pacer(SIZE, 0.0)
    pacer.spent(2 * SIZE)
    assert pacer.budget(10.0, RATE) == 2 * SIZE


def test_a_timer_that_is_very_late_catches_up_five_milliseconds_at_most() -> None:
    pacer = Pacer(SIZE, 0.0)
    pacer.spent(2 * SIZE)
    pacer.next_time(0.0, SIZE, RATE)
    assert pacer.budget(10.0, RATE) == pytest.approx(2 * SIZE + 0.005 * RATE, abs=1)


def test_a_probe_may_overdraw_and_the_rest_waits_longer() -> None:
    pacer = Pacer(SIZE, 0.0)
    pacer.spent(5 * SIZE)
    assert pacer.budget(0.0, RATE) < 0
    assert pacer.next_time(0.0, SIZE, RATE) == pytest.approx(4 * SIZE / RATE)


@given(
    rate=st.floats(1e5, 1e9),
    lateness=st.lists(st.floats(0.0, 0.002), min_size=200, max_size=200),
)
def test_late_timers_lose_no_rate(rate: float, lateness: list[float]) -> None:
    pacer = Pacer(SIZE, 0.0)
    now, sent = 0.0, 0
    for late in lateness:
        now = pacer.next_time(now, SIZE, rate) + late
        while (budget := pacer.budget(now, rate)) >= SIZE:
            sent += min(budget, BURST_BYTES_MAX)
            pacer.spent(min(budget, BURST_BYTES_MAX))
    most = burst_bytes(rate, SIZE)
    assert rate * now - SIZE <= sent <= rate * now + most + 1
