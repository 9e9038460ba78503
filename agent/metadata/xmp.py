"""XMP: the facts in a packet. Its XML is read as tags and texts, never by a parser that could be led astray."""

import re
from html import unescape
from typing import Final

from agent.metadata.found import Found

MAX_PACKET: Final = 262_144  # bytes that are read

_TOKEN: Final = re.compile(r"<(/?)([\w:.-]++)([^<>]*+)>|([^<>]++)")
_ATTRIBUTE: Final = re.compile(r"""(?<![\w:.-])([\w:.-]++)\s*+=\s*(?:"([^"]*)"|'([^']*)')""")
_DEGREES: Final = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d+)?)(?:,(\d{1,2}(?:\.\d+)?))?([NSEW])")
# What a property is about, by its name without the namespace.
_MEANING: Final = {
    "GPSLatitude": "place latitude",
    "GPSLongitude": "place longitude",
    "City": "place name",
    "State": "place name",
    "ProvinceState": "place name",
    "Country": "place name",
    "CountryName": "place name",
    "Location": "place name",
    "Sublocation": "place name",
    "Make": "device make",
    "Model": "device model",
    "Lens": "device lens",
    "LensModel": "device lens",
    "SerialNumber": "device serial",
    "BodySerialNumber": "device serial",
    "LensSerialNumber": "device lens_serial",
    "OwnerName": "device owner",
    "CameraOwnerName": "device owner",
    "CreatorTool": "device software",
    "Software": "device software",
    "DateTimeOriginal": "time taken",
    "DateCreated": "time taken",
    "CreateDate": "time taken",
    "ModifyDate": "time changed",
    "MetadataDate": "time changed",
    "description": "other caption",
    "Headline": "other caption",
    "title": "other title",
    "subject": "other keywords",
    "Keywords": "other keywords",
    "PersonInImage": "other people",
    "PersonDisplayName": "other people",
    "mwg-rs:Name": "other people",
    "creator": "other author",
    "rights": "other copyright",
    "UserComment": "other comment",
    "DocumentID": "other identifier",
    "InstanceID": "other identifier",
    "OriginalDocumentID": "other identifier",
    "History": "other history",
    "image": "other thumbnail",
}
_WITHOUT_TEXT: Final = ("other history", "other thumbnail", "other identifier")


def read(packet: bytes, found: Found) -> None:
    """Note what a packet says."""
    text = packet[:MAX_PACKET].decode("utf-8", "replace")
    about, inside = "", ""
    for close, tag, attributes, words in _TOKEN.findall(text):
        if words:
            if about:
                _note(about, words, found)
        elif close:
            if tag == inside:
                about = inside = ""
        else:
            for name, double, single in _ATTRIBUTE.findall(attributes):
                _note(_meaning(name), double or single, found)
            if (meant := _meaning(tag)) and not attributes.endswith("/"):
                about, inside = meant, tag
                if meant in _WITHOUT_TEXT:
                    found.note_other(meant.partition(" ")[2])


def _meaning(name: str) -> str:
    return _MEANING.get(name) or _MEANING.get(name.rpartition(":")[2], "")


def _note(about: str, text: str, found: Found) -> None:
    value = unescape(text).strip()
    if not about or not value:
        return
    group, _, name = about.partition(" ")
    if group == "other":
        found.note_other(name, "" if about in _WITHOUT_TEXT else value)
    elif about == "place name":
        found.name_place(value)
    elif group == "place":
        if degrees := _DEGREES.match(value):
            whole, minutes, seconds, side = degrees.groups()
            size = int(whole) + float(minutes) / 60 + float(seconds or 0) / 3600
            found.note(group, name, round(-size if side in "SW" else size, 6))
    else:
        found.note(group, name, value)
