"""Texts from others, made fit for a terminal. Used by the commands and the terminal.

What moves the cursor, hides text or turns its direction around is shown as an escape; joiners that Persian, Hindi and
emoji need stay as they are (Unicode UAX 9 section 6.1 warns of the former).
"""

import unicodedata
from typing import Final

_NEEDED: Final = "\u200c\u200d"
"""Zero width non-joiner and joiner."""


def shown(text: str, *, lines: bool = False) -> str:
    """Return a text as it may be printed; `lines` keeps its line ends."""
    return "".join(char if _is_harmless(char, lines) else _escaped(char) for char in text)


def in_one_line(text: str, most: int = 400) -> str:
    """Return a text in one line, cut where it is longer than `most` characters."""
    line = shown(" ".join(text.split()))
    return line if len(line) <= most else line[: most - 1] + "…"


def _is_harmless(char: str, lines: bool) -> bool:
    return char.isprintable() or char in _NEEDED or (lines and char == "\n")


def _escaped(char: str) -> str:
    return " " if unicodedata.category(char) == "Zs" else char.encode("unicode_escape").decode()
