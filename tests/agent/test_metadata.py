"""What a picture's file says is told in plain facts, and the copy that leaves has the same pixels and none of it."""

import io
import json
import random
import struct
from typing import Any

import pytest
from PIL import Image

from agent import metadata
from agent.metadata import exif, xmp
from agent.metadata.found import MAX_OTHER, MAX_TEXT, Found, Pieces
from tests.support.pictures import PLACE, SECRET, picture, png, png_chunk, telling, telling_exif

KINDS = ["JPEG", "PNG", "WEBP", "GIF"]
MOVING = ["PNG", "WEBP", "GIF"]
TURNED = ["JPEG", "PNG", "WEBP"]
ORIENTATION = 0x0112


def copy_of(data: bytes) -> bytes:
    """Put together the copy that leaves."""
    parts = metadata.survey(data).parts
    if parts is None:
        return data
    return b"".join(data[slice(*part)] if isinstance(part, tuple) else part for part in parts)


def reveals(data: bytes) -> dict[str, Any]:
    return dict(metadata.survey(data).reveals)


def others(data: bytes) -> dict[str, str]:
    return {fact["kind"]: fact.get("text", "") for fact in reveals(data).get("other", [])}


def decoded(data: bytes) -> list[tuple[Any, ...]]:
    """Decode every frame: what is shown, how long, and by which colours."""
    with Image.open(io.BytesIO(data)) as image:
        frames = []
        for number in range(1 if image.format == "MPO" else getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            told = [image.info.get(name) for name in ("duration", "loop", "icc_profile", "dpi", "transparency")]
            frames.append((image.mode, image.size, image.convert("RGBA").tobytes(), *told))
        return frames


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_copy_has_every_pixel_and_nothing_else(kind: str, seed: int) -> None:
    data = telling(kind, seed=seed)
    assert SECRET.encode() in data
    copy = copy_of(data)
    assert decoded(copy) == decoded(data)
    for word in (SECRET, "Acme", "SN-77", "2024", "Berlin"):
        assert word.encode() not in copy
    assert len(copy) < len(data)


@pytest.mark.parametrize("kind", MOVING)
def test_an_animation_goes_on_moving(kind: str) -> None:
    data = telling(kind, frames=4)
    copy = copy_of(data)
    assert len(decoded(copy)) == 4
    assert decoded(copy) == decoded(data)
    assert SECRET.encode() not in copy


@pytest.mark.parametrize("kind", TURNED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stays_the_right_way_up(kind: str, orientation: int) -> None:
    data = telling(kind, orientation)
    copy = copy_of(data)
    assert decoded(copy) == decoded(data)
    survey = metadata.survey(copy)
    assert survey.orientation == orientation
    assert survey.size == ((60, 40) if orientation < 5 else (40, 60))
    with Image.open(io.BytesIO(copy)) as image:
        assert dict(image.getexif()) == ({} if orientation == 1 else {ORIENTATION: orientation})


@pytest.mark.parametrize("kind", KINDS)
def test_the_copy_of_a_copy_is_that_copy_and_says_nothing(kind: str) -> None:
    copy = copy_of(telling(kind, 6 if kind in TURNED else 1))
    survey = metadata.survey(copy)
    assert survey.parts is None
    assert survey.reveals == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_says_nothing_leaves_as_it_is(kind: str) -> None:
    survey = metadata.survey(picture(kind))
    assert (survey.format, survey.size, survey.reveals, survey.parts) == (kind, (90, 60), {}, None)


@pytest.mark.parametrize("kind", TURNED)
def test_place_device_and_time_are_told_in_plain_facts(kind: str) -> None:
    facts = reveals(telling(kind))
    assert facts["place"] == PLACE
    first = "Studio & Co" if kind == "PNG" else "1.2"  # the packet stands in front of the Exif there
    assert facts["device"] == {"make": "Acme", "model": "Box 3", "software": first, "serial": "SN-77"}
    assert facts["time"] == {"taken": "2024:05:01 10:11:12", "changed": "2024:05:02 00:00:00"}


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            "JPEG",
            {"author", "caption", "comment", "keywords", "people", "history", "maker_notes", "thumbnail", "behind"},
        ),
        ("PNG", {"author", "comment", "people", "history", "maker_notes", "behind"}),
        ("WEBP", {"author", "people", "history", "maker_notes", "program_data", "behind"}),
        ("GIF", {"author", "comment", "people", "history", "behind"}),
    ],
)
def test_everything_else_is_told_by_its_kind(kind: str, told: set[str]) -> None:
    facts = others(telling(kind))
    assert set(facts) == told
    assert facts["people"] == SECRET
    assert all(facts[name] == "" for name in ("history", "maker_notes", "thumbnail", "behind") if name in facts)


def test_an_embedded_thumbnail_is_told_and_does_not_leave() -> None:
    thumbnail = picture("JPEG", (16, 16), seed=9)
    directory = struct.pack(">2sHIHI", b"MM", 42, 8, 0, 14) + struct.pack(
        ">HHHIIHHIII", 2, 0x201, 4, 1, 44, 0x202, 4, 1, 9, 0
    )
    data = picture("JPEG", exif=b"Exif\0\0" + directory + thumbnail)
    assert others(data) == {"thumbnail": ""}
    assert thumbnail not in copy_of(data)
    assert decoded(copy_of(data))[0][:3] == decoded(data)[0][:3]


def test_the_thumbnail_of_a_jfif_heading_goes_and_its_resolution_stays() -> None:
    plain = picture("JPEG", dpi=(300, 300))
    assert plain[6:11] == b"JFIF\0"
    rgb = b"\1\2\3" * 4
    data = plain[:4] + struct.pack(">H", 16 + len(rgb)) + plain[6:18] + b"\2\2" + rgb + plain[20:]
    assert others(data) == {"thumbnail": ""}
    assert copy_of(data) == plain


def test_what_is_not_known_to_be_needed_does_not_leave() -> None:
    jpeg, hidden = picture("JPEG"), SECRET.encode()
    for marker in (*range(0xE0, 0xF0), *range(0xF0, 0xFF)):
        segment = bytes((0xFF, marker)) + struct.pack(">H", 2 + len(hidden)) + hidden
        assert copy_of(jpeg[:2] + segment + jpeg[2:]) == jpeg, hex(marker)
    assert copy_of(png(9, 9, png_chunk(b"prVt", hidden), png_chunk(b"tIME", bytes(7)))) == png(9, 9)


def test_a_picture_with_a_second_one_behind_it_leaves_alone() -> None:
    data = picture("MPO", (50, 40), frames=2)
    copy = copy_of(data)
    with Image.open(io.BytesIO(copy)) as image:
        assert image.format == "JPEG"
    assert decoded(copy)[0][:3] == decoded(data)[0][:3]
    assert "behind" in others(data)


def test_the_words_of_a_screenshot_are_told() -> None:
    text = (b"parameters\0a cat, by " + SECRET.encode(), b"Software\0Paint 1", b"Creation Time\x002024")
    data = png(9, 9, *(png_chunk(b"tEXt", words) for words in text))
    assert reveals(data)["device"] == {"software": "Paint 1"}
    assert reveals(data)["time"] == {"taken": "2024"}
    assert others(data) == {"text": f"parameters: a cat, by {SECRET}"}


def test_an_orientation_that_only_others_write_down_is_not_heeded() -> None:
    packet = b'<rdf:Description tiff:Orientation="6"/>'
    survey = metadata.survey(picture("JPEG", xmp=packet))
    assert (survey.orientation, survey.size) == (1, (90, 60))


@pytest.mark.parametrize("data", [b"", b"<svg/>", b"BM", b"RIFF\0\0\0\0WAVE"])
def test_what_is_none_of_the_four_kinds_is_said(data: bytes) -> None:
    with pytest.raises(metadata.UnknownKind):
        metadata.survey(data)


@pytest.mark.parametrize("kind", KINDS)
def test_the_beginning_of_a_file_says_what_it_will_be(kind: str) -> None:
    data = picture(kind, (300, 200))
    for length in (len(data) // 2, 700):
        survey = metadata.survey(data[:length])
        assert (survey.format, survey.size) == (kind, (300, 200))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_off_anywhere_costs_nothing_but_itself(kind: str) -> None:
    data = telling(kind, frames=1 if kind == "JPEG" else 2, size=(8, 8))
    for length in range(12, len(data)):
        try:
            survey = metadata.survey(data[:length])
        except metadata.Malformed:
            continue
        assert SECRET.encode() not in b"".join(part for part in survey.parts or [] if isinstance(part, bytes))


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_facts_or_malformed_and_the_facts_are_small(kind: str) -> None:
    chance = random.Random(5)
    data = telling(kind, size=(8, 8))
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, chance.randrange(256)))
        try:
            survey = metadata.survey(bytes(damaged))
        except metadata.Malformed:
            continue
        assert len(json.dumps(survey.reveals)) < 8192


def test_an_exif_that_runs_in_circles_is_read_once() -> None:
    circle = struct.pack(">2sHI", b"MM", 42, 8) + struct.pack(">HHHII", 1, 0x8769, 4, 1, 8) + struct.pack(">I", 8)
    found = Found()
    exif.read(circle, found)
    assert found.as_json() == {}
    exif.read(struct.pack(">2sHIH", b"MM", 42, 8, 0xFFFF) + bytes(70_000), found)
    assert found.as_json() == {}


def test_the_smallest_exif_is_one_that_others_read() -> None:
    for orientation in range(1, 9):
        read = Image.Exif()
        read.load(b"Exif\0\0" + exif.minimal(orientation))
        assert dict(read) == {ORIENTATION: orientation}


def test_facts_are_cut_counted_and_printable() -> None:
    found = Found()
    found.note_other("comment", "\x1b[31m\u202e" + "x" * 5000)
    assert found.other["comment"] == "[31m" + "x" * (MAX_TEXT - 5) + "…"
    for number in range(99):
        found.note_other(f"kind {number}", "x")
        found.note_other("comment", f"more {number}")
        found.name_place("y" * 90 + str(number))
    assert len(found.other) == MAX_OTHER
    assert len(str(found.place["name"])) <= MAX_TEXT


@pytest.mark.parametrize(
    "packet",
    [b"<" * 300_000, b"<a" * 150_000, b"<a " + b"b" * 300_000, b"<a>" * 90_000, b"<a b=" * 60_000, b"<a b='" * 50_000],
)
def test_a_packet_that_means_harm_takes_no_time(packet: bytes) -> None:
    found = Found()
    xmp.read(packet, found)  # in quadratic time it would outlast the suite's patience
    assert found.as_json() == {}


def test_a_heap_of_pieces_is_malformed() -> None:
    jpeg = picture("JPEG")
    heap = (b"\xff\xdd\0\4\0\0" + b"\xff\xfe\0\2") * 60_000
    assert metadata.survey(jpeg[:2] + heap + jpeg[2:]).parts is not None
    with pytest.raises(metadata.Malformed, match="pieces"):
        metadata.survey(jpeg[:2] + heap * 2 + jpeg[2:])


def test_equal_bytes_are_always_a_range() -> None:
    pieces = Pieces(b"abcdef")
    pieces.put(b"ab", 0)
    pieces.keep(2, 4)
    pieces.put(b"xx", 4)
    assert pieces.parts == [(0, 4), b"xx"]
    assert pieces.size == 6


def test_longitude_in_a_packet_counts_from_greenwich() -> None:
    found = Found()
    xmp.read(b'<x exif:GPSLatitude="35,41.5N" exif:GPSLongitude="51,25,30E"/>', found)
    assert found.place == {"latitude": 35.691667, "longitude": 51.425}
    assert telling_exif().startswith(b"Exif\0\0")
