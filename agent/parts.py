"""Pictures as files of chunks: reading one that is sent, and putting together one that arrives.

Owns the open file, the bitmap of verified chunks beside it, and that neither ever claims more than
is there. Knows no peer and no protocol: who asks has checked the digests. Made by `library`, used by
the transfer's pump.

Layout of `incoming/<request>.bitmap`: SHA-256 of the announcement (32 bytes), then one bit for each
64 KiB chunk, the first chunk in the highest bit of the first byte. A bit is written after its
data, so after a kill -9 a set bit means that the data is there. After a power cut it may not be
(neither file is synchronised before the end): `finish` hashes everything again and refuses what
does not match, so the worst that follows is a transfer that starts anew.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from agent import images
from agent.database import disk_error
from agent.growth import Announcement, Growth
from agent.images import ImageFacts, Looked
from agent.protocol.errors import UsageError

_HEADER: Final = 32
_AT_ONCE: Final = min(os.sysconf("SC_IOV_MAX"), 1024)
_RESERVE: Final = 32 * 1024 * 1024  # left free for everything else that this disk is for


class ImageSource:
    """A picture of the library, open for reading until `close`; removing it meanwhile does not hurt."""

    def __init__(self, path: Path, facts: ImageFacts) -> None:
        self.facts = facts
        self.size, self.sha256, self.format = facts.size, facts.sha256, facts.format
        self.width, self.height = facts.width, facts.height
        self.preview, self.digests = facts.preview, facts.digests
        self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def read_into(self, views: Sequence[memoryview], offset: int) -> None:
        """Fill all `views` with the bytes from `offset` on; OSError if the file ends before."""
        _transfer_all(os.preadv, self._fd, views, offset)

    def close(self) -> None:
        """Close the file; closing twice does no harm."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class ImageSink:
    """A picture that is arriving. Ends with `finish` or `discard`; `close` keeps it for another day."""

    def __init__(
        self, folder: Path, request: str, announced: Announcement, keep: Callable[[Path, ImageFacts], None]
    ) -> None:
        self.announced = announced
        self._part = folder / f"{request}.part"
        self._map = folder / f"{request}.bitmap"
        self._keep = keep
        self._bits = bytearray(-(-announced.chunks // 8))
        self._fds = self._resume() or self._create()
        self._growth = Growth(announced)
        self._growth.reach(self._bits)

    def verified(self) -> bytes:
        """Return the bitmap of verified chunks, the first chunk in the highest bit."""
        return bytes(self._bits)

    def write_from(self, views: Sequence[memoryview], offset: int) -> None:
        """Write all `views` from `offset` on; `UsageError` `limit` when the disk is full."""
        end = offset + sum(len(view) for view in views)
        if offset < 0 or end > self.announced.size:
            raise ValueError(f"bytes {offset} to {end} are outside of {self.announced.size}")
        try:
            _transfer_all(os.pwritev, self._fds[0], views, offset)
        except OSError as error:
            raise disk_error(error, "the picture") from error

    def read_into(self, views: Sequence[memoryview], offset: int) -> None:
        """Fill all `views` with the bytes from `offset` on; what has not arrived reads as zeros."""
        _transfer_all(os.preadv, self._fds[0], views, offset)

    def mark_verified(self, index: int) -> None:
        """Remember that chunk `index`, already written, has the right digest."""
        if not 0 <= index < self.announced.chunks:
            raise ValueError(f"chunk {index} of {self.announced.chunks}")
        at, bit = divmod(index, 8)
        self._bits[at] |= 0x80 >> bit
        try:
            os.pwrite(self._fds[1], self._bits[at : at + 1], _HEADER + at)
        except OSError as error:
            raise disk_error(error, "the picture") from error
        self._growth.reach(self._bits)

    def follow(self) -> Iterator[bytes]:
        """Yield the picture from its beginning as verified chunks arrive in order; see `Growth.follow`."""
        if not self._fds:
            raise UsageError("unreachable", "The picture does not arrive any more.")
        return self._growth.follow(os.dup(self._fds[0]))

    def finish(self) -> Looked:
        """Check the whole file in the child process and keep it as finished; wait for the disk.

        Whatever it then is not (other bytes, another type, other dimensions, no picture) is refused
        with a `UsageError` and removed. Other green threads go on meanwhile.
        """
        self._close_files()
        try:
            looked = images.look_at(self._part)
            facts = looked.facts
            if facts.sha256 != self.announced.sha256:
                raise UsageError("unsupported_image", "What arrived is not what was sent: it was removed.")
            if not self.announced.describes(facts):
                raise UsageError("unsupported_image", "The picture is not what was announced: it was removed.")
            self._keep(self._part, facts)
        except UsageError:
            self.discard()
            raise
        except OSError as error:
            self.discard()
            raise disk_error(error, "the picture") from error
        with contextlib.suppress(OSError):
            self._map.unlink(missing_ok=True)
        self._growth.end(whole=True)
        return looked

    def discard(self) -> None:
        """Remove everything that has arrived."""
        self.close()
        for path in (self._map, self._part):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files, and keep what has arrived for `Library.begin_receiving` to go on with."""
        self._growth.end(whole=False)
        self._close_files()

    def _close_files(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds = ()

    def _resume(self) -> tuple[int, ...]:
        """Go on with the files of the same announcement; () where there are none."""
        fds: list[int] = []
        try:
            for path in (self._part, self._map):
                fds.append(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC))
            written = os.pread(fds[1], _HEADER + len(self._bits) + 1, 0)
            whole = os.fstat(fds[0]).st_size == self.announced.size
            same = written[:_HEADER] == self._header() and len(written) == _HEADER + len(self._bits)
        except OSError:  # missing, or something else stands there: it is replaced
            whole = same = False
        if whole and same:
            self._bits[:] = written[_HEADER:]
            return tuple(fds)
        for fd in fds:
            os.close(fd)
        return ()

    def _create(self) -> tuple[int, ...]:
        """Make new files, sparse and of the final size; never through a link that waits there."""
        fds: list[int] = []
        try:
            room = os.statvfs(self._part.parent)
            free = room.f_bavail * room.f_frsize
            if free < self.announced.size + _RESERVE:
                raise _no_room(self.announced.size, free)
            for path in (self._part, self._map):
                path.unlink(missing_ok=True)
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                fds.append(os.open(path, flags, 0o600))
            os.ftruncate(fds[0], self.announced.size)
            os.pwrite(fds[1], self._header() + self._bits, 0)
        except OSError as error:
            for fd in fds:
                os.close(fd)
            for path in (self._part, self._map):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise disk_error(error, "the picture") from error
        return tuple(fds)

    def _header(self) -> bytes:
        return hashlib.sha256(json.dumps(asdict(self.announced), sort_keys=True).encode()).digest()


def _no_room(size: int, free: int) -> UsageError:
    mega = 1_000_000
    sentence = f"There is not enough room on the disk: the picture has {size / mega:.1f} MB, "
    return UsageError("limit", sentence + f"and {max(0, free - _RESERVE) / mega:.1f} MB are left.")


def _transfer_all(
    move: Callable[[int, Sequence[memoryview], int], int], fd: int, views: Sequence[memoryview], offset: int
) -> None:
    """Read or write the whole of all views, whatever the kernel takes at once."""
    left = [view for view in views if len(view)]
    while left:
        moved = move(fd, left[:_AT_ONCE], offset)
        if moved <= 0:
            raise OSError("the file ended too early")
        offset += moved
        done = 0
        while done < len(left) and moved >= len(left[done]):
            moved -= len(left[done])
            done += 1
        left = left[done:]
        if moved:
            left[0] = left[0][moved:]
