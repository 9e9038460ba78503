"""The collection and what arrives: kept whole, found again, and never where a peer wants it."""

import hashlib
import io
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent import images
from agent.library import ITEMS_SHOWN, TEXT_SHOWN, Library
from agent.protocol.errors import UsageError
from agent.quotes import MAX_TEXT_BYTES, checked_quote
from tests.support.pictures import picture

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library(tmp_path / "library")
    yield opened
    opened.close()


@contextmanager
def refused(code: str) -> Iterator[None]:
    """Expect a refusal with this code and a sentence."""
    with pytest.raises(UsageError) as error:
        yield
    assert error.value.code == code
    assert error.value.message.endswith(".")


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


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_a_full_disk_is_said_in_a_sentence_and_leaves_nothing_partial(library: Library, tmp_path: Path) -> None:
    with disk_that_takes(4096), refused("limit"):
        add(library, size=(200, 100))
    assert files(tmp_path / "library") == {"library.db", "library.db-shm", "library.db-wal"}
    assert add(library)["kind"] == "image"


@contextmanager
def disk_that_takes(size: int) -> Iterator[None]:
    """Let the kernel refuse every byte of a file beyond `size` to this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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


# Receiving

REQUEST = "0123456789abcdef" * 2


def receiving(library: Library, data: bytes, request: str = REQUEST, **changed: Any) -> Any:
    """Begin to receive a picture as an honest peer announces it, but for what is changed."""
    return library.begin_receiving(request, **(announced(data) | changed))


def announced(data: bytes) -> dict[str, Any]:
    chunks = [data[at : at + images.CHUNK] for at in range(0, len(data), images.CHUNK)]
    digests = b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)
    return {
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "digests_sha256": hashlib.sha256(digests).hexdigest(),
        "format": "PNG",
        "width": 300,
        "height": 200,
    }


LARGE = picture(size=(300, 200), seed=7)
CHUNKS = -(-len(LARGE) // images.CHUNK)


def write(sink: Any, index: int, data: bytes = LARGE) -> None:
    """Write one chunk in small pieces, and mark it."""
    start = index * images.CHUNK
    chunk = memoryview(data)[start : start + images.CHUNK]
    sink.write_from([chunk[at : at + 40] for at in range(0, len(chunk), 40)], start)
    sink.mark_verified(index)


def test_chunks_in_any_order_make_the_picture(library: Library, tmp_path: Path) -> None:
    assert CHUNKS > 2
    sink = receiving(library, LARGE)
    for index in reversed(range(CHUNKS)):
        write(sink, index)
    facts = sink.finish()
    found = library.media(facts.sha256)
    assert found is not None
    assert found[0].read_bytes() == LARGE
    assert library.items() == []
    assert list((tmp_path / "library/incoming").iterdir()) == []


def test_what_was_verified_is_known_after_a_restart_and_the_rest_is_written_then(tmp_path: Path) -> None:
    library = Library(tmp_path)
    sink = receiving(library, LARGE)
    write(sink, 1)
    assert sink.verified() == bytes([0b01000000])
    sink.close()
    library.close()
    library = Library(tmp_path)
    library.discard_unfinished(keep=[REQUEST])
    sink = receiving(library, LARGE)
    assert sink.verified() == bytes([0b01000000])
    buffer = bytearray(images.CHUNK)
    sink.read_into([memoryview(buffer)], images.CHUNK)
    assert buffer == LARGE[images.CHUNK : 2 * images.CHUNK]
    for index in range(CHUNKS):
        write(sink, index)
    assert sink.finish().size == len(LARGE)
    library.close()


@pytest.mark.parametrize("changed", [{"size": len(LARGE) - 1}, {"sha256": "0" * 64}, {"width": 301}])
def test_another_announcement_starts_anew(library: Library, changed: dict[str, Any]) -> None:
    sink = receiving(library, LARGE)
    write(sink, 0)
    sink.close()
    sink = receiving(library, LARGE, **changed)
    assert sink.verified() == b"\0"
    buffer = bytearray(100)
    sink.read_into([memoryview(buffer)], 0)
    assert buffer == bytes(100)
    sink.discard()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sha256": "0" * 64}, "not what was sent"),
        ({"digests_sha256": "0" * 64}, "not what was announced"),
        ({"format": "JPEG"}, "not what was announced"),
        ({"width": 200, "height": 300}, "not what was announced"),
    ],
)
def test_what_is_not_as_announced_is_refused_and_removed(
    library: Library, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    sink = receiving(library, LARGE, **changed)
    for index in range(CHUNKS):
        write(sink, index)
    with pytest.raises(UsageError, match=said):
        sink.finish()
    assert files(tmp_path / "library") == {"library.db", "library.db-shm", "library.db-wal"}


def test_what_is_no_picture_is_never_kept(library: Library, tmp_path: Path) -> None:
    page = b"<html>" * 99
    sink = receiving(library, page)
    write(sink, 0, page)
    with refused("unsupported_image"):
        sink.finish()
    assert files(tmp_path / "library") == {"library.db", "library.db-shm", "library.db-wal"}


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"size": 0}, "too_large"),
        ({"size": -1}, "too_large"),
        ({"size": 2**63 - 1}, "too_large"),
        ({"size": images.MAX_BYTES + 1}, "too_large"),
        ({"width": 2**31, "height": 2**31}, "too_large"),
        ({"width": 0}, "unsupported_image"),
        ({"height": -4}, "unsupported_image"),
        ({"format": "SVG"}, "unsupported_image"),
        ({"request": "../../../etc/x"}, "bad_request"),
        ({"request": "0" * 31 + "\n"}, "bad_request"),
    ],
)
def test_what_cannot_be_a_picture_is_refused_before_anything_is_taken(
    library: Library, tmp_path: Path, changed: dict[str, Any], code: str
) -> None:
    with refused(code):
        receiving(library, LARGE, **changed)
    assert list((tmp_path / "library/incoming").iterdir()) == []


def test_a_disk_without_room_is_said_before_the_transfer(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)
    fields = list(real)
    fields[4] = 0  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))
    with pytest.raises(UsageError, match="not enough room"):
        receiving(library, LARGE)
    assert list((tmp_path / "library/incoming").iterdir()) == []


def test_a_disk_that_fills_up_during_the_transfer_is_said_in_a_sentence(library: Library) -> None:
    sink = receiving(library, LARGE)
    with disk_that_takes(images.CHUNK), refused("limit"):
        write(sink, 1)
    assert sink.verified() == b"\0"
    write(sink, 1)
    sink.discard()


def test_links_that_wait_at_the_targets_are_not_followed(library: Library, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    for name in (f"incoming/{REQUEST}.part", f"incoming/{REQUEST}.bitmap", f"images/{announced(LARGE)['sha256']}"):
        (tmp_path / "library" / name).symlink_to(victim)
    sink = receiving(library, LARGE)
    for index in range(CHUNKS):
        write(sink, index)
    sha256 = sink.finish().sha256
    assert victim.read_bytes() == b"untouched"
    found = library.media(sha256)
    assert found is not None
    assert not found[0].is_symlink()


def test_bytes_outside_of_the_picture_are_not_written(library: Library) -> None:
    sink = receiving(library, LARGE)
    for offset, size in ((-1, 1), (len(LARGE), 1), (0, len(LARGE) + 1)):
        with pytest.raises(ValueError, match="outside"):
            sink.write_from([memoryview(bytes(size))], offset)
    for index in (-1, CHUNKS):
        with pytest.raises(ValueError, match="chunk"):
            sink.mark_verified(index)
    sink.discard()


def test_discarding_removes_everything_and_keeps_what_others_receive(library: Library, tmp_path: Path) -> None:
    other = "f" * 32
    receiving(library, LARGE).close()
    receiving(library, LARGE, other).close()
    receiving(library, LARGE, "e" * 32).discard()
    library.discard_unfinished(keep=[other])
    assert {path.stem for path in (tmp_path / "library/incoming").iterdir()} == {other}


def test_a_received_picture_outlives_the_item_that_it_also_is(library: Library) -> None:
    sink = receiving(library, LARGE)
    for index in range(CHUNKS):
        write(sink, index)
    sha256 = sink.finish().sha256
    item = library.add_image(io.BytesIO(LARGE))
    library.remove_item(item["item"])
    assert library.items() == []
    assert library.media(sha256) is not None


def test_after_a_kill_every_chunk_that_is_marked_is_there(tmp_path: Path) -> None:
    script = f"""
        from pathlib import Path
        from agent.library import Library
        from tests.agent import test_library as t
        sink = t.receiving(Library(Path({str(tmp_path)!r})), t.LARGE)
        for index in (2, 0, 1):
            t.write(sink, index)
            print(index, flush=True)
            input()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "2\n"
    child.stdin.write("\n")
    child.stdin.flush()
    assert child.stdout.readline() == "0\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdin.close()
    child.stdout.close()
    library = Library(tmp_path)
    sink = receiving(library, LARGE)
    marked = sink.verified()[0]
    assert marked == 0b10100000
    for index in (0, 2):
        buffer = bytearray(len(LARGE[index * images.CHUNK : (index + 1) * images.CHUNK]))
        sink.read_into([memoryview(buffer)], index * images.CHUNK)
        assert buffer == LARGE[index * images.CHUNK : (index + 1) * images.CHUNK]
    sink.discard()
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
