"""How a key is written for people: words, digits, and what they promise."""

from hypothesis import given
from hypothesis import strategies as st

from agent.words import WORDS, digits, key_text, words

KEYS = st.binary(min_size=32, max_size=32)


def test_the_list_has_a_word_for_each_byte_and_four_letters_tell_any_two_apart() -> None:
    assert len(WORDS) == 256
    assert len({word[:4] for word in WORDS}) == 256
    assert all(word.isascii() and word.isalpha() and word.islower() and 3 <= len(word) <= 7 for word in WORDS)
    assert list(WORDS) == sorted(WORDS)


def test_a_key_keeps_its_words_and_digits_from_one_version_to_the_next() -> None:
    assert words(bytes(32)) == (
        "fruit garden hermit mouse uncle fossil opera hat ginger kettle oven jelly jungle lizard jungle bucket"
    )
    assert digits(bytes(32)) == "22022 37096 31479 19918 10382 90276 65309 30981"


@given(KEYS)
def test_a_key_is_sixteen_words_and_eight_groups_of_five_digits(key: bytes) -> None:
    assert len(words(key).split(" ")) == 16
    assert set(words(key).split(" ")) <= set(WORDS)
    groups = digits(key).split(" ")
    assert [len(group) for group in groups] == [5] * 8
    assert all(group.isdigit() for group in groups)


@given(KEYS, KEYS)
def test_another_key_has_other_words_and_other_digits(one: bytes, other: bytes) -> None:
    assert (words(one) == words(other)) == (digits(one) == digits(other)) == (one == other)


def test_the_qr_code_says_the_name_and_the_words() -> None:
    assert key_text("Zoë", bytes(32)) == f"Zoë\n{words(bytes(32))}"
    assert key_text(None, bytes(32)) == words(bytes(32))
