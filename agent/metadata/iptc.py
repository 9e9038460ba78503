"""IPTC: the facts in Photoshop's image resources and in the IIM records among them (IPTC-IIM 4.2)."""

from collections.abc import Iterator
from typing import Final

from agent.metadata.found import Found

MAX_RECORDS: Final = 500

_IIM: Final = 0x0404
_THUMBNAILS: Final = (0x0409, 0x040C)
_OTHER: Final = {
    5: "title",
    25: "keywords",
    80: "author",
    85: "author",
    105: "title",
    110: "author",
    115: "author",
    116: "copyright",
    120: "caption",
    122: "author",
}
_PLACES: Final = (26, 27, 90, 92, 95, 101)


def read_resources(data: bytes, found: Found) -> None:
    """Note what the resources of an APP13 segment (without its heading) say."""
    at = 0
    while data[at : at + 4] == b"8BIM" and at + 12 <= len(data):
        number = int.from_bytes(data[at + 4 : at + 6], "big")
        at += 6 + (data[at + 6] + 2) // 2 * 2  # a name of even length, its own length included
        size = int.from_bytes(data[at : at + 4], "big")
        value = data[at + 4 : at + 4 + size]
        at += 4 + (size + 1) // 2 * 2
        if number == _IIM:
            read_records(value, found)
        elif number in _THUMBNAILS:
            found.note_other("thumbnail")
        else:
            found.note_other("program_data")


def read_records(data: bytes, found: Found) -> None:
    """Note what IIM records say."""
    for number, value in _records(data):
        if number in _OTHER:
            found.note_other(_OTHER[number], value)
        elif number in _PLACES:
            found.name_place(value)
        elif number == 55:
            found.note("time", "taken", value)
        elif number == 65:
            found.note("device", "software", value)


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and value of the records about the picture itself."""
    at = 0
    for _ in range(MAX_RECORDS):
        if data[at : at + 1] != b"\x1c" or at + 5 > len(data):
            return
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if size & 0x8000:  # longer ones hold nothing that is shown
            return
        if data[at + 1] == 2:
            yield data[at + 2], data[at + 5 : at + 5 + size]
        at += 5 + size
