"""Quotes are read out of text files as people write them, and what is not understood is named by its line."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.library import Library
from agent.quote_file import MAX_FILE, MAX_QUOTES, MAX_REFUSALS, QuoteFile
from agent.quotes import Quote
from tests.support.disk import refused

HAMLET = Quote("To be, or not to be,\nthat is the question.", "William Shakespeare", "Hamlet")
SAADI = Quote("بنی‌آدم اعضای یکدیگرند\nز یک گوهرند", "سعدی", "گلستان")


def read(text: str | bytes) -> list[Quote]:
    """Read a text in which nothing is refused."""
    file = QuoteFile(text.encode() if isinstance(text, str) else text)
    assert file.refused == []
    return list(file.quotes.values())


def lines_refused(text: str | bytes) -> list[int]:
    return [one.line for one in QuoteFile(text.encode() if isinstance(text, str) else text).refused]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("beginning", ["", "\ufeff", "\n\n"])
def test_blocks_with_a_name_below_are_quotes(beginning: str, end: str) -> None:
    text = f"{beginning}{HAMLET.text}\n— William Shakespeare (Hamlet)\n\n{SAADI.text}\n— سعدی (گلستان)\n"
    assert read(text.replace("\n", end)) == [HAMLET, SAADI]


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_what_editors_put_in_front_is_no_part_of_the_text(codec: str) -> None:
    assert read("Yes. — A".encode(codec)) == [Quote("Yes.", "A")]


@pytest.mark.parametrize("dash", ["—", "–", "―", "-", "--", "---", "~", "-- ", "—\t"])
def test_a_name_below_follows_any_dash(dash: str) -> None:
    assert read(f"Yes.\nAnd no.\n  {dash}A B-C") == [Quote("Yes.\nAnd no.", "A B-C")]


@pytest.mark.parametrize("dash", [" — ", " – ", " —", " - ", " -- ", "\t―\t"])
def test_lines_that_each_end_with_a_name_are_a_quote_each(dash: str) -> None:
    text = f"Well-known - and true{dash}A\nNo.{dash}سعدی\n"
    assert read(text) == [Quote("Well-known - and true", "A"), Quote("No.", "سعدی")]


def test_a_name_may_end_the_last_line_of_several() -> None:
    assert read("One,\ntwo. — A\n\nThree. — B") == [Quote("One,\ntwo.", "A"), Quote("Three.", "B")]


def test_a_name_may_stand_a_line_further_below() -> None:
    assert read("One,\n\n— A\n\nTwo.\n\n\n-- B") == [Quote("One,", "A"), Quote("Two.", "B")]


def test_names_below_need_no_blank_lines_between() -> None:
    assert read("One,\ntwo.\n— A\nThree.\n— B") == [Quote("One,\ntwo.", "A"), Quote("Three.", "B")]


@pytest.mark.parametrize("separator", ["%", "***", "---", "===", "\n~\n"])
def test_lines_of_signs_separate(separator: str) -> None:
    assert read(f"One.\n— A\n{separator}\nTwo. — B\n{separator}\n") == [Quote("One.", "A"), Quote("Two.", "B")]


def test_lists_are_read_without_their_signs() -> None:
    assert read("- One. — A\n- Two. — B\n\n1. Three. — C\n* Four. — D") == [
        Quote("One.", "A"),
        Quote("Two.", "B"),
        Quote("Three.", "C"),
        Quote("Four.", "D"),
    ]


@pytest.mark.parametrize("named", ["A B (C d)", 'A B, "C d"', "A B, “C d”", "A B، «C d»", "A B(C d)"])
def test_a_work_is_known_by_its_marks(named: str) -> None:
    assert read(f"Yes. — {named}") == [Quote("Yes.", "A B", "C d")]


def test_a_comma_alone_is_part_of_a_name() -> None:
    assert read("Yes. — Martin Luther King, Jr.") == [Quote("Yes.", "Martin Luther King, Jr.")]


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("“Yes.”", "Yes."),
        ("«بله»", "بله"),
        ('"Yes."', "Yes."),
        ("“Yes” and “no”", "“Yes” and “no”"),
        ('"', '"'),
        ("““”", "““”"),
    ],
)
def test_marks_around_the_whole_are_taken_away(text: str, taken: str) -> None:
    assert read(f"{text}\n— A") == [Quote(taken, "A")]


def test_what_is_not_understood_is_refused_by_its_line_and_the_rest_is_taken() -> None:
    text = "Nobody said this.\nNor this.\n\nYes. — A\n\n— Only a name\n\nNo.\n— B\n\nThe end"
    file = QuoteFile(text.encode())
    assert list(file.quotes.values()) == [Quote("Yes.", "A"), Quote("No.", "B")]
    assert [one.line for one in file.refused] == [1, 6, 11]
    assert all(one.error.code == "bad_request" and one.error.message.endswith(".") for one in file.refused)


def test_a_line_that_is_not_unicode_costs_its_quote_alone() -> None:
    assert lines_refused("Yes. — A\n\nCafé. — B\n\nNo. — C".encode().replace(b"\xc3\xa9", b"\xe9")) == [3]


@pytest.mark.parametrize("text", ["a\x1b[31mb — A", "Yes. — A\x07", "x" * 70_000 + " — A", "Yes. — " + "a" * 250])
def test_what_is_no_quote_is_refused_by_its_line(text: str) -> None:
    assert lines_refused(f"Yes. — A\n\n{text}") == [3]


def test_prose_with_a_dash_in_it_is_no_name() -> None:
    assert lines_refused("He was - as they say - " + "a very long story " * 30) == [1]


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", bytes(99)])
def test_what_is_no_text_is_refused_as_a_whole(data: bytes) -> None:
    with refused("bad_request"):
        QuoteFile(data)


def test_a_file_has_a_largest_size_and_a_largest_number_of_quotes() -> None:
    with refused("too_large"):
        QuoteFile(b"x" * (MAX_FILE + 1))
    file = QuoteFile("\n".join(f"Number {number}. — A" for number in range(MAX_QUOTES + 300)).encode())
    assert len(file.quotes) == MAX_QUOTES
    assert [one.error.code for one in file.refused] == ["limit"] * MAX_REFUSALS
    assert file.refused[0].line == MAX_QUOTES + 1
    assert file.left_out == 300 - MAX_REFUSALS
    assert file.as_json()[0]["code"] == "limit"


@pytest.mark.parametrize("text", ["", "\n \n", "\ufeff", "%\n%"])
def test_an_empty_file_has_no_quotes(text: str) -> None:
    assert read(text) == []


@pytest.mark.parametrize("sign", [" ", "-", "— ", " - ", "a - ", "\n-", "(", "\t—"])
def test_a_file_that_means_harm_takes_no_time(sign: str) -> None:
    QuoteFile((sign * (1_000_000 // len(sign))).encode())  # in quadratic time it would outlast the suite's patience


def test_any_text_is_quotes_or_refusals() -> None:
    chance = random.Random(11)
    signs = [
        "a",
        "م",
        " ",
        "\n",
        "\n\n",
        "\r\n",
        " — ",
        "- ",
        "%",
        "(",
        ")",
        "“",
        "”",
        "\u200c",
        "\u202e",
        "\x85",
        "1. ",
    ]
    for _ in range(300):
        file = QuoteFile("".join(chance.choices(signs, k=60)).encode())
        for quote in file.quotes.values():
            assert quote.text
            assert quote.author


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library(tmp_path / "library")
    yield opened
    opened.close()


def test_the_quotes_of_a_file_are_added_once_in_their_order(library: Library) -> None:
    file = QuoteFile("One. — A\nTwo. — B\nOne. — A".encode())
    assert library.add_quotes(file) == 2
    assert [item["text"] for item in library.items()] == ["One.", "Two."]
    assert library.add_quotes(file) == 0
    assert library.add_quotes(QuoteFile(b"")) == 0
    assert len(library.items()) == 2
