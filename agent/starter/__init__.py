"""What a new person has to offer at once: quotes from `quotes.json`, and pictures that are drawn here.

Each quote's author died before 1926; text and source can be looked up. Used by `library` alone,
which puts them in once.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final

from agent.images import child_environment
from agent.protocol.errors import UsageError

PICTURES: Final = (
    "Currents.webp",
    "Tiles.png",
    "Ripples.jpg",
    "Sunflower.png",
    "Dawn.jpg",
    "Spirals.webp",
    "Night.jpg",
    "Star and cross.png",
)
_HERE: Final = Path(__file__).parent
_SECONDS: Final = 300  # seconds are the rule; minutes only where the machine has better to do


def quotes() -> list[tuple[str, str, str]]:
    """Return text, author and source of each quote."""
    listed = json.loads((_HERE / "quotes.json").read_text(encoding="utf-8"))
    return [(quote["text"], quote["author"], quote["source"]) for quote in listed]


def draw(names: Sequence[str]) -> Generator[bytes, None, None]:
    """Draw some of `PICTURES` in one child process; yield the bytes of each file as it is ready.

    Closing the generator ends the child. Raises `UsageError` if it ends by itself before.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", str(_HERE / "pictures.py"), *names],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=child_environment(),
        start_new_session=True,
    )
    assert process.stdout is not None
    overrun = threading.Timer(_SECONDS, process.kill)
    overrun.daemon = True
    overrun.start()
    try:
        for name in names:
            size = int(process.stdout.readline() or 0)
            picture = bytearray()
            while len(picture) < size and (some := process.stdout.read(size - len(picture))):
                picture += some  # under eventlet, a read gives what is there
            if not picture or len(picture) != size:
                raise UsageError("limit", f"The starter picture {name} could not be drawn.")
            yield bytes(picture)
    finally:
        overrun.cancel()
        process.kill()
        process.stdout.close()
        process.wait()
