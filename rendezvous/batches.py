"""What comes one by one and is cheaper done together: people who leave, changes to tell. Used by `events.py`.

While one batch is being worked on the next gathers, so nothing waits that could be done at once, and ten thousand who
leave in one moment cost a few round trips.
"""

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
MOST: Final = 200
"""Things in one batch; others get their turn between two."""


class Batches(Generic[T]):
    """Gathers things, each once, and hands them on from a loop of its own; `run` must be started."""

    def __init__(self, work: Callable[[list[T]], None]) -> None:
        """Take what is to be done; it must not raise."""
        self._work = work
        self._gathered: dict[T, None] = {}
        self._some = threading.Event()

    def add(self, thing: T) -> None:
        """Have something done soon."""
        self._gathered[thing] = None
        self._some.set()

    def run(self) -> None:
        """Work for ever."""
        while True:
            self._some.wait()
            self._some.clear()
            while self._gathered:
                batch = list(self._gathered)[:MOST]
                for thing in batch:
                    self._gathered.pop(thing, None)
                self._work(batch)
                time.sleep(0)
