"""A picture that arrives is shown as far as it is verified in order, and not before it is known what it is."""

import http.client
import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import growth, images
from agent.images import CHUNK
from agent.library import Library
from agent.parts import ImageSink
from agent.protocol.errors import UsageError
from tests.support.disk import CHUNKS, LARGE, announced, receiving, write
from tests.support.page_server import RunningAgent, ask, growing
from tests.support.pictures import picture, telling

PATIENCE = 30.0
ENDED = b"ended"


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library(tmp_path / "library")
    yield opened
    opened.close()


class Onlooker:
    """Somebody who looks at a picture while it arrives, in a thread of their own."""

    def __init__(self, sink: ImageSink) -> None:
        self.seen = b""
        self.refusal: UsageError | None = None
        self._blocks: queue.Queue[bytes] = queue.Queue()
        self._thread = threading.Thread(target=self._look, args=(sink.follow(),), daemon=True)
        self._thread.start()

    def _look(self, blocks: Iterator[bytes]) -> None:
        try:
            for block in blocks:
                self._blocks.put(block)
        except UsageError as error:
            self.refusal = error
        self._blocks.put(ENDED)

    def until(self, size: int) -> bytes:
        """Wait until so many bytes were seen; return them."""
        while len(self.seen) < size:
            block = self._blocks.get(timeout=PATIENCE)
            assert block != ENDED, self.refusal
            self.seen += block
        return self.seen

    def until_ended(self) -> bytes:
        """Wait for the end; return all that was seen."""
        while (block := self._blocks.get(timeout=PATIENCE)) != ENDED:
            self.seen += block
        self._thread.join(PATIENCE)
        return self.seen

    def sees_no_more(self) -> bool:
        """Tell whether nothing waits to be seen."""
        return self._blocks.empty()


def test_it_grows_by_what_is_verified_in_order_and_ends_when_it_is_kept(library: Library) -> None:
    assert CHUNKS == 3
    sink = receiving(library, LARGE)
    write(sink, 1)
    onlooker = Onlooker(sink)
    assert onlooker.sees_no_more()
    write(sink, 0)
    assert onlooker.until(2 * CHUNK) == LARGE[: 2 * CHUNK]
    write(sink, 2)
    assert onlooker.until(len(LARGE)) == LARGE
    sink.finish()
    assert onlooker.until_ended() == LARGE
    assert onlooker.refusal is None


def test_whoever_comes_later_sees_it_from_the_beginning(library: Library) -> None:
    sink = receiving(library, LARGE)
    write(sink, 0)
    early = Onlooker(sink)
    early.until(CHUNK)
    write(sink, 1)
    late = Onlooker(sink)
    assert late.until(2 * CHUNK) == early.until(2 * CHUNK) == LARGE[: 2 * CHUNK]
    sink.discard()


@pytest.mark.parametrize("end", ["discard", "close"])
def test_who_looks_at_a_picture_that_will_not_be_whole_is_told(library: Library, end: str) -> None:
    sink = receiving(library, LARGE)
    write(sink, 0)
    seen, waiting = Onlooker(sink), Onlooker(sink)
    seen.until(CHUNK)
    getattr(sink, end)()
    for onlooker in (seen, waiting):
        onlooker.until_ended()
        assert onlooker.refusal is not None
        assert onlooker.refusal.code == "unreachable"
    with pytest.raises(UsageError):
        sink.follow()


def test_a_picture_that_is_refused_at_its_end_is_not_shown_as_whole(library: Library) -> None:
    sink = receiving(library, LARGE, sha256="0" * 64)
    for index in range(CHUNKS):
        write(sink, index)
    onlooker = Onlooker(sink)
    onlooker.until(len(LARGE))
    with pytest.raises(UsageError):
        sink.finish()
    onlooker.until_ended()
    assert onlooker.refusal is not None


@pytest.mark.parametrize(
    "changed", [{"format": "JPEG"}, {"width": 301}, {"width": 200, "height": 300}, {"format": "WEBP"}]
)
def test_what_is_not_as_announced_is_never_shown(library: Library, changed: dict[str, Any]) -> None:
    sink = receiving(library, LARGE, **changed)
    onlooker = Onlooker(sink)
    write(sink, 0)
    assert onlooker.until_ended() == b""
    assert onlooker.refusal is not None
    assert onlooker.refusal.code == "unsupported_image"
    sink.discard()


@pytest.mark.parametrize("data", [b"<html>" * 20_000, b"\xff\xd8\xff\xe0\xff\xff" + bytes(200_000)])
def test_what_is_no_picture_is_never_shown(library: Library, data: bytes) -> None:
    sink = receiving(library, data)
    for index in range(-(-len(data) // CHUNK)):
        write(sink, index, data)
    onlooker = Onlooker(sink)
    assert onlooker.until_ended() == b""
    sink.discard()


def test_a_picture_whose_head_is_long_is_shown_once_it_has_said_what_it_is(library: Library) -> None:
    jpeg = picture("JPEG", (300, 200))
    comments = b"".join(b"\xff\xfe\xff\xff" + bytes(65_533) for _ in range(5))
    data = jpeg[:2] + comments + jpeg[2:]
    sink = receiving(library, data, format="JPEG")
    onlooker = Onlooker(sink)
    for index in range(4):
        write(sink, index, data)
    assert onlooker.sees_no_more()
    for index in range(4, -(-len(data) // CHUNK)):
        write(sink, index, data)
    sink.finish()
    assert onlooker.until_ended() == data


def test_a_webp_may_say_at_its_end_how_it_is_turned(library: Library) -> None:
    data = telling("WEBP", 6, size=(200, 150))
    sink = receiving(library, data, format="WEBP", width=150, height=200)
    onlooker = Onlooker(sink)
    for index in range(-(-len(data) // CHUNK)):
        write(sink, index, data)
    assert sink.finish().reveals["place"]["name"] == "Berlin"
    assert onlooker.until_ended() == data


def test_what_was_verified_before_a_restart_is_shown_at_once(library: Library) -> None:
    sink = receiving(library, LARGE)
    write(sink, 0)
    sink.close()
    sink = receiving(library, LARGE)
    assert Onlooker(sink).until(CHUNK) == LARGE[:CHUNK]
    sink.discard()


def test_a_picture_that_does_not_grow_lets_go_of_who_looks(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "PATIENCE", 0.05)
    sink = receiving(library, LARGE)
    write(sink, 0)
    onlooker = Onlooker(sink)
    assert onlooker.until_ended() == LARGE[:CHUNK]
    assert onlooker.refusal is not None
    sink.discard()


def test_only_the_beginning_that_is_verified_is_looked_at(tmp_path: Path) -> None:
    jpeg = picture("JPEG", (300, 200))
    path = tmp_path / "arriving"
    path.write_bytes(jpeg[:300] + b"\xff\xc0\0\x0b\x08\0\1\0\1\1\1\x11\0" * 99)
    with path.open("rb") as file:
        assert images.look_at_beginning(file.fileno(), 20) == ("JPEG", None)
        assert images.look_at_beginning(file.fileno(), 300) == ("JPEG", (300, 200))
        with pytest.raises(UsageError):
            images.look_at_beginning(file.fileno(), 2)


# Over HTTP


@pytest.fixture
def arriving(page: RunningAgent) -> tuple[RunningAgent, Any]:
    """An agent of whose pictures tests say what arrives."""
    (page.data / "picture").write_bytes(LARGE)
    (page.data / "announced").write_text(json.dumps(announced(LARGE)))

    def move(request: str, *moves: object) -> None:
        for word in moves:
            (page.data / f"{request}-{word}").touch()

    return page, move


def test_a_browser_gets_each_chunk_as_it_is_verified_and_the_true_end(arriving: tuple[RunningAgent, Any]) -> None:
    page, move = arriving
    request = "d1" * 16
    move(request, 0)
    with growing(page, request) as answer:
        assert (answer.status, answer.getheader("Content-Type")) == (200, "image/png")
        assert answer.getheader("Cache-Control") == "no-store"
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.read(CHUNK) == LARGE[:CHUNK]
        move(request, 2)
        move(request, 1)
        assert answer.read(len(LARGE) - CHUNK) == LARGE[CHUNK:]
        move(request, "keep")
        assert answer.read() == b""


@pytest.mark.parametrize("end", ["discard", "close"])
def test_a_browser_sees_a_broken_connection_when_the_picture_breaks_off(
    arriving: tuple[RunningAgent, Any], end: str
) -> None:
    page, move = arriving
    request = {"discard": "d2", "close": "d3"}[end] * 16
    move(request, 0)
    with growing(page, request) as answer:
        assert answer.read(CHUNK) == LARGE[:CHUNK]
        move(request, end)
        with pytest.raises(http.client.HTTPException):
            answer.read()


def test_a_browser_is_told_when_the_picture_is_not_what_was_announced(arriving: tuple[RunningAgent, Any]) -> None:
    page, move = arriving
    request = "d4" * 16
    (page.data / "announced").write_text(json.dumps(announced(LARGE) | {"width": 299}))
    move(request, 0)
    answer = ask(page, f"/media/partial/{request}", Authorization=page.bearer)
    assert answer.status == 415
    assert answer.error["code"] == "unsupported_image"
