"""How one side of a measured transfer speaks with whoever measures: JSON lines on stdin and stdout.

A side is a process of its own, a giver or a taker. The giver prints its port, and then answers each line with what it
has used; the taker is told the port, says when it is connected, and then fetches the file once for each line.
`support/contest.py` is the other end. Times are the system's monotonic clock, which all processes share.
"""

import argparse
import json
import resource
from pathlib import Path
from typing import Any, Final

BLOCK: Final = 256 * 1024
"""Bytes read, written and hashed at once: few calls, and still in the processor's cache."""


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every side is told."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("role", choices=["giver", "taker"])
    parser.add_argument("path", type=Path, help="the file to give, or the folder to take it into")
    parser.add_argument("--host", default="127.0.0.1", help="the giver's address")
    parser.add_argument("--port", type=int, default=0, help="the giver's port, as it said itself")
    return parser


def cpu() -> float:
    """Return the seconds of processor time that this process has used, in the kernel too."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def say(**value: Any) -> None:
    """Print one line."""
    print(json.dumps(value), flush=True)
