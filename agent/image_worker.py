"""The child process that opens one picture: run by `images` as a script, never imported by the agent.

The picture is standard input, already open, so no path reaches this process. Two lines of JSON go
to standard output: the hashes, written before any decoder has seen a byte, and then the facts or
`{"refused": REASON}`. Whatever goes wrong here, the worst it can do is end: memory, processor time
and wall time are limited, and once Pillow is loaded nothing more can be opened (no file, no
socket). Standard library and Pillow only.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import resource
import signal
import sys
import warnings
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL.Image import Image

PREVIEW_SIDE = 32
PREVIEW_BYTES = 1500
ORIENTATION = 0x0112
# How to turn a picture back, by its Exif orientation; with the last four its sides change places.
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


class Refused(Exception):
    """The picture is not taken; the reason is a word that `images` has a sentence for."""


def limit_self(memory: int, seconds: int) -> None:
    """Let the kernel end this process when it takes too much, even if the agent is gone by then."""
    signal.setitimer(signal.ITIMER_REAL, 2 * seconds)  # nobody handles SIGALRM: it ends the process
    limits = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: memory,
    }
    for kind, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # macOS does not take RLIMIT_AS
            resource.setrlimit(kind, (value, value))


def hash_file(fd: int, chunk: int) -> dict[str, object]:
    """Have the disk hold the file for good; hash the whole of it, and each chunk."""
    os.fsync(fd)
    whole, digests, size = hashlib.sha256(), bytearray(), 0
    while data := os.pread(fd, chunk, size):
        whole.update(data)
        digests += hashlib.sha256(data).digest()
        size += len(data)
    listed = base64.b64encode(digests).decode("ascii")
    return {"size": size, "sha256": whole.hexdigest(), "digests": listed}


def decode(stream: BinaryIO, formats: list[str], pixels: int, frames: int) -> dict[str, object]:
    """Decode every pixel of every frame; return what the picture is, and a tiny preview.

    Width and height are as the picture is shown: the camera's orientation is applied. `frames` is a
    limit of its own and, times `pixels` over 64, one for the pixels of all frames together.
    """
    import PIL.Image

    PIL.Image.MAX_IMAGE_PIXELS = pixels
    image = PIL.Image.open(stream, formats=formats)
    if image.format == "PNG":
        image.verify()  # its checksums, and that its end is there; it must then be opened anew
        stream.seek(0)
        image = PIL.Image.open(stream, formats=formats)
    if image.width * image.height > pixels:
        raise Refused("pixels")
    # What a phone adds behind a JPEG (MPO) is not shown by anybody: the JPEG in front is the picture.
    several = image.format != "MPO" and getattr(image, "is_animated", False)
    count = int(getattr(image, "n_frames", 1)) if several else 1
    if count > frames or count * image.width * image.height > max(pixels, pixels // 64 * frames):
        raise Refused("frames")
    image.load()
    turn = orientation(image)
    preview = preview_of(image, turn)
    for number in range(1, count):
        image.seek(number)
        image.load()
    width, height = image.size if turn < 5 else image.size[::-1]
    name = "JPEG" if image.format == "MPO" else image.format
    return {"format": name, "width": width, "height": height, "frames": count, "preview": preview}


def orientation(image: Image) -> int:
    """Read how the camera was held; metadata that cannot be read must not cost the picture."""
    try:
        turn = int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1
    return turn if turn in TURNS else 1


def preview_of(image: Image, turn: int) -> str:
    """Return a WebP of at most 32 pixels a side and 1500 bytes, in base64."""
    from PIL.Image import Resampling, Transpose

    scale = min(1.0, 256 / max(image.size))  # first by picking pixels: any mode, hardly any memory
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Resampling.NEAREST)
    if small.mode.startswith("I"):  # 16 bits of grey a pixel
        small = small.convert("F").point(lambda value: value * (1 / 256)).convert("L")
    see_through = small.has_transparency_data
    small = small.convert("RGBA" if see_through else "RGB")
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Resampling.BOX)
    if turn in TURNS:
        small = small.transpose(Transpose[TURNS[turn]])
    for quality in (60, 20, 0):
        out = io.BytesIO()
        small.save(out, "WEBP", quality=quality, alpha_quality=quality, exif=b"", icc_profile=b"")
        if out.tell() <= PREVIEW_BYTES:
            return base64.b64encode(out.getvalue()).decode("ascii")
    return ""


def rehearse(formats: list[str]) -> None:
    """Decode a tiny picture of each kind, so that whatever Pillow loads late is loaded now."""
    import PIL.Image
    from PIL import MpoImagePlugin

    exif = PIL.Image.Exif()
    exif[ORIENTATION] = 6
    PIL.Image.preinit()
    for name in (*formats, MpoImagePlugin.MpoImageFile.format):
        sample = io.BytesIO()
        first, second = (PIL.Image.new("RGB", (2, 2), colour) for colour in ("red", "blue"))
        if name == "JPEG":
            first.save(sample, name, exif=exif)
        else:
            first.save(sample, name, save_all=True, append_images=[second], exif=exif)
        decode(sample, formats, pixels=1024, frames=2)
    preview_of(PIL.Image.new("I;16", (2, 2)), 1)


def main() -> None:
    """Check the picture on standard input under the limits of the one argument (JSON)."""
    wanted = json.loads(sys.argv[1])
    limit_self(wanted["memory"], wanted["seconds"])
    print(json.dumps(hash_file(0, wanted["chunk"])), flush=True)
    answer: dict[str, object]
    try:
        import PIL.Image

        rehearse(wanted["formats"])
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        warnings.simplefilter("error")
        # Odd metadata is common in honest photographs, and is not what is being judged here.
        odd = r"PIL\.(TiffImagePlugin|JpegImagePlugin|MpoImagePlugin)"
        warnings.filterwarnings("ignore", module=odd)
        with open(0, "rb", closefd=False) as stream:
            answer = decode(stream, wanted["formats"], wanted["pixels"], wanted["frames"])
    except PIL.UnidentifiedImageError:
        answer = {"refused": "unknown"}
    except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError):
        answer = {"refused": "pixels"}
    except Refused as refusal:
        answer = {"refused": str(refusal)}
    except MemoryError:
        answer = {"refused": "memory"}
    except Exception:
        # Whatever a decoder raises on bytes that are not a whole picture means just that.
        answer = {"refused": "broken"}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
