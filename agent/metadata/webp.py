"""WebP: its RIFF chunks (RFC 9649), which of them leave, and what the others say."""

import struct
from collections.abc import Iterator
from typing import Final

from agent.metadata import exif, xmp
from agent.metadata.found import Data, Found, Pieces

_FRAME: Final = (b"ALPH", b"VP8 ", b"VP8L")
_PICTURE: Final = (*_FRAME, b"ICCP", b"ANIM")
_HAS_EXIF, _HAS_XMP = 0x08, 0x04


def read(data: Data, out: Pieces, found: Found) -> None:
    """Take what the picture is decoded from; note the rest. What is cut off stays so."""
    stop = min(8 + int.from_bytes(data[4:8], "little"), len(data))
    chunks = list(_chunks(data, 12, stop))
    extended = next((at for kind, at, _ in chunks[:1] if kind == b"VP8X" and at + 18 <= len(data)), None)
    for kind, at, end in chunks:
        if kind == b"EXIF":
            _note_exif(data[at + 8 : end], found)
        elif kind == b"XMP ":
            xmp.read(data[at + 8 : end], found)
    if extended is None:
        found.orientation = 1
    body, turned = Pieces(data), False
    for kind, at, end in chunks:
        if kind in _PICTURE:
            _note_size(kind, data[at + 8 : at + 18], found)
            body.keep(at, end)
        elif at == extended:
            found.size = _u24(data, at + 12) + 1, _u24(data, at + 15) + 1
            flags = data[at + 8] & ~(_HAS_EXIF | _HAS_XMP) | (_HAS_EXIF if found.orientation != 1 else 0)
            body.put(struct.pack("<4sIB", b"VP8X", 10, flags) + data[at + 9 : at + 18], at)
        elif kind == b"ANMF":
            _animated(data, at, end, body, found)
        elif kind == b"EXIF" and found.orientation != 1 and not turned:
            turned = True
            smallest = exif.minimal(found.orientation)
            body.put(struct.pack("<4sI", kind, len(smallest)) + smallest, at)
        elif kind not in (b"EXIF", b"XMP "):
            found.note_other("program_data")
    if stop < len(data):
        found.note_other("behind")
    out.put(struct.pack("<4sI4s", b"RIFF", body.size + 4, b"WEBP"), 0)
    out.extend(body)


def _chunks(data: Data, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end (padding included) of each chunk."""
    while at + 8 <= stop:
        kind, size = struct.unpack("<4sI", data[at : at + 8])
        end = min(at + 8 + size + size % 2, stop)
        yield kind, at, end
        at = end


def _note_exif(payload: bytes, found: Found) -> None:
    for name, packet in exif.read(payload, found):
        if name == "xmp":
            xmp.read(packet, found)


def _note_size(kind: bytes, head: bytes, found: Found) -> None:
    """Read the size of a picture that has no VP8X chunk."""
    if found.size is not None:
        return
    if kind == b"VP8 " and len(head) == 10:
        width, height = struct.unpack_from("<HH", head, 6)
        found.size = width & 0x3FFF, height & 0x3FFF
    elif kind == b"VP8L" and len(head) >= 5:
        bits = int.from_bytes(head[1:5], "little")
        found.size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _animated(data: Data, at: int, end: int, body: Pieces, found: Found) -> None:
    """Take a frame of an animation, without what does not belong to it."""
    frame = Pieces(data)
    for kind, start, stop in _chunks(data, at + 24, end):
        if kind in _FRAME:
            frame.keep(start, stop)
        else:
            found.note_other("program_data")
    body.put(struct.pack("<4sI", b"ANMF", 16 + frame.size), at)
    body.keep(at + 8, at + 24)
    body.extend(frame)


def _u24(data: Data, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")
