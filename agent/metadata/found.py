"""What a picture file says beside its pixels, in plain facts; and the pieces that a copy of it is made of.

Every text is cut and printable, and there are only so many: whatever the file holds, the facts are small. Filled in by
the readers of this package.
"""

from dataclasses import dataclass, field
from mmap import mmap
from typing import Final

from agent.metadata.errors import Malformed

MAX_TEXT: Final = 100  # characters
MAX_OTHER: Final = 12
MAX_PIECES: Final = 100_000

_JOINERS: Final = "\u200c\u200d"  # which some scripts are spelled with

Data = bytes | mmap
Facts = dict[str, object]


@dataclass(slots=True)
class Found:
    """What was read so far; the first word on each fact counts.

    `size`: width and height as stored. `place`: latitude and longitude (degrees), altitude (metres), name. `device`:
    make, model, lens, serial, lens_serial, software, owner. `time`: taken, changed. `other`: text by kind.
    """

    size: tuple[int, int] | None = None
    orientation: int = 1
    place: Facts = field(default_factory=dict)
    device: Facts = field(default_factory=dict)
    time: Facts = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)

    def note(self, group: str, name: str, value: object) -> None:
        """Take a fact: a number, or a text (or its bytes) that says something."""
        facts: Facts = getattr(self, group)
        shown = plain(value) if isinstance(value, str | bytes) else value
        if shown != "":
            facts.setdefault(name, shown)

    def note_other(self, kind: str, value: str | bytes = "") -> None:
        """Take a fact of another kind; of a kind that is there already, the texts are put together."""
        before, shown = self.other.get(kind), plain(value)
        if before is None:
            if len(self.other) < MAX_OTHER:
                self.other[kind] = shown
        elif shown and shown not in before:
            self.other[kind] = plain(f"{before}; {shown}" if before else shown)

    def name_place(self, value: str | bytes) -> None:
        """Add a name to where the picture was taken."""
        shown, before = plain(value), str(self.place.get("name", ""))
        if shown and shown not in before:
            self.place["name"] = plain(f"{before}, {shown}" if before else shown)

    def as_json(self) -> Facts:
        """Return what there is, as the page sees it."""
        groups: Facts = {"place": self.place, "device": self.device, "time": self.time}
        other = [{"kind": kind} | ({"text": text} if text else {}) for kind, text in self.other.items()]
        return {name: value for name, value in (groups | {"other": other}).items() if value}


@dataclass(slots=True)
class Pieces:
    """A copy as ranges of the original and short bytes in between; equal bytes are always a range."""

    data: Data
    parts: list[tuple[int, int] | bytes] = field(default_factory=list)
    size: int = 0

    def keep(self, start: int, stop: int) -> None:
        """Take bytes of the original, as far as there are any."""
        stop = min(stop, len(self.data))
        if start >= stop:
            return
        self.size += stop - start
        last = self.parts[-1] if self.parts else b""
        if isinstance(last, tuple) and last[1] == start:
            self.parts[-1] = (last[0], stop)
        else:
            self._append((start, stop))

    def put(self, literal: bytes, at: int) -> None:
        """Take these bytes, which stand for those of the original from `at` on."""
        if self.data[at : at + len(literal)] == literal:
            self.keep(at, at + len(literal))
        else:
            self.size += len(literal)
            self._append(literal)

    def extend(self, others: "Pieces") -> None:
        """Take all pieces of another copy of the same original."""
        for part in others.parts:
            if isinstance(part, tuple):
                self.keep(*part)
            else:
                self.size += len(part)
                self._append(part)

    @property
    def whole(self) -> bool:
        """Tell whether this is the original, byte for byte."""
        return self.parts == [(0, len(self.data))]

    def _append(self, part: tuple[int, int] | bytes) -> None:
        if len(self.parts) >= MAX_PIECES:
            raise Malformed("too many pieces")
        self.parts.append(part)


def plain(value: str | bytes) -> str:
    """Return a text on one line, printable and cut."""
    if isinstance(value, bytes):
        value = value[: 8 * MAX_TEXT].rstrip(b"\0").decode("utf-8", "replace")
    value = " ".join(value[: 8 * MAX_TEXT].split())
    shown = "".join(sign for sign in value if (sign.isprintable() and sign != "\ufffd") or sign in _JOINERS).strip()
    return shown if len(shown) <= MAX_TEXT else shown[: MAX_TEXT - 1] + "…"
