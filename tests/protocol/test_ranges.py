"""Ranges against a set of integers, and the receiving side's record of packet numbers against a list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.acks import (
    ACK_BATCH,
    ACK_EAGERLY,
    ACK_EVERY,
    ACK_PATIENCE,
    MAX_ACK_DELAY,
    MAX_RANGES_KEPT,
    MAX_RANGES_SENT,
    Ranges,
    Received,
)

SPANS = st.tuples(st.integers(0, 60), st.integers(0, 60))
STEPS = st.lists(st.tuples(st.sampled_from(["add", "remove"]), SPANS), max_size=40)


def members(ranges: Ranges) -> set[int]:
    return {number for start, stop in ranges for number in range(start, stop)}


def runs(numbers: set[int]) -> list[tuple[int, int]]:
    """The only way to write a set as disjoint, not touching half-open ranges."""
    starts = sorted(n for n in numbers if n - 1 not in numbers)
    stops = sorted(n + 1 for n in numbers if n + 1 not in numbers)
    return list(zip(starts, stops, strict=True))


@given(STEPS)
def test_ranges_are_a_set_of_integers(steps: list[tuple[str, tuple[int, int]]]) -> None:
    ranges, model = Ranges(), set[int]()
    for step, (start, stop) in steps:
        span = set(range(start, stop))
        if step == "add":
            new = ranges.add(start, stop)
            assert [number for a, b in new for number in range(a, b)] == sorted(span - model)
            assert all(a < b for a, b in new)
            model |= span
        else:
            ranges.remove(start, stop)
            model -= span
        assert list(ranges) == runs(model)
        assert len(ranges) == len(runs(model))
        assert ranges.total() == len(model)


@given(STEPS, SPANS)
def test_ranges_tell_what_they_cover(steps: list[tuple[str, tuple[int, int]]], span: tuple[int, int]) -> None:
    ranges = Ranges()
    for step, (start, stop) in steps:
        getattr(ranges, step)(start, stop)
    assert ranges.covers(*span) == (set(range(*span)) <= members(ranges))


@given(st.lists(SPANS, max_size=20), st.integers(1, 30))
def test_ranges_are_listed_from_either_end(spans: list[tuple[int, int]], most: int) -> None:
    ranges = Ranges(*spans)
    expected = runs(members(ranges))
    assert ranges.descending(most) == expected[::-1][:most]
    if expected:
        assert (ranges.first(), ranges.last()) == (expected[0], expected[-1])


def test_the_first_of_no_range_is_an_error() -> None:
    with pytest.raises(IndexError):
        Ranges().first()
    with pytest.raises(IndexError):
        Ranges((3, 3)).last()


# --- what arrived ---

ARRIVALS = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 5)), max_size=80)


@given(ARRIVALS)
def test_every_number_is_new_once_and_seen_ever_after(arrivals: list[tuple[int, int]]) -> None:
    received, model = Received(), set[int]()
    for first, count in arrivals:
        fresh = [n for n in range(first, first + count) if not received.seen(n)]
        assert fresh == [n for n in range(first, first + count) if n not in model]
        for number in fresh:
            received.add(number, 1, 1, 0.0)
        model |= set(fresh)
        assert received.largest == max(model)
        _, ranges = received.acknowledge(0.0)
        assert ranges == runs(model)[::-1][:MAX_RANGES_SENT]
        assert received.loss() == pytest.approx(1 - len(model) / (max(model) + 1))


def test_a_flood_of_gaps_takes_no_more_memory_and_what_was_forgotten_counts_as_seen() -> None:
    received = Received()
    for number in range(0, 4 * MAX_RANGES_KEPT, 2):
        received.add(number, 1, 1, 0.0)
    assert len(received._ranges) == MAX_RANGES_KEPT
    assert all(received.seen(number) for number in range(2 * MAX_RANGES_KEPT - 1))
    assert not received.seen(4 * MAX_RANGES_KEPT - 3)
    assert received.loss() == pytest.approx(0.5, abs=0.01)
    assert received.loss(least=4 * MAX_RANGES_KEPT) == 0.0


def test_the_second_packet_that_wants_an_acknowledgement_gets_one_at_once() -> None:
    received = Received()
    received.add(0, 1, 1, 1.0)
    assert received.deadline == 1.0 + MAX_ACK_DELAY
    received.add(1, 1, 1, 1.01)
    assert received.deadline == 1.01
    assert ACK_EVERY == 2


def test_the_first_packet_sets_the_deadline_and_later_ones_do_not_move_it() -> None:
    received = Received()
    received.add(0, 1, 1, 1.0)
    received.add(1, 1, 0, 1.02)
    assert received.deadline == 1.0 + MAX_ACK_DELAY


def test_on_a_path_that_is_known_packets_are_gathered_for_a_small_part_of_a_round_trip() -> None:
    for rtt, patience in ((0.016, 0.0005), (1.0, ACK_PATIENCE)):
        received = Received()
        received.add(0, ACK_EAGERLY, 0, 0.0, rtt)
        received.add(ACK_EAGERLY, 2, 2, 1.0, rtt)
        assert received.deadline == pytest.approx(1.0 + patience)
        received.add(ACK_EAGERLY + 2, 2, 2, 1.0002, rtt)
        assert received.deadline == pytest.approx(1.0 + patience)
        received.add(ACK_EAGERLY + 4, ACK_BATCH, ACK_BATCH, 1.0003, rtt)
        assert received.deadline == 1.0003


@pytest.mark.parametrize("late", [0, 5], ids=["one that comes late", "one that leaves a gap"])
def test_reordering_is_acknowledged_at_once(late: int) -> None:
    received = Received()
    received.add(1, 2, 0, 1.0)
    received.add(late, 1, 1, 1.5)
    assert received.deadline == 1.5


def test_acknowledgements_alone_are_not_acknowledged() -> None:
    received = Received()
    received.add(0, 10, 0, 1.0)
    assert received.deadline is None


def test_an_acknowledgement_says_how_long_ago_the_highest_number_came() -> None:
    received = Received()
    received.add(7, 2, 2, 1.0)
    received.add(3, 1, 1, 1.2)
    assert received.acknowledge(1.5) == (0.5, [(7, 9), (3, 4)])
    assert received.deadline is None


def test_nothing_is_lost_before_anything_came() -> None:
    assert Received().loss() == 0.0
