"""Quotes out of a text file, as people write them down: one after the other, each with who said it.

Owns what is understood, not which quotes are taken (`quotes` does). Used by `library`.

    To be, or not to be, that is the question.
    — William Shakespeare (Hamlet)

    We all make mistakes. — Nobody in particular

Blank lines, or lines of `%`, `*`, `-`, `=`, `_` or `~` alone, separate quotes. Who said it follows a dash: on a line
of its own below the text, or at the end of its last line. Where each line ends so, each is a quote. In parentheses,
or after a comma in quotation marks, stands the work that it is from. The text may stand in quotation marks.
"""

import codecs
import re
import time
from dataclasses import dataclass
from typing import Final

from agent.protocol.errors import UsageError
from agent.quotes import Quote, checked_quote

MAX_FILE: Final = 2 * 1024 * 1024  # bytes
MAX_QUOTES: Final = 5000
MAX_REFUSALS: Final = 100
_MAX_NAMED: Final = 300  # characters behind a dash that can be a person and a work

_LONG: Final = "—–―"
_SEPARATOR: Final = re.compile(r"\s*[%*\-=_~—–]+\s*")
_BELOW: Final = re.compile(rf"\s*(?:[{_LONG}]|-{{1,3}}|~)\s*(\S.*)")
_BULLET: Final = re.compile(r"\A\s*(?:[-*•]|\d{1,4}[.)])\s+")
_INLINE: Final = re.compile(rf"(.*\S)(?:\s+[{_LONG}]\s*|\s+-{{1,3}}\s+|\s+--+\s*)(\S.*)")
_WORK: Final = re.compile(r"(.+?)\s*(?:\((.+)\)|[,،]\s*[«“\"](.+)[»”\"])\s*")
_MARKS: Final = {"“": "”", "«": "»", '"': '"', "„": "“", "「": "」"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing was made of what begins on a line (from 1)."""

    line: int
    error: UsageError


class QuoteFile:
    """What was read: the quotes that are taken, each once, and the refusals in order.

    `left_out`: how many refusals there were beyond the first ones, which alone are kept.
    """

    def __init__(self, data: bytes) -> None:
        """Read the whole of a file; raises `UsageError` if it is no text at all, or too large."""
        self.quotes: dict[str, Quote] = {}
        self.refused: list[Refusal] = []
        self.left_out = 0
        self._begun = 0
        self._lines: list[str] = []
        gap = False
        for number, line in enumerate(re.split(r"\r\n|\r|\n", _text(data)), 1):
            if number % 500 == 0:
                time.sleep(0)  # which eventlet makes a switch
            if not line.strip():
                gap = True
                continue
            named = _BELOW.fullmatch(line)
            if _SEPARATOR.fullmatch(line):
                self._flush()
            elif named and len(named[1]) <= _MAX_NAMED and not _inline(_unlisted(line)):
                if gap and self._lines and _inline(self._lines[-1]):
                    self._flush()
                self._named_below(number, named[1])
            else:
                if gap:
                    self._flush()
                self._begun = self._begun if self._lines else number
                self._lines.append(line)
            gap = False
        self._flush()

    def as_json(self) -> list[dict[str, object]]:
        """Return the refusals as the page sees them."""
        return [{"line": one.line, "code": one.error.code, "message": one.error.message} for one in self.refused]

    def _named_below(self, number: int, named: str) -> None:
        if self._lines:
            self._take(self._begun, "\n".join(self._lines), named)
            self._lines = []
        else:
            self._refuse(number, UsageError("bad_request", "There is a name here, but no text above it."))

    def _flush(self) -> None:
        """Make what can be made of lines that have no name below them."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        each = [_inline(_unlisted(line)) for line in lines]
        if all(each):
            for number, parts in enumerate(each, self._begun):
                if parts:
                    self._take(number, *parts)
        elif each[-1]:
            text, named = each[-1]
            self._take(self._begun, "\n".join([*lines[:-1], text]), named)
        else:
            self._refuse(self._begun, UsageError("bad_request", "Say who said it, after a dash below the text."))

    def _take(self, number: int, text: str, named: str) -> None:
        work = _WORK.fullmatch(named)
        author, source = (work[1], work[2] or work[3]) if work else (named, None)
        try:
            if len(self.quotes) >= MAX_QUOTES:
                raise UsageError("limit", f"At most {MAX_QUOTES} quotes are taken from one file.")
            quote = checked_quote(_unmarked(text), author, source)
        except UsageError as error:
            self._refuse(number, error)
        else:
            self.quotes.setdefault(quote.item, quote)

    def _refuse(self, number: int, error: UsageError) -> None:
        if len(self.refused) < MAX_REFUSALS:
            self.refused.append(Refusal(number, error))
        else:
            self.left_out += 1


def _text(data: bytes) -> str:
    """Decode a file; what is not UTF-8 is refused later, where it stands."""
    if len(data) > MAX_FILE:
        raise UsageError("too_large", f"A file of quotes may have at most {MAX_FILE // 1024**2} MB.")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    if b"\0" in data:
        raise UsageError("bad_request", "This is not a text file.")
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _inline(line: str) -> tuple[str, str] | None:
    """Return text and name of a line that ends with a name."""
    parts = _INLINE.fullmatch(line)
    return (parts[1], parts[2]) if parts and len(parts[2]) <= _MAX_NAMED else None


def _unlisted(line: str) -> str:
    """Return a line without the sign or number of a list."""
    return _BULLET.sub("", line, count=1)


def _unmarked(text: str) -> str:
    """Return a text without the quotation marks around the whole of it."""
    text = text.strip()
    end = _MARKS.get(text[:1])
    inner = text[1:-1]
    whole = end is not None and len(text) > 2 and text.endswith(end) and not {text[0], end} & set(inner)
    return inner if whole else text
