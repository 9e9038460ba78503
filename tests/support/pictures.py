"""Pictures for tests, made on the spot: valid ones of every kind, and ones that mean harm."""

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image


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
