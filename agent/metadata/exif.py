"""Exif: the facts in it, and the smallest one there is, which says how a picture is to be turned.

Reads TIFF's directories (Exif 2.32, CIPA DC-008) within bounds; whatever in them cannot be read is passed over.
"""

import struct
from collections.abc import Iterator
from typing import Final

from agent.metadata.found import Found

MAX_ENTRIES: Final = 400  # of one directory
MAX_VALUE: Final = 1024  # bytes that are read of one value

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_ORIENTATION: Final = 0x0112
_EXIF, _GPS = 0x8769, 0x8825
_DEVICE: Final = {
    0x010F: "make",
    0x0110: "model",
    0x0131: "software",
    0x013C: "software",
    0xA430: "owner",
    0xA431: "serial",
    0xC62F: "serial",
    0xA434: "lens",
    0xA435: "lens_serial",
}
_TIME: Final = {0x9003: "taken", 0x9004: "taken", 0x0132: "changed"}
_OTHER: Final = {
    0x010E: "caption",
    0x013B: "author",
    0x8298: "copyright",
    0x9286: "comment",
    0xA420: "identifier",
}
_WINDOWS: Final = {0x9C9B: "title", 0x9C9C: "comment", 0x9C9D: "author", 0x9C9E: "keywords", 0x9C9F: "caption"}
_MAKER: Final = 0x927C
_PACKETS: Final = {0x02BC: "xmp", 0x83BB: "iptc", 0x8649: "photoshop"}


def minimal(orientation: int) -> bytes:
    """Return an Exif that says how the picture is to be turned, and nothing else."""
    return struct.pack(">2sHI H HHI HH I", b"MM", 42, 8, 1, _ORIENTATION, 3, 1, orientation, 0, 0)


def read(data: bytes, found: Found) -> list[tuple[str, bytes]]:
    """Note what an Exif says; return the packets of other standards inside it, by name."""
    tiff = _Tiff(data.removeprefix(b"Exif\0\0"))
    packets, below = [], {}
    for tag, value in tiff.directory(tiff.first):
        if tag == _ORIENTATION and tiff.number(value) in range(1, 9):
            found.orientation = tiff.number(value)
        elif tag in (_EXIF, _GPS):
            below[tag] = tiff.number(value)
        elif tag in _PACKETS:
            packets.append((_PACKETS[tag], value))
        else:
            _note(tag, value, found)
    for tag, value in tiff.directory(below.get(_EXIF, 0)):
        _note(tag, value, found)
    _note_place(tiff, dict(tiff.directory(below.get(_GPS, 0))), found)
    if any(tag == 0x0201 or tag == 0x0111 for tag, _ in tiff.directory(tiff.second)):
        found.note_other("thumbnail")
    return packets


class _Tiff:
    """A TIFF structure; what lies outside of it reads as nothing."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
        self.first = self.second = 0
        if self._order and len(data) >= 8:
            (self.first,) = struct.unpack_from(self._order + "I", data, 4)
            count = self.number(data[self.first : self.first + 2])
            self.second = self.number(data[self.first + 2 + 12 * count :][:4])

    def number(self, value: bytes) -> int:
        """Read a SHORT or LONG; 0 where there is none."""
        size = 4 if len(value) >= 4 else 2
        if not self._order or len(value) < size:
            return 0
        return int(struct.unpack_from(self._order + ("I" if size == 4 else "H"), value)[0])

    def fractions(self, value: bytes) -> list[float]:
        """Read RATIONALs."""
        pairs = struct.iter_unpack(self._order + "II", value[: len(value) // 8 * 8])
        return [above / below if below else 0.0 for above, below in pairs]

    def directory(self, at: int) -> Iterator[tuple[int, bytes]]:
        """Yield tag and value (at most `MAX_VALUE` bytes of it) of each entry."""
        if not self._order or not 8 <= at <= len(self._data) - 2:
            return
        count = min(self.number(self._data[at : at + 2]), MAX_ENTRIES)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            if entry + 12 > len(self._data):
                return
            tag, kind, number = struct.unpack_from(self._order + "HHI", self._data, entry)
            size = _SIZES.get(kind, 0) * number
            where = entry + 8 if size <= 4 else self.number(self._data[entry + 8 : entry + 12])
            limit = 65_536 if tag in _PACKETS else MAX_VALUE
            yield tag, self._data[where : where + min(size, limit)]


def _note(tag: int, value: bytes, found: Found) -> None:
    if tag in _DEVICE:
        found.note("device", _DEVICE[tag], value)
    elif tag in _TIME:
        found.note("time", _TIME[tag], value)
    elif tag in _WINDOWS:
        found.note_other(_WINDOWS[tag], value.decode("utf-16-le", "replace").rstrip("\0"))
    elif tag in _OTHER:
        text = value[8:] if tag == 0x9286 else value  # its first 8 bytes name the character code
        if text.strip(b"\0 "):
            found.note_other(_OTHER[tag], text)
    elif tag == _MAKER and value:
        found.note_other("maker_notes")


def _note_place(tiff: _Tiff, entries: dict[int, bytes], found: Found) -> None:
    for name, reference, tag, negative in (("latitude", 1, 2, b"S"), ("longitude", 3, 4, b"W")):
        degrees = sum(part / 60**power for power, part in enumerate(tiff.fractions(entries.get(tag, b""))[:3]))
        if tag in entries and degrees <= 180:
            sign = -1 if entries.get(reference, b"")[:1].upper() == negative else 1
            found.note("place", name, round(sign * degrees, 6))
    if heights := tiff.fractions(entries.get(6, b"")):
        found.note("place", "altitude", round(-heights[0] if entries.get(5, b"")[:1] == b"\1" else heights[0], 1))
    for tag in (0x1B, 0x1C):  # how the place was found, and what it is called
        if entries.get(tag, b"")[8:].strip(b"\0 "):
            found.name_place(entries[tag][8:])
    if 0x1D in entries:
        found.note("time", "taken", entries[0x1D])
