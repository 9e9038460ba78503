"""When the garbage of very many connections is collected: after many of them have ended, not while they rest.

Python looks through all that lives whenever a quarter has come on top, which takes a second with ten thousand
connections, and nobody is served meanwhile. Here what lives is set aside every second; only what is new is
looked through. Once enough connections have ended, all is, once. Used by `sockets.py`, for the whole process.
"""

import gc
from typing import Final

_LEAST: Final = 2000
"""Ended connections that are worth a look through all, where few others live."""


class Collector:
    """Looks at the connections that there are, once a second."""

    def __init__(self) -> None:
        self._ended = 0
        self._living: set[str] = set()

    def look(self, living: set[str]) -> None:
        """Collect where it is worth it; these connections live."""
        self._ended += len(self._living - living)
        self._living = living
        if self._ended > max(_LEAST, len(living) // 2):
            self._ended = 0
            gc.unfreeze()
            gc.collect()
        gc.freeze()
