"""What a picture file says of place, device, time and people beside its pixels, and a copy without it.

Owns the structure of the four kinds of file: JPEG segments, PNG chunks, WebP chunks, GIF blocks. A copy is made of the
original's own bytes, never by decoding: pixels, animation, colour profile and resolution are the same, and a minimal
Exif keeps the orientation. What is not known to be needed does not leave. Pure: bytes in, facts and pieces out. Used by
`image_worker` alone, in the child process, because the bytes may mean harm.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.metadata import gif, jpeg, png, webp
from agent.metadata.errors import Malformed, UnknownKind
from agent.metadata.found import Data, Facts, Found, Pieces

__all__ = ["Data", "Facts", "Malformed", "Survey", "UnknownKind", "survey"]

_Reader = Callable[[Data, Pieces, Found], None]
_KINDS: Final[tuple[tuple[str, int, bytes, _Reader], ...]] = (
    ("JPEG", 0, b"\xff\xd8\xff", jpeg.read),
    ("PNG", 0, b"\x89PNG\r\n\x1a\n", png.read),
    ("WEBP", 8, b"WEBP", webp.read),
    ("GIF", 0, b"GIF8", gif.read),
)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file is by its structure. `size`: width and height as the picture is shown; None where that is not said.

    `reveals`: `{place?, device?, time?, other?}`. `parts`: the copy, as ranges of the file and bytes; None where the
    copy would be the file itself.
    """

    format: str
    size: tuple[int, int] | None
    orientation: int
    reveals: Facts
    parts: list[tuple[int, int] | bytes] | None


def survey(data: Data) -> Survey:
    """Look at a file, or at the beginning of one; raises `Malformed`: `UnknownKind` if it is none of the four."""
    for name, at, magic, read in _KINDS:
        if data[at : at + len(magic)] == magic:
            out, found = Pieces(data), Found()
            try:
                read(data, out, found)
            except (IndexError, struct.error) as error:
                raise Malformed("it is cut off or damaged") from error
            size = found.size[::-1] if found.size and found.orientation > 4 else found.size
            return Survey(name, size, found.orientation, found.as_json(), None if out.whole else out.parts)
    raise UnknownKind("it is of no known kind")
