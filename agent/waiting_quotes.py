"""What waits for a text link, by token: quotes to be fetched, and wishes for quotes. Used by `text_link`, from any of
its threads.

Owns how long each waits, and which openings were answered for it. What waits is known by its request to us, by its
token to the wire.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from agent.sealed_stream import LinkError

_GONE: Final = 256  # tokens remembered of what waits no more

What = TypeVar("What")


class LinkNotNeeded(LinkError):
    """What the opening is about has come or gone by another way meanwhile."""


@dataclass(slots=True)
class Waiting(Generic[What]):
    """`what` waits for whoever proves `key`, until the monotonic time `until`."""

    request: bytes
    key: bytes = field(repr=False)
    what: What = field(repr=False)
    until: float
    openings: set[bytes] = field(default_factory=set)


class WaitingRoom(Generic[What]):
    """What may be asked for. `keep` and `patience` are in seconds."""

    def __init__(self, keep: float, patience: float) -> None:
        self._keep = keep
        self._patience = patience
        self._added = threading.Condition()
        self._waiting: dict[bytes, Waiting[What]] = {}
        self._gone: deque[bytes] = deque(maxlen=_GONE)

    def add(self, request: bytes, token: bytes, key: bytes, what: What) -> None:
        """Let something wait, for `keep` seconds."""
        with self._added:
            self._waiting[token] = Waiting(request, key, what, time.monotonic() + self._keep)
            self._added.notify_all()

    def forget(self, request: bytes) -> bool:
        """Let what belongs to `request` not be asked for any more; False if it did not wait."""
        with self._added:
            gone = [token for token, waiting in self._waiting.items() if waiting.request == request]
            for token in gone:
                del self._waiting[token]
            self._gone += gone
            return bool(gone)

    def forget_old(self) -> None:
        """Forget what nobody asked for in time."""
        now = time.monotonic()
        with self._added:
            self._waiting = {token: waiting for token, waiting in self._waiting.items() if waiting.until > now}

    def find(self, token: bytes) -> Waiting[What]:
        """Return what waits under `token`, if there is something within `patience` seconds; else LinkError."""
        with self._added:
            self._added.wait_for(lambda: token in self._waiting or token in self._gone, self._patience)
            waiting = self._waiting.get(token)
            if waiting is None and token in self._gone:
                raise LinkNotNeeded("its quote is not needed any more")
        if waiting is None or waiting.until <= time.monotonic():
            raise LinkError("no quote waits under its token")
        return waiting

    def use(self, token: bytes, opening: bytes) -> None:
        """Remember that `opening` is answered now; LinkError if it was before, or if nothing waits by now."""
        with self._added:
            waiting = self._waiting.get(token)
            if waiting is None:
                raise LinkNotNeeded("its quote is not needed any more")
            if opening in waiting.openings:
                raise LinkError("its opening was used before")
            waiting.openings.add(opening)
