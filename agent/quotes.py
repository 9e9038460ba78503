"""What a quote is: the one place that decides which text is taken. Used by `library` and by whoever gets a quote.

Text of any script is taken as it is, but for outer white space; how it is shown safely is the page's matter.
"""

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import Any, Final

from agent.protocol import messages
from agent.protocol.errors import UsageError

MAX_TEXT_BYTES: Final = messages.MAX_QUOTE
MAX_AUTHOR: Final = 200
MAX_SOURCE: Final = 400
MAX_CAPTION: Final = messages.MAX_CAPTION // 4  # characters, as the ones above
MAX_ALT: Final = messages.MAX_ALT // 4


@dataclass(frozen=True, slots=True)
class Quote:
    """A text and whose it is. `source`: the work it stands in, if known."""

    text: str
    author: str
    source: str | None = None

    @property
    def item(self) -> str:
        """Name it by its content (32 hex digits), so that the same quote is one item."""
        parts = "\0".join((self.text, self.author, self.source or ""))
        return hashlib.sha256(f"quote\0{parts}".encode()).hexdigest()[:32]

    def as_json(self, cut: int | None = None) -> dict[str, Any]:
        """Return it as the page sees it; a text of more than `cut` characters is cut, and says so."""
        shown: dict[str, Any] = {"text": self.text, "author": self.author}
        if self.source:
            shown["source"] = self.source
        if cut is not None and len(self.text) > cut:
            shown |= {"text": self.text[:cut], "cut": True}
        return shown


def checked_quote(text: object, author: object, source: object = None) -> Quote:
    """Return the quote that these make, or raise `UsageError` with the sentence that says why not."""
    body = _checked(text, "text", multiline=True)
    if len(body.encode()) > MAX_TEXT_BYTES:
        raise UsageError("too_large", f"A quote may have at most {MAX_TEXT_BYTES // 1024} KB.")
    return Quote(
        body,
        _checked(author, "author", limit=MAX_AUTHOR),
        None if source is None or source == "" else _checked(source, "source", limit=MAX_SOURCE),
    )


def checked_line(value: object, name: str, most: int) -> str:
    """Return a text on one line, which may be empty, or raise `UsageError`; `name` says what it is."""
    return "" if value == "" else _checked(value, name, limit=most, of="")


def heard_line(value: str, most: int) -> str:
    """Return what a peer has written as a text on one line, without control characters, and cut."""
    shown = "".join(sign if unicodedata.category(sign) not in ("Cc", "Cs") else " " for sign in value)
    return " ".join(shown.split())[:most]


def _checked(
    value: object, name: str, *, limit: int | None = None, multiline: bool = False, of: str = " of a quote"
) -> str:
    if not isinstance(value, str):
        raise UsageError("bad_request", f"The {name}{of} must be text.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError("bad_request", f"The {name} is not valid Unicode.") from None
    value = value.replace("\r\n", "\n").strip() if multiline else " ".join(value.split())
    if not value and of:
        raise UsageError("bad_request", f"A quote needs a {name}.")
    if limit is not None and len(value) > limit:
        raise UsageError("too_large", f"The {name} may have at most {limit} characters.")
    if any(unicodedata.category(sign) == "Cc" and sign not in "\n\t" for sign in value):
        raise UsageError("bad_request", f"The {name} contains control characters.")
    return value
