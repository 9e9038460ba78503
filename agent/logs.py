"""What the agent says on stderr: one sentence a line, and no traceback unless asked for (debug).

Owns the form of a line, and the silence of libraries that would log what people say to each other.
Used by the entry point alone; everybody else calls `logging.getLogger(__name__)`.
"""

import _thread
import logging
import sys
from typing import Final, TextIO

# At their own levels these print every packet, tokens included, or a traceback for each bad one.
_SILENT: Final = [f"{one}{part}" for one in ("engineio", "socketio") for part in ("", ".server", ".client")]


class SentenceFormatter(logging.Formatter):
    """One line for each record, with every control character escaped; tracebacks only at debug."""

    def format(self, record: logging.LogRecord) -> str:
        time = self.formatTime(record, "%H:%M:%S")
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = f"{time} {level}{printable(record.getMessage())}"
        if record.exc_info and record.levelno <= logging.DEBUG:
            line += "\n" + self.formatException(record.exc_info)
        return line


class NativeLockHandler(logging.StreamHandler[TextIO]):
    """A handler whose lock is the system's.

    With a green lock, a record from a native thread can stop the whole process.
    """

    def createLock(self) -> None:
        self.lock = _thread.RLock()  # the one kind of lock that is never patched


def start_logging(level: str) -> None:
    """Send everything from `level` up to stderr."""
    logging.raiseExceptions = False  # a closed stderr is no reason to print more to it
    handler = NativeLockHandler(sys.stderr)
    handler.setFormatter(SentenceFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def printable(text: str) -> str:
    """Escape what could move a cursor or turn text around."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
