"""A yes in advance lets through what it names, and nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.grants import Grants
from agent.protocol.errors import UsageError

BOB, EVE = b"b" * 32, b"e" * 32
MB = 1024**2


class Kept:
    """Settings, as the history keeps them."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.full = False

    def setting(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def set_setting(self, name: str, value: Any) -> None:
        if self.full:
            raise UsageError("limit", "The disk is full: nothing was saved.")
        self.values[name] = value


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_up_to_ten_pictures_of_five_megabytes_in_half_an_hour() -> None:
    clock = Clock()
    grants = Grants(Kept(), clock)
    id = grants.give("bob", BOB, "image", "offer", 10, 5 * MB, 1800)
    for number in range(10):
        assert grants.lets_through(f"r{number}", BOB, "image", "offer", 5 * MB) == id
    assert grants.lets_through("r10", BOB, "image", "offer", 1) is None
    assert grants.all()[0]["used"] == [f"r{number}" for number in range(10)]


@pytest.mark.parametrize(
    ("key", "kind", "verb", "size"),
    [
        (EVE, "image", "offer", 1),
        (BOB, "quote", "offer", 0),
        (BOB, "image", "ask", 1),
        (BOB, "image", "offer", 5 * MB + 1),
    ],
)
def test_what_it_does_not_name_is_asked(key: bytes, kind: str, verb: str, size: int) -> None:
    grants = Grants(Kept(), Clock())
    grants.give("bob", BOB, "image", "offer", 10, 5 * MB, 1800)
    assert grants.lets_through("r", key, kind, verb, size) is None
    assert grants.all()[0]["used"] == []


def test_it_ends_by_time_and_by_its_owner_in_the_middle_of_a_batch() -> None:
    clock, kept = Clock(), Kept()
    grants = Grants(kept, clock)
    first = grants.give("bob", BOB, "image", "offer", 10, MB, 60)
    assert grants.lets_through("a", BOB, "image", "offer", 1) == first
    assert grants.revoke(first) == ("a",)
    assert grants.lets_through("b", BOB, "image", "offer", 1) is None
    second = grants.give("bob", BOB, "image", "offer", 10, MB, 60)
    clock.now += 60
    assert grants.lets_through("b", BOB, "image", "offer", 1) is None
    assert [grant["stands"] for grant in grants.all()] == [False, False]
    assert second != first


def test_grants_and_what_they_let_through_outlive_a_restart() -> None:
    clock, kept = Clock(), Kept()
    id = Grants(kept, clock).give("bob", BOB, "quote", "ask", 2, 1, 60)
    assert Grants(kept, clock).lets_through("a", BOB, "quote", "ask") == id
    again = Grants(kept, clock)
    assert again.lets_through("b", BOB, "quote", "ask") == id
    assert again.lets_through("c", BOB, "quote", "ask") is None


def test_what_cannot_be_kept_lets_nothing_through() -> None:
    kept = Kept()
    grants = Grants(kept, Clock())
    grants.give("bob", BOB, "quote", "ask", 1, 1, 60)
    kept.full = True
    with pytest.raises(UsageError):
        grants.lets_through("a", BOB, "quote", "ask")
    kept.full = False
    assert grants.lets_through("a", BOB, "quote", "ask") is not None


@pytest.mark.parametrize(("most", "size", "seconds"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1001, 1, 1), (1, 1, 604_801)])
def test_limits_that_are_none_are_refused(most: int, size: int, seconds: int) -> None:
    with pytest.raises(UsageError):
        Grants(Kept(), Clock()).give("bob", BOB, "quote", "ask", most, size, seconds)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("give"), st.integers(1, 3), st.integers(1, 50)),
            st.tuples(st.just("use"), st.just(0), st.just(0)),
            st.tuples(st.just("wait"), st.integers(1, 30), st.just(0)),
            st.tuples(st.just("revoke"), st.integers(0, 3), st.just(0)),
        ),
        max_size=40,
    )
)
def test_never_more_is_let_through_than_was_granted(moves: list[tuple[str, int, int]]) -> None:
    clock = Clock()
    grants = Grants(Kept(), clock)
    model: dict[str, tuple[int, float]] = {}  # what is left of each, and until when
    for number, (move, one, other) in enumerate(moves):
        if move == "give":
            model[grants.give("bob", BOB, "quote", "ask", one, 1, other)] = (one, clock.now + other)
        elif move == "wait":
            clock.now += one
        elif move == "revoke" and len(model) > one:
            id = list(model)[one]
            grants.revoke(id)
            model[id] = (0, 0.0)
        elif move == "use":
            used = grants.lets_through(f"r{number}", BOB, "quote", "ask")
            standing = [id for id, (left, until) in model.items() if left and clock.now < until]
            assert (used in standing) if standing else used is None
            if used is not None:
                model[used] = (model[used][0] - 1, model[used][1])
