"""The child process that opens one picture: run by `images` as a script, never imported by the agent.

The picture is standard input, already open, so no path reaches this process; a copy without
metadata goes to another open file, if one is given. Lines of JSON go to standard output: the hashes
of the picture, what its structure says with the hashes of the copy (both before any decoder has
seen a byte), and then the facts or `{"refused": REASON}`. Whatever goes wrong here, the worst it can
do is end: memory, processor time and wall time are limited, and once Pillow is loaded nothing more
can be opened or written (no file, no socket). Standard library, `metadata` and Pillow only.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import mmap
import os
import resource
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from PIL.Image import Image

    from agent.metadata import Survey

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


def limit_self(memory: int, seconds: int, written: int) -> None:
    """Let the kernel end this process when it takes too much, even if the agent is gone by then."""
    signal.setitimer(signal.ITIMER_REAL, 2 * seconds)  # nobody handles SIGALRM: it ends the process
    limits = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: written,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: memory,
    }
    for kind, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # macOS does not take RLIMIT_AS
            resource.setrlimit(kind, (value, value))


def survey_file(beginning: int | None) -> tuple[Survey, mmap.mmap]:
    """Look at the structure of the picture, or of its first bytes."""
    from agent import metadata

    length = os.fstat(0).st_size if beginning is None else beginning
    if length == 0:
        raise Refused("unknown")
    data = mmap.mmap(0, length, access=mmap.ACCESS_READ)
    try:
        return metadata.survey(data), data
    except metadata.UnknownKind:
        raise Refused("unknown") from None


def write_copy(survey: Survey, data: mmap.mmap, fd: int) -> bool:
    """Write the copy without metadata; False where it would be the picture itself."""
    if survey.parts is None:
        return False
    try:
        with open(fd, "wb", closefd=False) as file, memoryview(data) as view:
            for part in survey.parts:
                file.write(view[slice(*part)] if isinstance(part, tuple) else part)
    except OSError:
        raise Refused("disk") from None
    return True


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


def decode(stream: BinaryIO, formats: list[str], pixels: int, frames: int, turn: int) -> dict[str, object]:
    """Decode every pixel of every frame; return what the picture is, and a tiny preview.

    Width and height are as the picture is shown: the camera's orientation `turn` is applied. `frames`
    is a limit of its own and, times `pixels` over 64, one for the pixels of all frames together.
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
    preview = preview_of(image, turn)
    for number in range(1, count):
        image.seek(number)
        image.load()
    width, height = image.size if turn < 5 else image.size[::-1]
    name = "JPEG" if image.format == "MPO" else image.format
    return {"format": name, "width": width, "height": height, "frames": count, "preview": preview}


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
        decode(sample, formats, pixels=1024, frames=2, turn=1)
    preview_of(PIL.Image.new("I;16", (2, 2)), 1)


def main() -> None:
    """Check the picture on standard input under the limits of the one argument (JSON)."""
    wanted = json.loads(sys.argv[1])
    limit_self(wanted["memory"], wanted["seconds"], wanted["written"])
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    answer: dict[str, object]
    try:
        if "beginning" in wanted:
            survey, _ = survey_file(wanted["beginning"])
            answer = {"format": survey.format, "size": survey.size}
        else:
            answer = examine(wanted)
    except Refused as refusal:
        answer = {"refused": str(refusal)}
    except MemoryError:
        answer = {"refused": "memory"}
    except Exception:
        # Whatever a decoder raises on bytes that are not a whole picture means just that.
        answer = {"refused": "broken"}
    print(json.dumps(answer), flush=True)


def examine(wanted: dict[str, Any]) -> dict[str, object]:
    """Hash the picture, make the copy that is wanted, and decode what will leave; say the first two at once."""
    print(json.dumps(hash_file(0, wanted["chunk"])), flush=True)
    survey, data = survey_file(None)
    source = 0
    if "copy" in wanted and write_copy(survey, data, wanted["copy"]):
        source = wanted["copy"]
    data.close()
    copied = hash_file(source, wanted["chunk"]) if source else None
    print(json.dumps({"reveals": survey.reveals, "copy": copied}), flush=True)

    import PIL.Image

    rehearse(wanted["formats"])
    for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (0, 0))
    warnings.simplefilter("error")
    # Odd metadata is common in honest photographs, and is not what is being judged here.
    odd = r"PIL\.(TiffImagePlugin|JpegImagePlugin|MpoImagePlugin)"
    warnings.filterwarnings("ignore", module=odd)
    try:
        with open(source, "rb", closefd=False) as stream:
            stream.seek(0)
            return decode(stream, wanted["formats"], wanted["pixels"], wanted["frames"], survey.orientation)
    except PIL.UnidentifiedImageError:
        raise Refused("unknown") from None
    except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError):
        raise Refused("pixels") from None


if __name__ == "__main__":
    main()
