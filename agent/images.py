"""What may be known of a picture file, found out by a child process with limits.

Owns the limits, the child (`image_worker`) and the sentences for what is refused. No picture is
ever opened in the agent's own process, and nothing but the content decides what a picture is. The
child also makes the copy that leaves, without metadata. Used by `library` and `parts`. Waiting for
the child lets other green threads go on, because `subprocess` is used in the ways that eventlet
makes cooperative.
"""

import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent.protocol import transfer
from agent.protocol.errors import UsageError

MIME: Final = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
}
MAX_BYTES: Final = transfer.MAX_IMAGE
MAX_PIXELS: Final = 64_000_000
MAX_FRAMES: Final = 512
CHUNK: Final = transfer.CHUNK
PREVIEW_BYTES: Final = 1500
PREVIEW_SIDE: Final = 32  # pixels

_WORKER: Final = Path(__file__).with_name("image_worker.py")
_SECONDS: Final = 10  # of processor time; the wall clock may show twice as much
_MEMORY: Final = 1280 * 1024 * 1024  # a progressive JPEG of MAX_PIXELS needs most of it
_WRITTEN: Final = MAX_BYTES + 1024  # a copy may be some bytes larger, where its end was missing
_REVEALED: Final = 8192  # characters of JSON that the facts of one picture take at most
_KINDS: Final = "JPEG, PNG, WebP and GIF"
_REFUSALS: Final = {
    "unknown": ("unsupported_image", f"This is not a picture of a kind that can be sent: {_KINDS} can."),
    "broken": ("unsupported_image", "This picture is damaged or cut off: it cannot be shown as a whole."),
    "pixels": ("too_large", f"This picture has more than {MAX_PIXELS // 1_000_000} million pixels."),
    "frames": ("too_large", "This animation is too long."),
    "memory": ("too_large", "This picture needs too much memory to be shown."),
    "time": ("too_large", "This picture takes too long to be shown."),
    "disk": ("limit", "The disk is full: the picture was not saved."),
}
# Each child may take a processor and a lot of memory: two at once are enough for one person.
_at_once: Final = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a whole, valid picture file is. `digests`: SHA-256 of each 64 KiB chunk, one after another."""

    format: str
    width: int
    height: int
    frames: int
    size: int
    sha256: str
    digests: bytes
    preview: bytes


@dataclass(frozen=True, slots=True)
class Looked:
    """What a file turned out to be. `facts`: of the copy if one was made, and then `original` is of the file itself.

    `reveals`: what the file says of place, device, time and people (see `metadata`).
    """

    facts: ImageFacts
    original: ImageFacts | None = None
    reveals: dict[str, Any] = field(default_factory=dict)


def inspect(path: Path) -> ImageFacts:
    """Decode the whole of a picture file; see `look_at`."""
    return look_at(path).facts


def look_at(path: Path, copy: Path | None = None) -> Looked:
    """Decode the whole of a picture file in a child process, and have the disk hold it for good.

    With `copy`, a new file, what would leave is written there and decoded: the picture without its
    metadata. Nothing is written if there is none. The preview is a WebP of at most 1500 bytes and 32
    pixels a side; it may be empty. Raises `UsageError` with `unsupported_image`, `too_large` or
    `limit`. A symbolic link is not followed.
    """
    with contextlib.ExitStack() as opened:
        fd = _opened(opened, path, os.O_RDONLY)
        if os.fstat(fd).st_size > MAX_BYTES:
            raise too_many_bytes()
        wanted = {}
        if copy is not None:
            wanted["copy"] = _opened(opened, copy, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        opened.enter_context(_at_once)
        code, lines = _run_worker(fd, wanted)
    return _looked(code, lines)


def look_at_beginning(fd: int, length: int) -> tuple[str, tuple[int, int] | None]:
    """Read, in a child process, format and dimensions off the first bytes of an open file that is arriving.

    The dimensions are as the picture is shown, or None if that is still to come. Raises `UsageError`.
    """
    code, lines = _run_worker(fd, {"beginning": length})
    if len(lines) != 1 or code != 0:
        raise UsageError(*_REFUSALS["broken"])
    found = json.loads(lines[0])
    if "refused" in found:
        raise UsageError(*_REFUSALS.get(found["refused"], _REFUSALS["broken"]))
    size = found["size"]
    return str(found["format"]), (int(size[0]), int(size[1])) if size else None


def is_preview(data: bytes) -> bool:
    """Tell whether bytes of a peer are a tiny WebP; looked at in a child process as everything else."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            kind, size = look_at_beginning(file.fileno(), len(data))
        except UsageError:
            return False
    return kind == "WEBP" and size is not None and max(size) <= PREVIEW_SIDE


def too_many_bytes() -> UsageError:
    """Say that a file is over the limit."""
    return UsageError("too_large", f"A picture may have at most {MAX_BYTES // 1024**2} MB.")


def too_many_pixels() -> UsageError:
    """Say that a picture is over the limit of pixels."""
    return UsageError(*_REFUSALS["pixels"])


def child_environment() -> dict[str, str]:
    """Return what a Python child needs of the environment, and no secret that may be in it."""
    needed = ("PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")
    return {name: os.environ[name] for name in needed if name in os.environ}


def _opened(stack: contextlib.ExitStack, path: Path, flags: int) -> int:
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, fd)
    return fd


def _run_worker(fd: int, wanted: dict[str, int]) -> tuple[int, list[bytes]]:
    """Run the child on an open file; return its exit status and the lines that it wrote."""
    limits = {
        "formats": list(MIME),
        "pixels": MAX_PIXELS,
        "frames": MAX_FRAMES,
        "seconds": _SECONDS,
        "memory": _MEMORY,
        "written": _WRITTEN if "copy" in wanted else 0,
        "chunk": CHUNK,
    }
    process = subprocess.Popen(
        [sys.executable, "-P", str(_WORKER), json.dumps(limits | wanted)],
        stdin=fd,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=child_environment(),
        pass_fds=[wanted["copy"]] if "copy" in wanted else (),
        start_new_session=True,  # Ctrl-C in the terminal is the agent's business alone
    )
    # Not communicate(timeout=…): under eventlet its TimeoutExpired is a class of another module.
    overrun = threading.Timer(2 * _SECONDS + 1, process.kill)
    overrun.daemon = True
    overrun.start()
    try:
        output, _ = process.communicate()
        return process.returncode, output.splitlines()
    finally:
        overrun.cancel()
        if process.returncode is None:
            process.kill()
            process.wait()


def _looked(code: int, lines: list[bytes]) -> Looked:
    """Believe the child no further than its values are possible."""
    if code != 0 or not 2 <= len(lines) <= 3:
        raise UsageError(*_REFUSALS["time" if lines and code < 0 else "broken"])
    hashed, *surveyed, found = (json.loads(line) for line in lines)
    if "refused" in found or not surveyed:
        raise UsageError(*_REFUSALS.get(found.get("refused"), _REFUSALS["broken"]))
    (survey,) = surveyed
    original = _facts(found, hashed)
    facts = original if survey["copy"] is None else _facts(found, survey["copy"])
    reveals = survey["reveals"]
    possible = facts.format in MIME and facts.width > 0 and facts.height > 0
    if not possible or len(facts.preview) > PREVIEW_BYTES or len(json.dumps(reveals)) > _REVEALED:
        raise UsageError(*_REFUSALS["broken"])
    return Looked(facts, None if facts is original else original, reveals)


def _facts(found: dict[str, Any], hashed: dict[str, Any]) -> ImageFacts:
    return ImageFacts(
        format=str(found["format"]),
        width=int(found["width"]),
        height=int(found["height"]),
        frames=int(found["frames"]),
        size=int(hashed["size"]),
        sha256=str(hashed["sha256"]),
        digests=base64.b64decode(hashed["digests"]),
        preview=base64.b64decode(found["preview"]),
    )
