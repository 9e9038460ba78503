"""The flags of the program. Pure: words in, values out; wrong usage ends with status 2 and one
sentence.

Used by the entry point alone.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from platformdirs import user_data_path

DEFAULT_UDP_PORT: Final = 3478
"""The port that RFC 8489 gives to STUN."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What was asked for; `udp_port`, `udp_port_2`, `redis` and `data` are None where nothing was said."""

    port: int
    host: str
    udp_port: int | None
    udp_port_2: int | None
    redis: str | None
    data: Path | None
    processes: int
    log_level: str
    leash: int | None
    """File descriptor of a worker's leash: given by the program to its own workers only."""

    def data_for(self, port: int) -> Path:
        """Return the data folder; by default one for each port, so that several may run here."""
        if self.data is not None:
            return self.data
        return Path(user_data_path("tmge", appauthor=False)) / f"rendezvous-{port}"


def parse(arguments: Sequence[str] | None) -> Flags:
    """Read the flags; SystemExit for wrong usage and for --help."""
    parser = _Parser(
        prog="rendezvous",
        description="Where TMGE agents sign up and find each other.",
        allow_abbrev=False,
    )
    parser.add_argument("--port", type=_port, default=8000, help="HTTP and Socket.IO (8000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--udp-port", type=_port, help=f"STUN ({DEFAULT_UDP_PORT})")
    second = "the second port of STUN, so that agents can tell how their NAT behaves (the one after --udp-port)"
    parser.add_argument("--udp-port-2", type=_port, help=second)
    parser.add_argument(
        "--redis",
        metavar="URL",
        default=os.environ.get("TMGE_REDIS") or None,
        help="the store (env TMGE_REDIS; default: an embedded server)",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the embedded server")
    parser.add_argument("--processes", type=_count, default=1, metavar="N", help="for HTTP (1)")
    levels = ["debug", "info", "warning", "error"]
    parser.add_argument("--log-level", default="warning", choices=levels, help="(warning)")
    parser.add_argument("--leash", type=int, help=argparse.SUPPRESS)
    return Flags(**vars(parser.parse_args(arguments)))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"rendezvous: {message}; see rendezvous --help.\n")


def _port(text: str) -> int:
    return _whole(text, 0, 65535)


def _count(text: str) -> int:
    return _whole(text, 1, 64)


def _whole(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9 and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
    return int(text)
