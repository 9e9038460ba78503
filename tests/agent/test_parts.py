"""A picture arrives in chunks: each marked once it is there, the whole kept once it is what was announced."""

import io
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import images
from agent.library import Library
from agent.protocol.errors import UsageError
from tests.support.disk import CHUNKS, LARGE, REQUEST, announced, disk_that_takes, files, receiving, refused, write

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library(tmp_path / "library")
    yield opened
    opened.close()


def test_chunks_in_any_order_make_the_picture(library: Library, tmp_path: Path) -> None:
    assert CHUNKS > 2
    sink = receiving(library, LARGE)
    for index in reversed(range(CHUNKS)):
        write(sink, index)
    facts = sink.finish().facts
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
    assert sink.finish().facts.size == len(LARGE)
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
    sha256 = sink.finish().facts.sha256
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
    sha256 = sink.finish().facts.sha256
    item = library.add_image(io.BytesIO(LARGE))
    library.remove_item(item["item"])
    assert library.items() == []
    assert library.media(sha256) is not None


def test_after_a_kill_every_chunk_that_is_marked_is_there(tmp_path: Path) -> None:
    script = f"""
        from pathlib import Path
        from agent.library import Library
        from tests.support import disk as t
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
