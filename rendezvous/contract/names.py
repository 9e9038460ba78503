"""What a person's name may be, and when two names are one. Used by the rendezvous, the agent and
whoever signs a name.

A name has one canonical form, which is shown and signed, and one fold, under which it is kept and
found: `Zoë` and `zoë` are one person, written the way that the first of them wrote it.
"""

import unicodedata
from typing import Final

MAX_NAME_LENGTH: Final = 32
"""Characters, after normalisation."""
MAX_NAME_BYTES: Final = 96
"""Bytes of UTF-8: 32 characters of the scripts that need three bytes each."""

_BLANKS_THAT_ARE_LETTERS: Final = frozenset(
    (
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        *(*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)),
    )
)
"""Shown as nothing, although their category says letter, mark or symbol (Unicode,
Default_Ignorable_Code_Point).
"""


def canonical(text: str) -> str:
    """Return a name in its one form (NFKC); ValueError with a sentence for the person where it
    cannot be a name.
    """
    if len(text) > 4 * MAX_NAME_LENGTH:
        raise ValueError(f"A name has at most {MAX_NAME_LENGTH} characters.")
    if any(unicodedata.category(char)[0] == "C" for char in text):
        raise ValueError("A name has no invisible or control characters.")
    name = unicodedata.normalize("NFKC", text)
    if not name.strip():
        raise ValueError("A name has at least one character.")
    if any(_is_hidden(char) for char in name):
        raise ValueError("A name has no invisible or control characters.")
    if name != " ".join(name.split()):
        raise ValueError("A name neither begins nor ends with a space, and has no two in a row.")
    if unicodedata.category(name[0])[0] == "M":
        raise ValueError("A name does not begin with an accent that has no letter.")
    if len(name) > MAX_NAME_LENGTH or len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"A name has at most {MAX_NAME_LENGTH} characters.")
    return name


def fold(text: str) -> str:
    """Return what names are compared by: two names with one fold are one name. Takes any text, a
    search included.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", folded)


def _is_hidden(char: str) -> bool:
    return (
        ord(char) in _BLANKS_THAT_ARE_LETTERS
        or unicodedata.category(char)[0] == "C"
        or (unicodedata.category(char)[0] == "Z" and char != " ")
    )
