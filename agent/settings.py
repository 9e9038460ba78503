"""The agent's flags: what may be said on the command line, and what it means.

Owns the wording of wrong usage, and nothing that touches a disk or a socket. Used by the entry
point, which hands the frozen result to everybody who needs a part of it.
"""

import argparse
import ipaddress
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

from agent.invite import read_invite

DEFAULT_PAGE_PORT: Final = 5050
DEFAULT_RENDEZVOUS: Final = "http://127.0.0.1:8000"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\]")


class StartError(Exception):
    """Say in one sentence what keeps the agent from starting, and what would help."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What this agent was told: `None` where it is to find the value by itself."""

    page_port: int = DEFAULT_PAGE_PORT
    peer_port: int | None = None
    name: str | None = None
    rendezvous: str = DEFAULT_RENDEZVOUS
    rendezvous_given: bool = False
    invite: str | None = None
    signup_code: str | None = None
    data: Path | None = None
    page_host: str | None = None
    allow_hosts: tuple[str, ...] = ()
    open_browser: bool = True
    terminal: bool = False
    log_level: str = "info"
    no_candidates: tuple[Network, ...] = ()
    direct: bool = False
    lan: bool = True
    port_mapping: bool = True


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one sentence."""

    def error(self, message: str) -> NoReturn:
        sentence = message[:1].upper() + message[1:]
        self.exit(2, f"{sentence.rstrip('.')}. (agent --help lists what can be said.)\n")


def parse_settings(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the command line; wrong usage ends the program with status 2 and one sentence."""
    parser = _build_parser(environment)
    given = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    rendezvous_given = given.rendezvous is not None or bool(environment.get("TMGE_RENDEZVOUS"))
    if given.rendezvous is None:
        try:
            given.rendezvous = _url(environment.get("TMGE_RENDEZVOUS") or DEFAULT_RENDEZVOUS)
        except argparse.ArgumentTypeError as problem:
            parser.error(f"the environment variable TMGE_RENDEZVOUS: {problem}")
    if given.peer_port == given.port:
        parser.error("--port and --peer-port must differ")
    return Settings(
        page_port=given.port,
        peer_port=given.peer_port,
        name=given.name,
        rendezvous=given.rendezvous,
        rendezvous_given=rendezvous_given,
        invite=given.invite,
        signup_code=given.signup_code or environment.get("TMGE_SIGNUP_CODE") or None,
        data=given.data,
        page_host=given.page_host,
        allow_hosts=tuple(dict.fromkeys(given.allow_host)),
        open_browser=not given.no_browser and not given.terminal,
        terminal=given.terminal,
        log_level=given.log_level or ("warning" if given.terminal else "info"),
        no_candidates=given.no_candidates,
        direct=given.direct,
        lan=not given.no_lan,
        port_mapping=not given.no_port_mapping,
    )


def _build_parser(environment: Mapping[str, str]) -> Parser:
    parser = Parser(
        prog="agent",
        allow_abbrev=False,
        description="Exchange quotes and pictures with people who also said yes.",
        epilog="Commands: `agent invite` prints a link that invites others to you; users, connect, ask-quote, "
        "ask-image, requests, accept and reject use an agent that runs (`agent users --help`); `agent doctor [NAME]` "
        "says how you are connected, and why.",
    )
    add = parser.add_argument
    add("--port", type=port_number, default=DEFAULT_PAGE_PORT, metavar="N", help="the page (5050)")
    add("--peer-port", type=port_number, metavar="N", help="UDP and TCP for peers (random, remembered)")
    add("--name", type=_name, metavar="NAME", help="sign up under this name by itself")
    add(
        "--rendezvous",
        type=_url,
        metavar="URL",
        help=f"where people meet (or TMGE_RENDEZVOUS; {DEFAULT_RENDEZVOUS})",
    )
    add("--invite", type=_invite, metavar="LINK", help="open an invitation")
    code = "what the rendezvous wants of newcomers, if anything (or TMGE_SIGNUP_CODE)"
    add("--signup-code", metavar="CODE", help=code)
    add("--data", type=_folder, metavar="DIR", help="data folder (one for each page port)")
    add("--page-host", type=_address, metavar="ADDR", help="page address (127.0.0.1 and ::1)")
    add(
        "--allow-host",
        type=_host_and_port,
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="accept this Host and its Origin too (repeatable)",
    )
    left_out = "networks whose addresses no peer is told"
    add("--no-candidates", type=_networks, default=(), metavar="CIDR[,CIDR]", help=left_out)
    add("--direct", action="store_true", help="let strangers see this machine's address, and reach it without a relay")
    add("--no-port-mapping", action="store_true", help="do not ask the router to open a port")
    add("--no-lan", action="store_true", help="neither be found in this local network, nor look for others there")
    add("--no-browser", action="store_true", help="do not open the page in a browser")
    add("--terminal", action="store_true", help="use it here, in a text menu, instead of in a browser")
    add("--log-level", choices=LOG_LEVELS, help="how much to say (info)")
    return parser


def port_number(text: str) -> int:
    """Read a port, as argparse wants it."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535 and len(text) <= 5):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 1 to 65535")
    return int(text)


def _name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("a name cannot be empty")
    return text


def _invite(text: str) -> str:
    try:
        return read_invite(text).link()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _url(text: str) -> str:
    """Accept http(s)://HOST[:PORT] alone: whatever else a URL can hold means nothing here."""
    wrong = argparse.ArgumentTypeError(f"{text!r} is not a rendezvous address: it must look like http://HOST:PORT")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise wrong from None
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname or ""
    plain = text.isprintable() and "@" not in url.netloc and not url.query and not url.fragment
    known = url.scheme in ("http", "https") and _HOST.fullmatch(host) and port != 0
    if not plain or not known or url.path not in ("", "/"):
        raise wrong
    return f"{url.scheme}://{host}" + (f":{port}" if port else "")


def _folder(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError("a data folder needs a name")
    return Path(text).expanduser().absolute()


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an address of this machine, such as 127.0.0.1 or 0.0.0.0"
        ) from None


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(","))
    except ValueError:
        example = "networks such as 10.0.0.0/8 or fd00::/8, with commas between them"
        raise argparse.ArgumentTypeError(f"{text!r} is not of that form: name {example}") from None


def _host_and_port(text: str) -> str:
    host, colon, number = text.lower().rpartition(":")
    if not colon or not _HOST.fullmatch(host):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form HOST:PORT")
    return f"{host}:{port_number(number)}"
