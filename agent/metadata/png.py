"""PNG: its chunks (W3C PNG, third edition), which of them leave, and what the others say."""

import struct
import zlib
from typing import Final

from agent.metadata import exif, xmp
from agent.metadata.errors import Malformed
from agent.metadata.found import Data, Found, Pieces

_PICTURE: Final = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs sPLT acTL fcTL fdAT".split()
)
_MOST_TEXT: Final = 262_144  # bytes, unpacked
_WORDS: Final = {
    b"Software": "device software",
    b"Creation Time": "time taken",
    b"Author": "other author",
    b"Title": "other title",
    b"Description": "other caption",
    b"Copyright": "other copyright",
    b"Comment": "other comment",
    b"Source": "device model",
}


def read(data: Data, out: Pieces, found: Found) -> None:
    """Take what the picture is decoded from; note the rest. What is cut off stays so."""
    out.keep(0, 8)
    at, pixels = 8, False
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        stop = at + 12 + size
        if kind in _PICTURE:
            if kind == b"IHDR" and size >= 8:
                width, height = struct.unpack(">II", data[at + 8 : at + 16].ljust(8, b"\0"))
                found.size = width, height
            pixels = pixels or kind == b"IDAT"
            out.keep(at, stop)
        elif kind[:1].isupper():
            raise Malformed("a critical chunk of no known kind")
        elif kind == b"eXIf":
            for name, packet in exif.read(data[at + 8 : stop - 4], found):
                if name == "xmp":
                    xmp.read(packet, found)
            if pixels:
                found.orientation = 1  # it comes too late to be heeded
            elif found.orientation != 1:
                out.put(_chunk(kind, exif.minimal(found.orientation)), at)
        else:
            _note(kind, data[at + 8 : min(stop - 4, at + 8 + _MOST_TEXT)], found)
        at = stop
        if kind == b"IEND":
            break
    if at < len(data):
        found.note_other("behind")


def _note(kind: bytes, payload: bytes, found: Found) -> None:
    if kind in (b"tEXt", b"zTXt", b"iTXt"):
        keyword, _, text = payload.partition(b"\0")
        _note_text(keyword, _unpacked(kind, text), found)
    elif kind == b"tIME" and len(payload) >= 7:
        year, *rest = struct.unpack(">HBBBBB", payload[:7])
        found.note("time", "changed", "{:04}-{:02}-{:02} {:02}:{:02}:{:02}".format(year, *rest))
    else:
        found.note_other("program_data")


def _unpacked(kind: bytes, text: bytes) -> bytes:
    """Return the words of a text chunk: iTXt has flag, method, language and translated keyword in front."""
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed = text[:1] == b"\1"
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif packed:
        text = text[1:]
    if not packed:
        return text if kind == b"iTXt" else text.decode("latin-1").encode()
    try:
        return zlib.decompressobj().decompress(text, _MOST_TEXT)
    except zlib.error:
        return b""


def _note_text(keyword: bytes, text: bytes, found: Found) -> None:
    if keyword == b"XML:com.adobe.xmp":
        xmp.read(text, found)
    elif keyword in _WORDS:
        group, _, name = _WORDS[keyword].partition(" ")
        if group == "other":
            found.note_other(name, text)
        else:
            found.note(group, name, text)
    else:
        found.note_other("text", keyword + b": " + text)


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
