"""What a person's name may be, and when two names are one. Used by the rendezvous, the agent and whoever signs a name.

A name has one canonical form, which is shown and signed; one fold, by which it is searched and sorted (`Zoë` and `zoë`
are one); and one skeleton, under which it is kept: names with one skeleton are one name, which has the spelling of
whoever came first.

Look-alikes are kept out in two steps (Unicode TR39). Letters of several scripts do not mix, but for the combinations of
its "highly restrictive" level: `alice` with a Cyrillic first letter is no name. And what is left, a name written wholly
in letters of another script that look Latin, has the skeleton of the Latin one, so that only one of them exists. The
table is small because scripts do not mix; a package with all of Unicode's pairs would be half a megabyte in every
agent. `l`, `I` and `1`, or `O` and `0`, stay apart: people number their names. Keys tell people apart, not letters.
"""

import unicodedata
from typing import Final

MAX_NAME_LENGTH: Final = 32
"""Characters, after normalisation."""
MAX_NAME_BYTES: Final = 96
"""Bytes of UTF-8: 32 characters of the scripts that need three bytes each."""
MAX_MARKS: Final = 4
"""Accents on one letter."""

_BLANKS_THAT_ARE_LETTERS: Final = frozenset(
    (
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        *(*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)),
    )
)
"""Shown as nothing, although their category says letter, mark or symbol (Unicode,
Default_Ignorable_Code_Point).
"""

_MAY_MIX: Final = tuple(
    frozenset(scripts.split()) for scripts in ("LATIN CJK HIRAGANA KATAKANA", "LATIN CJK BOPOMOFO", "LATIN CJK HANGUL")
)
"""Scripts that one name may have together (TR39, section 5.2, highly restrictive), by their names in Unicode."""
_OF_ANY_SCRIPT: Final = frozenset(("MODIFIER", "KATAKANA-HIRAGANA"))
_SCRIPT_OF: Final = {"IDEOGRAPHIC": "CJK"}

_LOOK: Final = str.maketrans(
    # Folded letters of Cyrillic, Greek, Armenian and Cherokee, and the Latin ones that they or their capitals resemble.
    "авгезікмнопрстухьѕјһԁԛԝӏүѵґ" "αβεζηικμνορτυχγωσϲϳ" "աեհոսցօզ" "ᎠᎡᎢᎥᎪᎫᎬᎳᎷᎻᏀᏃᏎᏒᏔᏕᏙᏚᏞᏟᏢᏦᏴ",  # noqa: RUF001
    "abre3ikmhonpctyxbsjhdqwlyvr" "abezhikmvoptuxywocj" "wthnugoq" "drtiajewmhgz4rwsvslcpkb",
)  # fmt: skip


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
    if _is_heaped(name):
        raise ValueError("A name has no heaps of accents on one letter.")
    scripts = _scripts(name)
    if len(scripts) > 1 and not any(scripts <= together for together in _MAY_MIX):
        raise ValueError("A name does not mix letters of several scripts, which could be taken for each other.")
    if len(name) > MAX_NAME_LENGTH or len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(f"A name has at most {MAX_NAME_LENGTH} characters.")
    return name


def fold(text: str) -> str:
    """Return what names are searched and sorted by. Takes any text, a search included."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", folded)


def skeleton(text: str) -> str:
    """Return what names are kept under: two names with one skeleton are one name. Takes any text."""
    if text.isascii():
        return text.lower()
    letters = unicodedata.normalize("NFD", fold(text)).translate(_LOOK)
    return unicodedata.normalize("NFC", letters)


def _scripts(name: str) -> frozenset[str]:
    """Return the scripts of a name's letters: the first words of their names in Unicode."""
    words = (unicodedata.name(char, "?").split()[0] for char in name if unicodedata.category(char)[0] == "L")
    return frozenset(_SCRIPT_OF.get(word, word) for word in words if word not in _OF_ANY_SCRIPT)


def _is_heaped(name: str) -> bool:
    """Say whether marks stand on each other as no language writes them (TR39, section 5.4)."""
    run = ""
    for char in unicodedata.normalize("NFD", name):
        run = run + char if unicodedata.category(char) in ("Mn", "Me") else ""
        if len(run) > MAX_MARKS or len(set(run)) < len(run):
            return True
    return False


def _is_hidden(char: str) -> bool:
    return (
        ord(char) in _BLANKS_THAT_ARE_LETTERS
        or unicodedata.category(char)[0] == "C"
        or (unicodedata.category(char)[0] == "Z" and char != " ")
    )
