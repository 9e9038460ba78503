"""The flags of the program, and the environment that they may stand in. Pure: words in, values out; wrong usage ends
with status 2 and one sentence.

Used by the entry point alone. Each flag `--some-thing` is also read from `TMGE_SOME_THING`; a flag overrides it.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from platformdirs import user_data_path

from rendezvous.limits import Rules, read_rules
from rendezvous.proxies import Network, read_networks
from rendezvous.relay_budget import Rules as Budgets

DEFAULT_UDP_PORT: Final = 3478
"""The port that RFC 8489 gives to STUN."""
MAX_PROCESSES: Final = 64
_NOT_FOR_PEOPLE: Final = ("leash", "stun_ports")
_SWITCHES: Final = ("show_people", "no_relay")
_MULTIPLES: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, slots=True)
class Flags:
    """What was asked for; None where nothing was said and there is no fixed default."""

    port: int
    host: str
    udp_port: int | None
    udp_port_2: int | None
    relay_address: str
    no_relay: bool
    relay_rate: int
    relay_ticket_bytes: int
    relay_person_bytes: int
    redis: str | None
    data: Path | None
    processes: int
    max_connections: int
    trusted_proxy: tuple[Network, ...]
    limit: Rules
    signup_code: str
    show_people: bool
    metrics_port: int | None
    metrics_host: str
    drain_delay: int
    drain_seconds: int
    log_level: str
    log_format: Literal["text", "json"]
    stun_ports: tuple[int, ...]
    """UDP ports that answer STUN: told by the program to its own workers only."""
    leash: int | None
    """File descriptor of a worker's leash: given by the program to its own workers only."""

    @property
    def budgets(self) -> Budgets:
        """Return how much the relay carries."""
        return Budgets.of(self.relay_rate, self.relay_ticket_bytes, self.relay_person_bytes)

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
        epilog="Each flag may also stand in the environment: --some-thing as TMGE_SOME_THING.",
        allow_abbrev=False,
    )
    add = _Adder(parser)
    add("port", 8000, "HTTP and Socket.IO", type=_port)
    add("host", "127.0.0.1", "address to listen on; :: is all, IPv4 and IPv6", metavar="ADDR")
    add("udp-port", None, f"STUN ({DEFAULT_UDP_PORT})", type=_port)
    add("udp-port-2", None, "STUN's second port: agents tell by it how their NAT behaves (the next)", type=_port)
    about = "where agents reach the relay, the UDP port of this machine (this host, --udp-port)"
    add("relay-address", "", about, type=_address, metavar="HOST:PORT")
    add("no-relay", "no", "forward nothing: who cannot reach each other do not", type=_yes, nargs="?", const=True)
    add("relay-rate", int(Budgets().ticket_rate), "bytes a second of two people", type=_bytes, metavar="N")
    add("relay-ticket-bytes", Budgets().ticket_bytes, "bytes of two people in an hour", type=_bytes, metavar="N")
    add("relay-person-bytes", int(Budgets().person_bytes), "bytes of one person in an hour", type=_bytes, metavar="N")
    add("redis", None, "the store (an embedded server)", metavar="URL")
    add("data", None, "folder of the embedded server", type=Path, metavar="DIR")
    add("processes", 1, "processes that serve HTTP", type=_count, metavar="N")
    add("max-connections", 20_000, "for each process; one more is answered 503", type=_connections, metavar="N")
    add("trusted-proxy", "", "addresses whose X-Forwarded-For counts", type=_networks, metavar="CIDR,…")
    rates = ", ".join(f"{field.name}={getattr(Rules(), field.name)}" for field in fields(Rules))
    add("limit", "", f"other rates than {rates}; or off", type=_rules, metavar="NAME=RATE,…")
    add("signup-code", "", "what a new sign-up must bring (nothing)", type=_code, metavar="CODE")
    add("show-people", "no", "name listed people who are online on the page at /", type=_yes, nargs="?", const=True)
    add("metrics-port", None, "Prometheus metrics, workers on the ports after it (none)", type=_port)
    add("metrics-host", "127.0.0.1", "where metrics are served", metavar="ADDR")
    add("drain-delay", 0, "seconds between being not ready and not listening, at a stop", type=_seconds, metavar="N")
    add("drain-seconds", 5, "seconds after that in which connections move elsewhere", type=_seconds, metavar="N")
    add("log-level", "warning", "how much is logged", choices=["debug", "info", "warning", "error"])
    add("log-format", "text", "lines of text or of JSON", choices=["text", "json"])
    parser.add_argument("--stun-ports", type=_ports, default=(), help=argparse.SUPPRESS)
    parser.add_argument("--leash", type=int, help=argparse.SUPPRESS)
    return Flags(**vars(parser.parse_args(arguments)))


def for_workers(arguments: Sequence[str] | None) -> Mapping[str, str]:
    """Return what was asked for as an environment, for workers: other users cannot read it, and it may hold secrets."""
    given: dict[str, str] = {}
    parser = _Parser(allow_abbrev=False)
    for field in fields(Flags):
        if field.name not in _NOT_FOR_PEOPLE:
            switch: dict[str, Any] = {"nargs": "?", "const": "yes"} if field.name in _SWITCHES else {}
            parser.add_argument(_flag(field.name), dest=field.name, **switch)
    for name, value in vars(parser.parse_args(arguments)).items():
        if value is not None:
            given[_variable(name)] = value
    return given


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"rendezvous: {message}; see rendezvous --help.\n")


class _Adder:
    """Adds flags that may also stand in the environment."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser

    def __call__(self, name: str, default: object, about: str, **options: Any) -> None:
        """Add one; what stands in the environment is read as the flag's own text would be."""
        said = os.environ.get(_variable(name)) or default
        if default not in (None, ""):
            about = f"{about} ({default})"
        self._parser.add_argument(f"--{name}", default=said, help=about.replace("%", "%%"), **options)
        if "choices" in options and said not in options["choices"]:
            self._parser.error(f"{_variable(name)} must be one of {', '.join(options['choices'])}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return "TMGE_" + name.upper().replace("-", "_")


def _port(text: str) -> int:
    return _whole(text, 0, 65535)


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    bare = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if text and (not colon or bare or not text.isprintable() or len(text.encode()) > 255 or _whole(port, 1, 65535) < 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, with an IPv6 address in brackets")
    return text


def _count(text: str) -> int:
    return _whole(text, 1, MAX_PROCESSES)


def _connections(text: str) -> int:
    return _whole(text, 1, 1_000_000)


def _whole(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9 and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
    return int(text)


def _bytes(text: str) -> int:
    number, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    fits = number.isascii() and number.isdigit() and len(number) < 16 and unit in _MULTIPLES
    if not (fits and 1 <= int(number) * _MULTIPLES[unit] <= 2**50):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes, such as 1000000, 500K, 8M or 4G")
    return int(number) * _MULTIPLES[unit]


def _seconds(text: str) -> int:
    return _whole(text, 0, 600)


def _ports(text: str) -> tuple[int, ...]:
    return tuple(_port(part) for part in text.split(",") if part)


def _code(text: str) -> str:
    if len(text) > 128 or not text.isprintable():
        raise argparse.ArgumentTypeError("a code has at most 128 printable characters")
    return text


def _yes(text: str) -> bool:
    if text.lower() not in ("yes", "no", "1", "0", "true", "false", "on", "off"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return text.lower() in ("yes", "1", "true", "on")


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return read_networks(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _rules(text: str) -> Rules:
    try:
        return read_rules(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
