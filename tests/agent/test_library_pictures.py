"""What a picture reveals stays at home unless its owner says otherwise; and what its owner says of it goes along."""

import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from agent import images
from agent.library import Library
from agent.parts import ImageSource
from agent.quotes import MAX_ALT, MAX_CAPTION
from tests.support.disk import files, refused
from tests.support.pictures import PLACE, SECRET, picture, telling

KINDS = ["JPEG", "PNG", "WEBP", "GIF"]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library(tmp_path / "library")
    yield opened
    opened.close()


def stored(folder: Path) -> set[str]:
    return {path.name for path in (folder / "library/images").iterdir()}


def leaving(source: ImageSource) -> bytes:
    """Read the whole of what would be sent, and close it."""
    buffer = bytearray(source.size)
    source.read_into([memoryview(buffer)], 0)
    source.close()
    return bytes(buffer)


def pixels(data: bytes) -> tuple[str, bytes]:
    with Image.open(io.BytesIO(data)) as image:
        return image.mode, image.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_what_leaves_has_the_pixels_alone_unless_the_owner_says_otherwise(library: Library, kind: str) -> None:
    data = telling(kind)
    item = library.add_image(io.BytesIO(data))
    assert item["stripped"]
    assert item["reveals"].get("place", {}).get("name") == PLACE["name"] or kind == "GIF"
    source = library.open_image(item["item"])
    assert source.sha256 == item["sha256"]
    sent = leaving(source)
    assert SECRET.encode() not in sent
    assert pixels(sent) == pixels(data)
    assert len(sent) == item["bytes"]
    kept = library.open_image(item["item"], keep_metadata=True)
    assert kept.sha256 != item["sha256"]
    assert leaving(kept) == data
    assert leaving(library.open_image(item["item"])) == sent
    assert images.look_at(library.media(item["sha256"])[0]).reveals == {}  # type: ignore[index]


def test_a_picture_that_says_nothing_is_one_file(library: Library, tmp_path: Path) -> None:
    item = library.add_image(io.BytesIO(picture()))
    assert (item["stripped"], item["reveals"]) == (False, {})
    assert stored(tmp_path) == {item["sha256"]}
    assert leaving(library.open_image(item["item"], keep_metadata=True)) == picture()


def test_both_files_go_with_their_item_but_not_with_another_one_that_needs_them(
    library: Library, tmp_path: Path
) -> None:
    data = telling("JPEG")
    first, second = (library.add_image(io.BytesIO(data + end)) for end in (b"", b"more"))
    assert first["item"] != second["item"]
    assert first["sha256"] == second["sha256"]
    assert len(stored(tmp_path)) == 3
    library.remove_item(first["item"])
    assert len(stored(tmp_path)) == 2
    assert library.media(first["sha256"]) is not None
    library.remove_item(second["item"])
    assert stored(tmp_path) == set()


def test_a_telling_picture_that_is_cut_off_is_refused_and_leaves_nothing(library: Library, tmp_path: Path) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        with refused("unsupported_image"):
            library.add_image(io.BytesIO(telling(kind)[:4000]))
    assert files(tmp_path / "library") == {"library.db", "library.db-shm", "library.db-wal"}


def test_a_lost_original_costs_the_choice_and_a_lost_copy_the_item(tmp_path: Path) -> None:
    for lost_copy in (False, True):
        library = Library(tmp_path / "library")
        item = library.add_image(io.BytesIO(telling("PNG")))
        library.close()
        for path in (tmp_path / "library/images").iterdir():
            if (path.name == item["sha256"]) == lost_copy:
                path.unlink()
        library = Library(tmp_path / "library")
        shown = library.items()
        if lost_copy:
            assert shown == []
            assert stored(tmp_path) == set()
        else:
            assert [(one["item"], one["stripped"]) for one in shown] == [(item["item"], False)]
            library.remove_item(item["item"])
        library.close()


def test_a_picture_of_an_earlier_version_is_looked_at_before_it_leaves(tmp_path: Path) -> None:
    data = telling("JPEG", 6)
    library = Library(tmp_path / "library")
    kept = library.add_image(io.BytesIO(data))
    original = leaving(library.open_image(kept["item"], keep_metadata=True))
    library.close()
    db = sqlite3.connect(tmp_path / "library/library.db")
    db.execute("UPDATE items SET sha256 = original, original = NULL, reveals = NULL")
    db.commit()
    db.close()
    library = Library(tmp_path / "library")
    (before,) = library.items()
    assert "reveals" not in before
    sent = leaving(library.open_image(kept["item"]))
    assert SECRET.encode() not in sent
    assert library.item(kept["item"]) == kept
    assert leaving(library.open_image(kept["item"], keep_metadata=True)) == original
    library.close()


def test_a_picture_is_described_in_words_of_any_script_and_they_can_be_taken_away(library: Library) -> None:
    item = library.add_image(io.BytesIO(picture()))
    assert not {"caption", "alt"} & set(item)
    library.describe_item(item["item"], caption="  دریا در\nغروب ", alt="A red\tsun.")
    assert library.items()[0] == item | {"caption": "دریا در غروب", "alt": "A red sun."}
    assert library.describe_item(item["item"], caption="Sea") == item | {"caption": "Sea", "alt": "A red sun."}
    assert library.describe_item(item["item"], caption="", alt="") == item


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ({"caption": "x" * (MAX_CAPTION + 1)}, "too_large"),
        ({"alt": "x" * (MAX_ALT + 1)}, "too_large"),
        ({"caption": 7}, "bad_request"),
        ({"alt": "a\x1b[31m"}, "bad_request"),
        ({"alt": "\ud800"}, "bad_request"),
    ],
)
def test_what_is_no_description_is_refused(library: Library, texts: dict[str, object], code: str) -> None:
    item = library.add_image(io.BytesIO(picture()))
    with refused(code):
        library.describe_item(item["item"], **texts)
    assert library.item(item["item"]) == item


def test_a_quote_has_no_caption(library: Library) -> None:
    with refused("bad_request"):
        library.describe_item(library.add_quote("Yes.", "A")["item"], caption="x")
