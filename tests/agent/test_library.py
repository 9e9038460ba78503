"""The collection and what arrives: kept whole, found again, and never where a peer wants it."""

import io
import random
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent import images
from agent.library import ITEMS_SHOWN, TEXT_SHOWN, Library
from agent.quotes import MAX_TEXT_BYTES, checked_quote
from tests.support.disk import disk_that_takes, files, receiving, refused
from tests.support.pictures import picture

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library(tmp_path / "library")
    yield opened
    opened.close()


def add(library: Library, seed: int = 0, **options: Any) -> dict[str, Any]:
    return library.add_image(io.BytesIO(picture(seed=seed, **options)))


# Quotes


def test_a_quote_of_any_script_comes_back_as_it_was(library: Library) -> None:
    text = "بنی‌آدم اعضای یکدیگرند\n\tز یک گوهرند 🌍"
    added = library.add_quote(f"  {text}\r\n", " سعدی ", "گلستان")
    expected = {"item": added["item"], "kind": "quote", "text": text, "author": "سعدی", "source": "گلستان"}
    assert added == expected
    assert library.items() == [expected]


def test_the_same_quote_is_one_item(library: Library) -> None:
    assert library.add_quote("Yes.", "A") == library.add_quote(" Yes. ", "A")
    assert library.add_quote("Yes.", "B") != library.add_quote("Yes.", "A")
    assert len(library.items()) == 2


def test_a_quote_may_have_64_kib_and_not_a_byte_more(library: Library) -> None:
    longest = "é" * (MAX_TEXT_BYTES // 2)
    whole = library.add_quote(longest, "A")
    assert whole["text"] == longest
    assert library.items()[0] == whole | {"text": longest[:TEXT_SHOWN], "cut": True}
    with refused("too_large"):
        library.add_quote(longest + "e", "A")


@pytest.mark.parametrize("text", ["", " \n\t ", "a\0b", "a\x1b[31mb", "a\x7fb", "\ud800", None, 7, b"x", ["x"]])
def test_what_is_not_a_text_is_refused(library: Library, text: object) -> None:
    for fields in ((text, "A"), ("Yes.", text)):
        with refused("bad_request"):
            library.add_quote(*fields)
    assert library.items() == []


@pytest.mark.parametrize(("author", "source"), [("a" * 201, None), ("a", "s" * 401)])
def test_author_and_source_have_limits(library: Library, author: str, source: str | None) -> None:
    with refused("too_large"):
        library.add_quote("Yes.", author, source)


def test_author_and_source_stay_on_one_line() -> None:
    assert checked_quote("a", "b\nc", "d\t\te").author == "b c"
    assert checked_quote("a", "b", "").source is None


# Pictures


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_picture_is_kept_to_the_byte_and_found_by_its_hash(library: Library, kind: str) -> None:
    data = picture(kind, (80, 50))
    item = library.add_image(io.BytesIO(data), "holiday.exe")
    assert item["item"] == item["sha256"][:32]
    assert item["url"] == f"/media/{item['sha256']}"
    facts = {"kind": "image", "width": 80, "height": 50, "format": kind, "bytes": len(data), "name": "holiday.exe"}
    assert facts.items() <= item.items()
    found = library.media(item["sha256"])
    assert found is not None
    assert found[0].read_bytes() == data
    assert found[1] == images.MIME[kind]


def test_items_are_newest_first_and_at_most_300(library: Library) -> None:
    for number in range(ITEMS_SHOWN + 5):
        library.add_quote(f"number {number}", "A")
    newest = add(library)
    items = library.items()
    assert len(items) == ITEMS_SHOWN
    assert items[0] == newest
    assert items[1]["text"] == f"number {ITEMS_SHOWN + 4}"


def test_items_are_looked_up_only_after_a_change(library: Library) -> None:
    assert library.items() is library.items()
    quote = library.add_quote("Yes.", "A")
    assert [item["item"] for item in library.items()] == [quote["item"]]
    image = add(library)
    assert [item["item"] for item in library.items()] == [image["item"], quote["item"]]
    library.remove_item(quote["item"])
    assert [item["item"] for item in library.items()] == [image["item"]]
    assert library.items() is library.items()


def test_the_same_picture_is_one_item_and_one_file(library: Library, tmp_path: Path) -> None:
    assert add(library) == add(library)
    assert len(list((tmp_path / "library/images").iterdir())) == 1
    assert list((tmp_path / "library/incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../x.png", "x.png"),
        ("..\\..\\x.png", "x.png"),
        ("/etc/passwd", "passwd"),
        ("a\0b\x1b\u202ec.png", "abc.png"),
        ("\ud800x", "x"),
        ("é" * 300, "é" * 100),
        ("CON", "CON"),
        ("///", None),
        ("", None),
    ],
)
def test_the_name_of_an_upload_is_only_for_reading(library: Library, tmp_path: Path, name: str, shown: str) -> None:
    item = library.add_image(io.BytesIO(picture()), name)
    assert item.get("name") == shown
    assert [path.name for path in (tmp_path / "library/images").iterdir()] == [item["sha256"]]


def test_what_is_refused_leaves_nothing_behind(library: Library, tmp_path: Path) -> None:
    with refused("unsupported_image"):
        library.add_image(io.BytesIO(b"<svg/>"), "x.png")
    with refused("too_large"):
        library.add_image(Endless())
    assert files(tmp_path / "library") == {"library.db", "library.db-shm", "library.db-wal"}
    assert library.items() == []


class Endless:
    """An upload without an end."""

    def read(self, size: int) -> bytes:
        return bytes(size)


def test_a_full_disk_is_said_in_a_sentence_and_leaves_nothing_partial(library: Library, tmp_path: Path) -> None:
    with disk_that_takes(4096), refused("limit"):
        add(library, size=(200, 100))
    assert files(tmp_path / "library") == {"library.db", "library.db-shm", "library.db-wal"}
    assert add(library)["kind"] == "image"


def test_an_item_is_removed_with_its_file(library: Library, tmp_path: Path) -> None:
    quote, image = library.add_quote("Yes.", "A"), add(library)
    library.remove_item(quote["item"])
    library.remove_item(image["item"])
    assert library.items() == []
    assert library.media(image["sha256"]) is None
    assert list((tmp_path / "library/images").iterdir()) == []


@pytest.mark.parametrize("item", ["", "0" * 32, "../library.db", "\ud800", None, 7, ["x"], {"a": 1}])
def test_an_unknown_item_is_a_bad_request(library: Library, item: Any) -> None:
    for call in (library.item, library.remove_item, library.open_image):
        with refused("bad_request"):
            call(item)


@pytest.mark.parametrize("sha256", ["", "0" * 64, "../library.db", "..", "/etc/passwd", "\ud800"])
def test_media_gives_nothing_but_finished_pictures(library: Library, sha256: str) -> None:
    assert library.media(sha256) is None


def test_one_of_a_kind_is_picked_by_the_chooser(library: Library) -> None:
    for kind in ("quote", "image"):
        with refused("bad_request"):
            library.random_item(kind)
    quotes = [library.add_quote(str(number), "A") for number in range(9)]
    image = add(library)
    chooser = random.Random(3)
    picked = [library.random_item("quote", chooser) for _ in range(40)]
    assert {item["item"] for item in picked} == {item["item"] for item in quotes}
    assert library.random_item("image") == image


def test_a_picture_is_read_in_any_pieces_and_survives_its_removal(library: Library) -> None:
    data = picture(size=(300, 200))
    item = library.add_image(io.BytesIO(data))
    source = library.open_image(item["item"])
    library.remove_item(item["item"])
    assert (source.size, source.sha256, source.format) == (len(data), item["sha256"], "PNG")
    buffer = bytearray(5000)
    view = memoryview(buffer)
    source.read_into([view[at : at + 2] for at in range(0, 5000, 2)], 100)  # more views than one call takes
    assert buffer == data[100:5100]
    with pytest.raises(OSError, match="too early"):
        source.read_into([view], len(data) - 4999)
    source.close()
    source.close()


def test_folders_and_files_are_for_their_owner_alone(library: Library, tmp_path: Path) -> None:
    item = add(library)
    receiving(library, picture(seed=1)).close()
    for path in (tmp_path / "library").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((tmp_path / "library").stat().st_mode) == 0o700
    assert item["kind"] == "image"


def test_everything_is_there_after_a_restart_and_leftovers_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    library = Library(folder)
    kept = [library.add_quote("Yes.", "A"), add(library)]
    lost = add(library, seed=1)
    library.close()
    # What interrupted programs, and people, leave behind.
    (folder / "images" / lost["sha256"]).unlink()
    (folder / "images" / ("0" * 64)).write_bytes(b"renamed, and then the power went")
    (folder / "incoming" / "x.upload").write_bytes(b"half of an upload")
    library = Library(folder)
    assert library.items() == kept[::-1]
    assert library.media(lost["sha256"]) is None
    assert {path.name for path in (folder / "images").iterdir()} == {kept[1]["sha256"]}
    assert list((folder / "incoming").iterdir()) == []
    library.close()


class Collection(RuleBasedStateMachine):
    """Random people adding, removing and restarting, against a list."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.library = Library(Path(self.folder.name))
        self.model: list[tuple[str, str]] = []

    @rule(number=st.integers(0, 6))
    def add_quote(self, number: int) -> None:
        item = self.library.add_quote(f"quote {number}", "A")["item"]
        if (str(item), "quote") not in self.model:
            self.model.insert(0, (str(item), "quote"))

    @rule(which=st.integers(0, 9))
    def remove(self, which: int) -> None:
        if self.model:
            item = self.model.pop(which % len(self.model))[0]
            self.library.remove_item(item)
            with refused("bad_request"):
                self.library.remove_item(item)

    @rule()
    def restart(self) -> None:
        self.library.close()
        self.library = Library(Path(self.folder.name))

    @invariant()
    def shows_what_is_there(self) -> None:
        assert [(item["item"], item["kind"]) for item in self.library.items()] == self.model

    def teardown(self) -> None:
        self.library.close()
        self.folder.cleanup()


TestCollection = Collection.TestCase
TestCollection.settings = settings(max_examples=15, stateful_step_count=20)
