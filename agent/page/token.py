"""The token of the page, and what stands for it: the session value of the cookie, one-time codes.

The token lives in DIR/token (0600), is made at the first start and kept. It never stands in a
cookie or in a process list. Used by the guard, the routes, the events and the entry point.
"""

import hmac
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.datafolder import read_private, write_private
from agent.settings import StartError
from rendezvous.contract.encoding import from_text, to_text

TOKEN_FILE: Final = "token"
CODE_SECONDS: Final = 30.0
_LENGTH: Final = 32
_SESSION_CONTEXT: Final = b"tmge-page-session-v1"


class Access:
    """What opens the page: the token, the session value derived from it, and codes good once."""

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.token = token
        # Derived, so that a tab stays signed in over a restart although nothing is kept for it.
        self.session = to_text(hmac.digest(token.encode(), _SESSION_CONTEXT, "sha256"))
        self._clock = clock
        self._code: tuple[str, float] | None = None

    def is_token(self, text: str) -> bool:
        """Compare with the token, in constant time."""
        return _equal(text, self.token)

    def is_session(self, text: str) -> bool:
        """Compare with the session value, in constant time."""
        return _equal(text, self.session)

    def new_code(self) -> str:
        """Make a code that opens the page once, for 30 s; it replaces the one before."""
        code = secrets.token_urlsafe(24)
        self._code = (code, self._clock() + CODE_SECONDS)
        return code

    def use_code(self, text: str) -> bool:
        """Take a code back; true if it was good."""
        if self._code is None or not _equal(text, self._code[0]):
            return False
        until, self._code = self._code[1], None
        return self._clock() <= until


def load_or_make_token(folder: Path) -> str:
    """Read the token of this data folder, or make it; StartError if the file is unusable."""
    path = folder / TOKEN_FILE
    data = read_private(path)
    if data is None:
        token = secrets.token_urlsafe(_LENGTH)
        write_private(path, f"{token}\n".encode())
        return token
    try:
        token = data.decode("ascii").strip()
        from_text(token, _LENGTH)
    except ValueError:
        raise StartError(
            f"{path} is damaged: delete it and start again (open pages must then be opened anew)."
        ) from None
    return token


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode())
