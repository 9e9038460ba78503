"""A picture on its way: bytes 0 … 32 n of a transfer are the SHA-256 digests of its n chunks, then comes the file.

The sender sends the byte ranges it was asked for; the receiver asks, verifies each 64 KiB chunk against the list,
the list against the offer, and in the end the whole file against the offer. What is on disk is behind `Source` and
`Sink`: the core has no files of its own.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from agent.protocol.acks import Ranges
from agent.protocol.errors import PeerError

CHUNK: Final = 64 * 1024  # bytes
DIGEST: Final = 32  # bytes
MAX_IMAGE: Final = 100 * 1024 * 1024  # bytes
MAX_SIDE: Final = 32_768  # pixels
MAX_REFUSED: Final = 16  # corrupt chunks of one transfer before it fails
FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF")


class Source(Protocol):
    """A file that is being sent."""

    def read_into(self, views: Sequence[memoryview], offset: int) -> None:
        """Fill the views with the file's bytes from `offset` on; OSError where that is not possible."""


class Sink(Protocol):
    """A file that is being received."""

    def write_from(self, views: Sequence[memoryview], offset: int) -> None:
        """Write the views one after the other from `offset` on; OSError where that is not possible."""

    def read_into(self, views: Sequence[memoryview], offset: int) -> None:
        """Fill the views with what was written at `offset`."""

    def mark_verified(self, index: int) -> None:
        """Remember that chunk `index` is on disk and right."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture as it is announced: all that the other side may rely on before a byte of it came.

    `stripped`: whether metadata was removed from it, as its owner says. `caption` and `alt` are their words.
    """

    size: int
    format: str
    width: int
    height: int
    sha256: bytes
    digests_sha256: bytes
    preview: bytes
    stripped: bool = False
    caption: str = ""
    alt: str = ""

    @property
    def chunks(self) -> int:
        """Count the chunks."""
        return -(-self.size // CHUNK)

    def check(self) -> None:
        """Raise PeerError unless the numbers are possible; nothing was allocated for them yet."""
        if not 0 < self.size <= MAX_IMAGE:
            raise PeerError("image", "it announced a picture of an impossible size")
        if not (0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE):
            raise PeerError("image", "it announced a picture of impossible dimensions")


class SendTransfer:
    """The owner's side: which bytes are wanted, sent and acknowledged."""

    def __init__(self, source: Source, size: int, digests: bytes) -> None:
        self.total = len(digests) + size
        self.arrived_bytes = 0
        self._source = source
        self._digests = digests
        self._wanted = Ranges()
        self._asked = Ranges()  # all that was ever wanted
        self._arrived = Ranges()
        self._repeated = False

    def want(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Send these ranges, for the first time or once more; raises PeerError beyond the end."""
        if ranges and ranges[-1][1] > self.total:
            raise PeerError("fetch", "it asked for bytes beyond the picture's end")
        for start, stop in ranges:
            self._arrived.remove(start, stop)
            self._wanted.add(start, stop)
            self._asked.add(start, stop)
        self.arrived_bytes = self._arrived.total()

    def waiting(self) -> bool:
        """Tell whether there is something to send."""
        return len(self._wanted) > 0

    def repeat(self, most: int) -> bool:
        """Send the last `most` bytes that are on their way a second time; once only, and False ever after."""
        if self._repeated:
            return False
        self._repeated = True
        for start, stop in self._arrived:
            self._asked.remove(start, stop)
        for start, stop in reversed(list(self._asked)):
            begin = max(start, stop - most)
            self._wanted.add(begin, stop)
            most -= stop - begin
            if most <= 0:
                break
        return self.waiting()

    def take(self, most: int) -> tuple[int, int]:
        """Take at most `most` bytes off what is wanted, as (offset, length); only call while `waiting()`."""
        start, stop = self._wanted.first()
        border = len(self._digests)
        stop = min(stop, start + most, border if start < border else stop)
        self._wanted.remove(start, stop)
        return start, stop - start

    def fill(self, views: Sequence[memoryview], offset: int) -> None:
        """Copy the transfer's bytes from `offset` on into the views, which do not cross the list's end."""
        border = len(self._digests)
        if offset >= border:
            self._source.read_into(views, offset - border)
            return
        for view in views:
            view[:] = self._digests[offset : offset + len(view)]
            offset += len(view)

    def arrived(self, start: int, stop: int) -> None:
        """Note that bytes arrived."""
        self.arrived_bytes += sum(b - a for a, b in self._arrived.add(start, stop))
        if self._wanted:
            self._wanted.remove(start, stop)

    def lost(self, start: int, stop: int) -> None:
        """Send bytes again, unless they arrived meanwhile."""
        if not self._arrived.covers(start, stop):
            self._wanted.add(start, stop)


class ReceiveTransfer:
    """The asker's side: what came, what of it is verified, and what to ask for."""

    def __init__(self, image: Image, sink: Sink, have: Sequence[int] = ()) -> None:
        """Begin, or go on with the chunks of indices `have`, verified before."""
        self.image = image
        self.border = image.chunks * DIGEST
        self.total = self.border + image.size
        self.verified = Ranges()  # of chunks
        self.failure: str | None = None
        self.refused = 0  # chunks that were not what the list says
        self._sink = sink
        self._digests = bytearray(self.border)
        self._list_verified = False
        self._received = Ranges()
        self._missing_of = [self._chunk_size(i) for i in range(image.chunks)]
        self._untested: list[int] = []  # chunks complete before the list was
        self._again = Ranges()
        self._hash = hashlib.sha256()
        self._hashed = 0  # chunks
        self._buffer = bytearray(CHUNK)
        for index in have:
            self.verified.add(index, index + 1)
            self._received.add(self.border + index * CHUNK, self.border + index * CHUNK + self._chunk_size(index))
            self._missing_of[index] = 0

    @property
    def complete(self) -> bool:
        """Tell whether every chunk and the whole file are right."""
        return self._hashed == self.image.chunks and self.failure is None

    def verified_bytes(self) -> int:
        """Return how many bytes of the file are verified."""
        count = self.verified.total()
        last = self.image.chunks - 1
        short = CHUNK - self._chunk_size(last) if self.verified.covers(last, last + 1) else 0
        return count * CHUNK - short

    def missing(self) -> list[tuple[int, int]]:
        """Return the byte ranges that were never received."""
        left = Ranges((0, self.total))
        for start, stop in self._received:
            left.remove(start, stop)
        return list(left)

    def take_again(self) -> list[tuple[int, int]]:
        """Return the ranges of chunks that were refused since the last call: to be fetched anew."""
        again, self._again = list(self._again), Ranges()
        return again

    def receive(self, offset: int, views: Sequence[memoryview]) -> None:
        """Take bytes of the transfer, in any order and number of times; raises PeerError beyond its end."""
        length = sum(map(len, views))
        if offset + length > self.total:
            raise PeerError("transfer", "it sent bytes beyond the picture's end")
        if self.failure is not None:
            return
        new = self._received.add(offset, offset + length)
        if not new:
            return
        if offset >= self.border and new == [(offset, offset + length)]:
            self._sink.write_from(views, offset - self.border)
        else:
            self._store(new, b"".join(views), offset)
        for start, stop in new:
            if stop > self.border:
                self._count(max(start, self.border) - self.border, stop - self.border)
        if not self._list_verified and self._received.covers(0, self.border):
            self._verify_list()

    def _store(self, new: Sequence[tuple[int, int]], data: bytes, offset: int) -> None:
        """Keep the pieces that were not there before; what was there may be verified and is never overwritten."""
        for start, stop in new:
            if start < self.border:
                end = min(stop, self.border)
                self._digests[start:end] = data[start - offset : end - offset]
                start = end
            if start < stop:
                view = memoryview(data)[start - offset : stop - offset]
                self._sink.write_from([view], start - self.border)

    def _count(self, start: int, stop: int) -> None:
        for index in range(start // CHUNK, -(-stop // CHUNK)):
            low, high = max(start, index * CHUNK), min(stop, (index + 1) * CHUNK)
            self._missing_of[index] -= high - low
            if self._missing_of[index] == 0:
                if self._list_verified:
                    self._verify(index)
                else:
                    self._untested.append(index)

    def _verify_list(self) -> None:
        if hashlib.sha256(self._digests).digest() != self.image.digests_sha256:
            self.failure = "the list of chunk digests is not the one that was announced"
            return
        self._list_verified = True
        for index in self._untested:
            self._verify(index)
        self._untested.clear()
        self._advance(None, -1)

    def _verify(self, index: int) -> None:
        if self.failure is not None:
            return
        view = self._read(index)
        if hashlib.sha256(view).digest() == self._digests[index * DIGEST : (index + 1) * DIGEST]:
            self._sink.mark_verified(index)
            self.verified.add(index, index + 1)
            self._advance(view, index)
            return
        self.refused += 1
        size = self._chunk_size(index)
        start = self.border + index * CHUNK
        self._received.remove(start, start + size)
        self._missing_of[index] = size
        self._again.add(start, start + size)
        if self.refused > MAX_REFUSED:
            self.failure = "too many chunks were not what the list of digests says"

    def _advance(self, view: memoryview | None, index: int) -> None:
        """Feed the whole file's hash as far as chunks are verified in order."""
        while self._hashed < self.image.chunks and self.verified.covers(self._hashed, self._hashed + 1):
            if view is None or index != self._hashed:  # there is one buffer: what was in `view` is gone then
                view, index = self._read(self._hashed), self._hashed
            self._hash.update(view)
            self._hashed += 1
        if self._hashed == self.image.chunks and self._hash.digest() != self.image.sha256:
            self.failure = "the whole picture is not the one that was announced"

    def _read(self, index: int) -> memoryview:
        view = memoryview(self._buffer)[: self._chunk_size(index)]
        self._sink.read_into([view], index * CHUNK)
        return view

    def _chunk_size(self, index: int) -> int:
        return min(CHUNK, self.image.size - index * CHUNK)
