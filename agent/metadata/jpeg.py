"""JPEG: its segments (ITU-T T.81 annex B), which of them leave, and what the others say."""

import re
from typing import Final

from agent.metadata import exif, iptc, xmp
from agent.metadata.found import Data, Found, Pieces

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_ALONE: Final = {0x01, *range(0xD0, 0xDA)}  # markers that no length follows
_FRAMES: Final = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PICTURE: Final = {*range(0xC0, 0xD0), *range(0xDA, 0xE0)}  # without these it could not be decoded
_MARKER: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # not a restart, not a stuffed byte
_EXIF: Final = b"Exif\0\0"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_MORE_XMP: Final = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP: Final = b"Photoshop 3.0\0"


def read(data: Data, out: Pieces, found: Found) -> None:
    """Take what the picture is decoded from; note the rest. What is cut off stays so."""
    out.keep(0, 2)
    at = 2
    has_exif = False
    while marker := _MARKER.search(data, at):
        at, kind = marker.start(), data[marker.start() + 1]
        if kind in _ALONE:
            out.keep(at, at + 2)
            at += 2
            if kind == _EOI:
                _note_behind(data, at, found)
                return
            continue
        stop = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        payload = data[at + 4 : stop]
        if kind in _PICTURE:
            if kind in _FRAMES and len(payload) >= 5:
                found.size = int.from_bytes(payload[3:5], "big"), int.from_bytes(payload[1:3], "big")
            if kind == _SOS:
                following = _MARKER.search(data, stop)
                stop = following.start() if following else len(data)
            out.keep(at, stop)
        elif kind == 0xE1 and payload.startswith(_EXIF) and not has_exif:
            has_exif = True
            _turn(at, payload, out, found)
        else:
            _application(at, kind, payload, out, found)
        at = stop


def _turn(at: int, payload: bytes, out: Pieces, found: Found) -> None:
    """Take of an Exif how the picture is to be turned."""
    for name, packet in exif.read(payload, found):
        {"xmp": xmp.read, "iptc": iptc.read_records, "photoshop": iptc.read_resources}[name](packet, found)
    if found.orientation != 1:
        out.put(_segment(0xE1, _EXIF + exif.minimal(found.orientation)), at)


def _application(at: int, kind: int, payload: bytes, out: Pieces, found: Found) -> None:
    """Take what a decoder wants to know: resolution, colours, profile; note the rest."""
    if kind == 0xE0 and payload.startswith(b"JFIF\0") and len(payload) >= 14:
        if payload[12] and payload[13]:
            found.note_other("thumbnail")
        out.put(_segment(kind, payload[:12] + b"\0\0"), at)
    elif kind == 0xE2 and payload.startswith(b"ICC_PROFILE\0"):
        out.put(_segment(kind, payload), at)
    elif kind == 0xEE and payload.startswith(b"Adobe") and len(payload) >= 12:
        out.put(_segment(kind, payload[:12]), at)
    elif kind == 0xE1 and payload.startswith(_XMP):
        xmp.read(payload[len(_XMP) :], found)
    elif kind == 0xE1 and payload.startswith(_MORE_XMP):
        xmp.read(payload[len(_MORE_XMP) + 40 :], found)
    elif kind == 0xED and payload.startswith(_PHOTOSHOP):
        iptc.read_resources(payload[len(_PHOTOSHOP) :], found)
    elif kind == 0xFE:
        found.note_other("comment", payload)
    elif kind == 0xE0 and payload.startswith(b"JFXX\0"):
        found.note_other("thumbnail")
    else:
        found.note_other("program_data")


def _segment(kind: int, payload: bytes) -> bytes:
    return bytes((0xFF, kind)) + (len(payload) + 2).to_bytes(2, "big") + payload


def _note_behind(data: Data, at: int, found: Found) -> None:
    """Say that there is something behind the picture: often a second one, or a film."""
    if data[at : at + 65_536].strip(b"\0\xff"):
        found.note_other("behind")
