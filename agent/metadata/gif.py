"""GIF: its blocks (GIF89a), which of them leave, and what the others say."""

from typing import Final

from agent.metadata import xmp
from agent.metadata.found import Data, Found, Pieces

_IMAGE, _EXTENSION, _TRAILER, _PADDING = 0x2C, 0x21, 0x3B, 0x00
_CONTROL, _COMMENT, _APPLICATION = 0xF9, 0xFE, 0xFF
_LOOPS: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


def read(data: Data, out: Pieces, found: Found) -> None:
    """Take what the pictures are decoded from; note the rest. What is cut off stays so."""
    found.size = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    at = 13 + (_table(data[10]) if len(data) > 10 else 0)
    out.keep(0, at)
    while at < len(data):
        kind = data[at]
        if kind == _IMAGE:
            begin = at
            at += 10
            if at <= len(data):
                at += _table(data[at - 1]) + 1  # and the size of the codes
            at = _end_of_blocks(data, at)
            out.keep(begin, at)
        elif kind == _EXTENSION:
            stop = _end_of_blocks(data, at + 2)
            _extension(data, at, stop, out, found)
            at = stop
        elif kind == _PADDING:
            at += 1
        else:
            break  # the trailer, or what every decoder takes for it
    if data[at : at + 1] == bytes((_TRAILER,)):
        out.keep(at, at + 1)
        at += 1
    if at < len(data) and data[at : at + 65_536].strip(b"\0"):
        found.note_other("behind")


def _table(packed: int) -> int:
    """Return how many bytes a colour table takes."""
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0


def _end_of_blocks(data: Data, at: int) -> int:
    """Return where a list of sub-blocks ends, or the file."""
    end = len(data)
    while at < end:
        size = data[at]
        at += size + 1
        if size == 0:
            break
    return min(at, end)


def _extension(data: Data, at: int, stop: int, out: Pieces, found: Found) -> None:
    kind = data[at + 1] if at + 1 < stop else 0
    if kind == _CONTROL:
        out.keep(at, stop)
    elif kind == _COMMENT:
        found.note_other("comment", _joined(data, at + 2, min(stop, at + 2048)))
    elif kind != _APPLICATION:
        found.note_other("program_data")
    else:
        name = data[at + 3 : at + 14]
        if name in _LOOPS and data[at + 14 : at + 16] == b"\3\1":
            out.put(data[at : at + 18] + b"\0", at)
        elif name == b"ICCRGBG1012":
            out.keep(at, stop)
        elif name == b"XMP DataXMP":
            xmp.read(data[at + 14 : stop], found)
        else:
            found.note_other("program_data")


def _joined(data: Data, at: int, stop: int) -> bytes:
    """Return the text of sub-blocks."""
    parts = []
    while at < stop and (size := data[at]):
        parts.append(data[at + 1 : min(at + 1 + size, stop)])
        at += 1 + size
    return b"".join(parts)
