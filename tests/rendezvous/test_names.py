"""Names: the canonical form, its limits, and which names are one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rendezvous.contract.names import MAX_NAME_BYTES, MAX_NAME_LENGTH, canonical, fold, skeleton


@pytest.mark.parametrize(
    "name",
    [
        "alice",
        "Zoë",
        "علی رضا",
        "名前",
        "o'brien-2",
        "😀",
        "x" * 32,
        "\u0421\u0430\u0440\u0430-2",
        "日本のテスト Bob",
        "カー",
        "가나 x",
        "Nguyễn Thị",
        "שָׁלוֹם",
        "ที่นี่",
        "हिन्दी",
    ],
)
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
        ("x\u0300\u0301\u0302\u0303\u0304", "heaps"),
        ("a\u0325\u0325", "heaps"),
        ("\u0645\u06cc\u200c\u062e\u0648", "invisible"),  # the half-space of Persian
        ("x" * 33, "at most"),
        ("x" * 10_000, "at most"),
        ("\ufdfa" * 5, "at most"),
        ("😀" * 25, "at most"),
        ("\u0430lice", "several scripts"),  # Cyrillic a
        ("alic\u03b5", "several scripts"),  # Greek epsilon
        ("b\u043eb", "several scripts"),  # Cyrillic o
        ("علی bob", "several scripts"),
        ("ひら 가나", "several scripts"),
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
    assert skeleton(name) == skeleton(fold(name)) == skeleton(skeleton(name))


def test_upper_and_lower_case_are_one_name() -> None:
    assert fold("ALICE") == fold("alice") == fold("Ａlice")  # noqa: RUF001
    assert fold("STRASSE") == fold("straße")


@pytest.mark.parametrize(
    ("other", "latin"),
    [
        ("\u0441\u043e\u0441\u043e", "coco"),  # all of it Cyrillic
        ("\u0421\u0430\u0440\u0430", "capa"),
        ("\u039f\u03a4\u03a4\u039f", "OTTO"),  # all of it Greek
        ("\u13aa\u13de\u13a5\u13df\u13ac", "ALiCE"),  # all of it Cherokee
        ("\u0443\u0301\u0435\u0308", "y\u0301e\u0308"),  # with accents
    ],
)
def test_a_name_that_looks_latin_is_one_with_the_latin_name(other: str, latin: str) -> None:
    assert canonical(other)
    assert fold(other) != fold(latin)
    assert skeleton(other) == skeleton(latin)


def test_names_that_people_number_stay_apart() -> None:
    assert len({skeleton(f"bob{end}") for end in "0123456789olipmnvw"}) == 18
