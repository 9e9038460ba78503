"""Pictures for tests, made on the spot: valid ones of every kind, and ones that mean harm."""

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image, ImageCms, PngImagePlugin


def picture(
    kind: str = "PNG", size: tuple[int, int] = (90, 60), seed: int = 0, frames: int = 1, **options: Any
) -> bytes:
    """Return the bytes of a picture of noise that no other seed gives."""
    chance = random.Random(seed)
    images = [Image.frombytes("RGB", size, chance.randbytes(3 * size[0] * size[1])) for _ in range(frames)]
    out = io.BytesIO()
    if frames > 1:
        options |= {"save_all": True, "append_images": images[1:], "duration": 40}
    images[0].save(out, kind, **options)
    return out.getvalue()


def png(width: int, height: int, *extra: bytes, bits: int = 8) -> bytes:
    """Return a PNG, black and packed small, with further chunks; its data end early if it is enormous."""
    row = b"\0" * min(1 + (width * bits + 7) // 8, 100_000)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for _ in range(height if height <= 10_000 else 1)) + packer.flush()
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def gif_of(frames: int) -> bytes:
    """Return a GIF of many frames of one pixel."""
    frame = b"\x21\xf9\x04\0\1\0\0\0\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\x01\0"
    return b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b"\x3b"


SECRET = "Ada Lovelace"
PLACE = {"latitude": 52.5163, "longitude": -13.3777, "altitude": 34.0, "name": "Berlin"}


def telling(kind: str, orientation: int = 1, frames: int = 1, size: tuple[int, int] = (60, 40), seed: int = 0) -> bytes:
    """Return a picture that says where, when, by whom and with what it was taken, in every way of its kind."""
    exif = telling_exif(orientation)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if kind == "JPEG":
        options: dict[str, Any] = {"comment": SECRET, "progressive": seed % 2 == 1, "dpi": (72, 72), "quality": 90}
        made = picture(kind, size, seed, exif=exif, xmp=telling_xmp(), icc_profile=profile, **options)
        behind = b"\xff\xd8" + SECRET.encode()
        return made[:2] + _photoshop() + made[2:] + behind
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Author", SECRET)
        text.add_text("Comment", SECRET, zip=True)
        text.add_itxt("XML:com.adobe.xmp", telling_xmp().decode())
        made = picture(kind, size, seed, frames, exif=exif, pnginfo=text, icc_profile=profile, dpi=(72, 72))
        return made + SECRET.encode()
    if kind == "WEBP":
        made = picture(kind, size, seed, frames, exif=exif, xmp=telling_xmp(), icc_profile=profile, lossless=True)
        made += b"odd " + struct.pack("<I", len(SECRET)) + SECRET.encode()
        return b"RIFF" + struct.pack("<I", len(made) - 8) + made[8:] + SECRET.encode()
    made = picture(kind, size, seed, frames, comment=SECRET.encode(), **({"loop": 0} if frames > 1 else {}))
    xmp = b"\x21\xff\x0bXMP DataXMP" + telling_xmp() + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    table = 13 + (3 << (made[10] & 7) + 1 if made[10] & 0x80 else 0)
    return made[:table] + xmp + made[table:] + SECRET.encode()


def telling_exif(orientation: int = 1) -> bytes:
    """Return an Exif with place, device, time, people and a thumbnail."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F], exif[0x0110], exif[0x0131] = "Acme", "Box 3", "1.2"
    exif[0x0132], exif[0x013B] = "2024:05:02 00:00:00", SECRET
    exif.get_ifd(0x8769).update({0x9003: "2024:05:01 10:11:12", 0xA431: "SN-77", 0x927C: b"maker notes"})
    exif.get_ifd(0x8825).update(
        {1: "N", 2: (52.0, 30.0, 58.68), 3: "W", 4: (13.0, 22.0, 39.72), 5: b"\0", 6: 34.0, 7: (10.0, 11.0, 12.0)}
    )
    data = exif.tobytes()
    if not data.startswith(b"Exif\0\0"):
        data = b"Exif\0\0" + data
    return data


def telling_xmp() -> bytes:
    """Return a packet of XMP that names a place and people."""
    return f"""<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description
        photoshop:City="Berlin" xmp:CreatorTool="Studio &amp; Co"><dc:creator><rdf:Seq><rdf:li>{SECRET}</rdf:li>
        </rdf:Seq></dc:creator><Iptc4xmpExt:PersonInImage><rdf:Bag><rdf:li>{SECRET}</rdf:li></rdf:Bag>
        </Iptc4xmpExt:PersonInImage><xmpMM:History><rdf:Seq><rdf:li stEvt:when="2024"/></rdf:Seq></xmpMM:History>
        </rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>""".encode()


def _photoshop() -> bytes:
    """Return a segment of a JPEG with IPTC records in it."""
    records = b"".join(
        b"\x1c\2" + bytes((number,)) + struct.pack(">H", len(text)) + text
        for number, text in ((25, b"sea"), (120, SECRET.encode()), (90, b"Berlin"))
    )
    records += b"\0" * (len(records) % 2)
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records
    payload = b"Photoshop 3.0\0" + resource + b"8BIM\x04\x0c\0\0" + struct.pack(">I", 2) + b"tn"
    return b"\xff\xed" + struct.pack(">H", len(payload) + 2) + payload
