"""What may be known of a picture file, found out by a child process with limits.

Owns the limits, the child (`image_worker`) and the sentences for what is refused. No picture is
ever opened in the agent's own process, and nothing but the content decides what a picture is. Used
by `library` and `parts`. Waiting for the child lets other green threads go on, because `subprocess`
is used in the ways that eventlet makes cooperative.
"""

import base64
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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

_WORKER: Final = Path(__file__).with_name("image_worker.py")
_SECONDS: Final = 10  # of processor time; the wall clock may show twice as much
_MEMORY: Final = 1280 * 1024 * 1024  # a progressive JPEG of MAX_PIXELS needs most of it
_KINDS: Final = "JPEG, PNG, WebP and GIF"
_REFUSALS: Final = {
    "unknown": ("unsupported_image", f"This is not a picture of a kind that can be sent: {_KINDS} can."),
    "broken": ("unsupported_image", "This picture is damaged or cut off: it cannot be shown as a whole."),
    "pixels": ("too_large", f"This picture has more than {MAX_PIXELS // 1_000_000} million pixels."),
    "frames": ("too_large", "This animation is too long."),
    "memory": ("too_large", "This picture needs too much memory to be shown."),
    "time": ("too_large", "This picture takes too long to be shown."),
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


def inspect(path: Path) -> ImageFacts:
    """Decode the whole of a picture file in a child process, and have the disk hold it for good.

    The preview is a WebP of at most 1500 bytes and 32 pixels a side; it may be empty. Raises
    `UsageError` with `unsupported_image` or `too_large`. A symbolic link is not followed.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_size > MAX_BYTES:
            raise too_many_bytes()
        with _at_once:
            code, lines = _run_worker(fd)
    finally:
        os.close(fd)
    return _facts(code, lines)


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


def _run_worker(fd: int) -> tuple[int, list[bytes]]:
    """Run the child on an open file; return its exit status and the lines that it wrote."""
    limits = {
        "formats": list(MIME),
        "pixels": MAX_PIXELS,
        "frames": MAX_FRAMES,
        "seconds": _SECONDS,
        "memory": _MEMORY,
        "chunk": CHUNK,
    }
    process = subprocess.Popen(
        [sys.executable, "-P", str(_WORKER), json.dumps(limits)],
        stdin=fd,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=child_environment(),
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


def _facts(code: int, lines: list[bytes]) -> ImageFacts:
    """Believe the child no further than its values are possible."""
    if len(lines) != 2 or code != 0:
        raise UsageError(*_REFUSALS["time" if lines and code < 0 else "broken"])
    hashed, found = (json.loads(line) for line in lines)
    if "refused" in found:
        raise UsageError(*_REFUSALS.get(found["refused"], _REFUSALS["broken"]))
    facts = ImageFacts(
        format=str(found["format"]),
        width=int(found["width"]),
        height=int(found["height"]),
        frames=int(found["frames"]),
        size=int(hashed["size"]),
        sha256=str(hashed["sha256"]),
        digests=base64.b64decode(hashed["digests"]),
        preview=base64.b64decode(found["preview"]),
    )
    possible = facts.format in MIME and facts.width > 0 and facts.height > 0
    if not possible or len(facts.preview) > PREVIEW_BYTES:
        raise UsageError(*_REFUSALS["broken"])
    return facts
