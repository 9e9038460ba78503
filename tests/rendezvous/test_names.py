"""Names: the canonical form, its limits, and which names are one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous.contract.names import MAX_NAME_BYTES, MAX_NAME_LENGTH, canonical, fold


@pytest.mark.parametrize("name", ["alice", "Zoë", "علی رضا", "名前", "o'brien-2", "😀", "x" * 32])
def test_names_of_any_script_stay_as_they_are(name: str) -> None:
    assert canonical(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [("Zoe\u0308", "Zoë"), ("a\u00a0b", "a b"), ("Ａｌｉｃｅ", "Alice")],  # noqa: RUF001
)
def test_other_ways_to_write_a_name_become_one(text: str, name: str) -> None:
    assert canonical(text) == name


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "at least one"),
        ("  ", "at least one"),
        (" a", "space"),
        ("a ", "space"),
        ("a  b", "space"),
        ("a\nb", "invisible"),
        ("a\u200cb", "invisible"),
        ("a\u202eb", "invisible"),
        ("a\u2028b", "invisible"),
        ("a\ufe0f", "invisible"),
        ("\u3164", "invisible"),
        ("\ud800", "invisible"),
        ("\u0301a", "accent"),
        ("x" * 33, "at most"),
        ("x" * 10_000, "at most"),
        ("\ufdfa" * 5, "at most"),
        ("😀" * 25, "at most"),
    ],
)
def test_what_cannot_be_a_name_is_refused_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        canonical(text)


@given(st.text(max_size=40))
def test_a_canonical_name_is_canonical_and_within_its_limits(text: str) -> None:
    try:
        name = canonical(text)
    except ValueError:
        return
    assert canonical(name) == name
    assert 1 <= len(name) <= MAX_NAME_LENGTH
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert fold(name) == fold(name.swapcase().casefold()) or fold(name) == fold(fold(name))


def test_upper_and_lower_case_are_one_name() -> None:
    assert fold("ALICE") == fold("alice") == fold("Ａlice")  # noqa: RUF001
    assert fold("STRASSE") == fold("straße")
