"""The starter collection: old enough, in several languages, drawn here, and put in once."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from agent import starter
from agent.library import Library
from agent.protocol.errors import UsageError
from agent.quotes import checked_quote

ROOT = Path(__file__).resolve().parents[2]
QUOTES: list[dict[str, Any]] = json.loads((ROOT / "agent/starter/quotes.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def drawn() -> dict[str, bytes]:
    return dict(zip(starter.PICTURES, starter.draw(starter.PICTURES), strict=True))


def test_there_are_at_least_72_short_quotes_in_at_least_four_languages() -> None:
    assert len({quote["text"] for quote in QUOTES}) == len(QUOTES) >= 72
    assert {"en", "fa", "de", "fr"} <= {quote["language"] for quote in QUOTES}
    assert max(len(quote["text"]) for quote in QUOTES) <= 280


def test_every_author_died_before_1926_and_every_quote_says_where_it_stands() -> None:
    for quote in QUOTES:
        assert isinstance(quote["died"], int)
        assert quote["died"] < 1926, quote["author"]
        assert quote["author"]
        assert quote["source"]


def test_persian_quotes_are_in_persian_letters() -> None:
    persian = [quote for quote in QUOTES if quote["language"] == "fa"]
    assert len(persian) >= 12
    for quote in persian:
        assert not any(sign.isascii() and sign.isalpha() for sign in quote["text"] + quote["author"])
        # The Arabic forms of these two letters would look right and be searched for in vain.
        assert not set("يك") & set(quote["text"])


def test_every_quote_is_one_that_a_person_could_have_added() -> None:
    for text, author, source in starter.quotes():
        quote = checked_quote(text, author, source)
        assert (quote.text, quote.author, quote.source) == (text, author, source)


def test_the_pictures_are_varied_and_of_three_kinds(drawn: dict[str, bytes]) -> None:
    assert len(set(drawn.values())) >= 6
    kinds = set()
    for name, data in drawn.items():
        with Image.open(io.BytesIO(data)) as picture:
            kinds.add(picture.format)
            assert picture.size == (1200, 800), name
            colours = picture.convert("RGB").resize((60, 40)).getcolors(2400)
            assert colours is not None
            assert len(colours) > 40, name
    assert kinds == {"JPEG", "PNG", "WEBP"}


def test_the_same_picture_is_drawn_every_time(drawn: dict[str, bytes]) -> None:
    for name in ("Tiles.png", "Night.jpg"):
        assert list(starter.draw([name])) == [drawn[name]]


def test_a_drawing_that_fails_is_said_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="could not be drawn"):
        list(starter.draw(["No such picture.png"]))


def test_the_collection_is_put_in_once_and_what_was_removed_stays_away(
    tmp_path: Path, drawn: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def draw(names: list[str]) -> Any:
        asked.append(list(names))
        yield from (drawn[name] for name in names)

    monkeypatch.setattr(starter, "draw", draw)
    library = Library(tmp_path)
    news: list[dict[str, Any]] = []
    with pytest.raises(KeyboardInterrupt):
        library.ensure_starter(lambda item: interrupt_after(3, news, item))
    assert [item["kind"] for item in news] == ["quote", "image", "image"]
    library.remove_item(news[1]["item"])
    library.remove_item(news[0]["item"])
    library.close()

    library = Library(tmp_path)
    library.ensure_starter(news.append)
    assert asked == [list(starter.PICTURES), list(starter.PICTURES[2:])]
    items = library.items()
    assert len(items) == len(QUOTES) + len(starter.PICTURES) - 2
    assert [item["name"] for item in items[: len(starter.PICTURES) - 1]] == list(reversed(starter.PICTURES[1:]))
    library.ensure_starter(news.append)
    assert library.items() == items
    library.close()


def interrupt_after(count: int, news: list[dict[str, Any]], item: dict[str, Any]) -> None:
    news.append(item)
    if len(news) == count:
        raise KeyboardInterrupt


def test_the_starter_collection_comes_beside_other_green_threads(tmp_path: Path) -> None:
    script = f"""
import warnings
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
from pathlib import Path
from agent import starter
starter.PICTURES = starter.PICTURES[:2]
from agent.library import Library
turns = []
def others():
    while True:
        turns.append(1)
        eventlet.sleep(0.001)
eventlet.spawn(others)
library = Library(Path({str(tmp_path)!r}))
library.ensure_starter(lambda item: None)
print([item["kind"] for item in library.items()[:3]], len(turns) > 50)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['image', 'image', 'quote'] True"
