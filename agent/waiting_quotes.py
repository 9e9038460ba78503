"""Quotes that wait to be fetched over the text link, by token. Used by `text_link`, from any of its threads.

Owns how long each waits, and which openings were answered for it. A quote is known by its request to us, by its token
to the wire.
"""

import threading
import time
from dataclasses import dataclass, field

from agent.sealed_stream import LinkError


@dataclass(slots=True)
class WaitingQuote:
    """A quote as the `message` that carries it, for whoever proves `key`, until the monotonic time `until`."""

    request: bytes
    key: bytes = field(repr=False)
    message: bytes = field(repr=False)
    until: float
    openings: set[bytes] = field(default_factory=set)


class WaitingQuotes:
    """What may be fetched. `keep` and `patience` are in seconds."""

    def __init__(self, keep: float, patience: float) -> None:
        self._keep = keep
        self._patience = patience
        self._added = threading.Condition()
        self._waiting: dict[bytes, WaitingQuote] = {}

    def add(self, request: bytes, token: bytes, key: bytes, message: bytes) -> None:
        """Let a quote be fetched, for `keep` seconds."""
        with self._added:
            self._waiting[token] = WaitingQuote(request, key, message, time.monotonic() + self._keep)
            self._added.notify_all()

    def forget(self, request: bytes) -> bool:
        """Let the quote of `request` not be fetched any more; False if it did not wait."""
        with self._added:
            before = len(self._waiting)
            self._waiting = {token: quote for token, quote in self._waiting.items() if quote.request != request}
            return len(self._waiting) < before

    def forget_old(self) -> None:
        """Forget what nobody fetched in time."""
        now = time.monotonic()
        with self._added:
            self._waiting = {token: quote for token, quote in self._waiting.items() if quote.until > now}

    def find(self, token: bytes) -> WaitingQuote:
        """Return the quote under `token`, if there is one within `patience` seconds; else LinkError."""
        with self._added:
            self._added.wait_for(lambda: token in self._waiting, self._patience)
            quote = self._waiting.get(token)
        if quote is None or quote.until <= time.monotonic():
            raise LinkError("no quote waits under its token")
        return quote

    def use(self, token: bytes, opening: bytes) -> None:
        """Remember that `opening` is answered now; LinkError if it was before, or if the quote is forgotten by now."""
        with self._added:
            quote = self._waiting.get(token)
            if quote is None:
                raise LinkError("no quote waits under its token")
            if opening in quote.openings:
                raise LinkError("its opening was used before")
            quote.openings.add(opening)
