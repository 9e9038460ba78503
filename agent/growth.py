"""A picture that can be looked at while it arrives: what was announced of it, and how far it is verified in order.

Owns the waiting for more. Nothing is given away before a child process has read type and dimensions off the verified
beginning and they are what was announced; and never a byte of a chunk that is not verified. Used by `parts`, which has
the files.
"""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent import images
from agent.images import CHUNK, ImageFacts
from agent.protocol.errors import UsageError

MOST_HEAD: Final = 2 * 1024 * 1024  # bytes in which a picture must have said what it is
PATIENCE: Final = 60.0  # seconds without news: whoever looks may be gone, and only writing would tell


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a peer says of the picture that is to come. `digests_sha256`: of the list of chunk digests."""

    size: int
    sha256: str
    digests_sha256: str
    format: str
    width: int
    height: int

    def check(self) -> None:
        """Refuse what could not be a picture, before anything is taken for it."""
        if self.format not in images.MIME or self.width < 1 or self.height < 1:
            raise UsageError("unsupported_image", "What was announced is not a picture that can be taken.")
        if not 0 < self.size <= images.MAX_BYTES:
            raise images.too_many_bytes()
        if self.width * self.height > images.MAX_PIXELS:
            raise images.too_many_pixels()

    @property
    def chunks(self) -> int:
        """Count the 64 KiB chunks, a shorter last one included."""
        return -(-self.size // CHUNK)

    def describes(self, facts: ImageFacts) -> bool:
        """Tell whether the file is what was announced."""
        return (self.size, self.sha256, self.format, self.width, self.height) == (
            facts.size,
            facts.sha256,
            facts.format,
            facts.width,
            facts.height,
        ) and self.digests_sha256 == hashlib.sha256(facts.digests).hexdigest()


class Growth:
    """How many chunks from the first on are verified; any number of threads may wait for the next."""

    def __init__(self, announced: Announcement) -> None:
        self._announced = announced
        self._chunks = 0
        self._whole: bool | None = None  # not known yet
        self._news = threading.Condition()

    def reach(self, bits: bytearray) -> None:
        """Take the bitmap of verified chunks as it is now."""
        chunks = self._chunks
        while chunks < self._announced.chunks and bits[chunks // 8] & 0x80 >> chunks % 8:
            chunks += 1
        if chunks > self._chunks:
            with self._news:
                self._chunks = chunks
                self._news.notify_all()

    def end(self, *, whole: bool) -> None:
        """Say that nothing more comes: the picture is kept, or it will never be whole."""
        with self._news:
            if self._whole is None:
                self._whole = whole
            self._news.notify_all()

    def follow(self, fd: int) -> Iterator[bytes]:
        """Yield the picture from its beginning, once it is known to be what was announced.

        Waits for more, ends when the picture is kept, and raises `UsageError` if it will never be, or has not grown for
        a while. Closes `fd`.
        """
        try:
            self._check(fd)
            at = 0
            while at < self._announced.size:
                stop = self._wait_beyond(at)
                while at < stop:
                    yield os.pread(fd, min(CHUNK, stop - at), at)
                    at = min(at + CHUNK, stop)
                    time.sleep(0)  # others' turn
            self._wait_for_end()
        finally:
            os.close(fd)

    def _check(self, fd: int) -> None:
        """Wait for a beginning that says what the picture is; refuse one that was not announced."""
        length = 0
        while length < min(MOST_HEAD, self._announced.size):
            length = self._wait_beyond(length and 2 * length - 1)
            kind, size = images.look_at_beginning(fd, length)
            announced = self._announced.width, self._announced.height
            # How a WebP is to be turned stands at its end.
            if kind == self._announced.format and (size == announced or (kind == "WEBP" and size == announced[::-1])):
                return
            if size is not None:
                break
        raise UsageError("unsupported_image", "The picture that is arriving is not what was announced.")

    def _wait_beyond(self, at: int) -> int:
        """Return how many bytes are verified in order: more than `at`, or all."""
        at = min(at, self._announced.size - 1)
        with self._news:
            if not self._news.wait_for(lambda: self._verified() > at or self._whole is not None, PATIENCE):
                raise UsageError("unreachable", "The picture does not arrive for now.")
            if self._verified() <= at or self._whole is False:
                raise UsageError("unreachable", "The picture has not arrived.")
            return self._verified()

    def _wait_for_end(self) -> None:
        with self._news:
            self._news.wait_for(lambda: self._whole is not None, PATIENCE)
            if not self._whole:
                raise UsageError("unreachable", "The picture has not arrived.")

    def _verified(self) -> int:
        return min(self._chunks * CHUNK, self._announced.size)
