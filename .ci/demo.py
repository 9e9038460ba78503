"""The main job of ./run: a rendezvous and two agents on this machine, started and stopped as one.

Owns the three processes, their logs and data under .run/, and the order in which they come and go.
Knows of the programs only what their flags and the agent's page-url file say. Used by launch.py.
"""

import argparse
import contextlib
import http.client
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

from environment import PYTHON, STATE, SetupError, say

START_DEADLINE = 30.0
STOP_DEADLINE = 8.0
GLANCE = 0.05
DEFAULT_PORTS = (8000, 5001, 5002)
PEOPLE = ("alice", "bob")


@dataclass(frozen=True, slots=True)
class Options:
    """What the person asked for."""

    ports: tuple[int, int, int]
    data: Path
    open_browser: bool


class PartDied(Exception):
    """A program ended although nobody asked it to; the message carries its last sentence."""


class Asked(Exception):
    """A signal asks for the end."""


@dataclass(slots=True)
class Part:
    """One program of the main job, its log and its data folder."""

    name: str
    command: list[str]
    data: Path
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)
    old_page_url: int | None = field(init=False, default=None)

    def start(self) -> None:
        """Start it in a process group of its own, so that Ctrl-C reaches only the launcher."""
        self.old_page_url = self._page_url_written()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(PYTHON), "-m", *self.command, "--data", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    @property
    def page_url(self) -> Path:
        """The file in which an agent says where its page is."""
        return self.data / "page-url"

    def wrote_page_url(self) -> bool:
        """Tell whether this start, not an earlier one, wrote the address of its page."""
        return self._page_url_written() not in (None, self.old_page_url)

    def _page_url_written(self) -> int | None:
        try:
            return self.page_url.stat().st_mtime_ns
        except OSError:
            return None

    def last_words(self) -> str:
        """Return the last line of its log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def parse(arguments: Sequence[str]) -> Options:
    """Read the options of the main job; wrong usage ends the program with status 2."""
    parser = argparse.ArgumentParser(
        prog="./run",
        description="Start a rendezvous and two agents. `./run help` lists the rest.",
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the addresses of the pages")
    parser.add_argument(
        "--ports",
        type=_three_ports,
        default=DEFAULT_PORTS,
        metavar="RENDEZVOUS,ALICE,BOB",
        help="other ports than 8000,5001,5002",
    )
    parser.add_argument("--data", type=Path, default=STATE, metavar="DIR", help="another folder than .run")
    parsed = parser.parse_args(arguments)
    return Options(parsed.ports, parsed.data.absolute(), open_browser=not parsed.no_browser)


def _three_ports(text: str) -> tuple[int, int, int]:
    numbers = [int(word) if word.isdecimal() else 0 for word in text.split(",")]
    if len(set(numbers)) != 3 or not all(0 < number < 65536 for number in numbers):
        raise argparse.ArgumentTypeError("three different ports, as in 8100,5101,5102")
    return numbers[0], numbers[1], numbers[2]


def run(options: Options) -> int:
    """Start everything, stay until Ctrl-C or a death, stop everything; return the exit status."""
    began = time.monotonic()
    try:
        options.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"Cannot make the folder {options.data}: {error.strerror}.") from None
    rendezvous, agents = _parts(options)
    started: list[Part] = []
    try:
        with _signals_as_exceptions():
            for part in (rendezvous, *agents):
                part.start()
                started.append(part)
                if part is rendezvous:
                    url = f"http://127.0.0.1:{options.ports[0]}/users?limit=1"
                    _wait(started, partial(_answers, url, b'"users"'))
            for agent in agents:
                _wait(started, agent.wrote_page_url)
                url = agent.page_url.read_text().strip()
                _wait(started, partial(_answers, url))
                say(f"{agent.name:6} {url}")
            seconds = time.monotonic() - began
            say(f"Ready in {seconds:.1f} s. Ctrl-C stops it; logs are in {options.data}.")
            _wait(started, lambda: False, deadline=None)
    except Asked:
        status = 0
    except PartDied as death:
        status = 1
        say(str(death))
    finally:
        all_stopped = _stop(started)
    return status if all_stopped else 1


def _parts(options: Options) -> tuple[Part, list[Part]]:
    rendezvous_port, *agent_ports = options.ports
    command = ["rendezvous", "--port", str(rendezvous_port)]
    if options.ports != DEFAULT_PORTS:
        command += ["--udp-port", str(rendezvous_port)]
    rendezvous = _part("rendezvous", command, options)
    common = ["--rendezvous", f"http://127.0.0.1:{rendezvous_port}"]
    if not options.open_browser:
        common.append("--no-browser")
    agents = [
        _part(name, ["agent", "--port", str(port), "--name", name, *common], options)
        for name, port in zip(PEOPLE, agent_ports, strict=True)
    ]
    return rendezvous, agents


def _part(name: str, command: list[str], options: Options) -> Part:
    return Part(name, command, options.data / name, options.data / f"{name}.log")


def _wait(parts: Sequence[Part], ready: Callable[[], bool], deadline: float | None = START_DEADLINE) -> None:
    """Return once `ready` says so; PartDied if a part ends first or `deadline` seconds pass."""
    end = None if deadline is None else time.monotonic() + deadline
    while not ready():
        for part in parts:
            code = part.process.poll()
            if code is not None:
                words = part.last_words()
                cure = " `./run --ports 8100,5101,5102` takes other ports." if "in use" in words else ""
                raise PartDied(f"{part.name} ended with status {code}: {words}{cure}")
        if end is not None and time.monotonic() > end:
            newest = parts[-1]
            raise PartDied(f"{newest.name} does not answer; see {newest.log}.")
        time.sleep(GLANCE)


def _answers(url: str, expected: bytes = b"") -> bool:
    """Tell whether HTTP is spoken there; without `expected`, a redirect or a refusal is an answer too."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    try:
        with opener.open(url, timeout=2) as answer:
            return expected in answer.read(1 << 16)
    except urllib.error.HTTPError as error:
        return error.code < 500 and not expected
    except (OSError, http.client.HTTPException):
        return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _stop(parts: Sequence[Part]) -> bool:
    """Stop the agents, then the rendezvous, so that goodbyes are heard; false if one was killed."""
    all_stopped = True
    agents, rendezvous = [part for part in parts if part.name in PEOPLE], parts[:1]
    for group in (agents, rendezvous):
        for part in group:
            if part.process.poll() is None:
                part.process.terminate()
        for part in group:
            try:
                part.process.wait(STOP_DEADLINE)
            except subprocess.TimeoutExpired:
                part.process.kill()
                part.process.wait()
                say(f"{part.name} did not stop by itself and was killed.")
                all_stopped = False
    return all_stopped


@contextlib.contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Turn the first Ctrl-C, hang-up or SIGTERM into Asked, and ignore what comes after it."""
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def handle(_number: int, _frame: FrameType | None) -> None:
        for number in wanted:
            signal.signal(number, signal.SIG_IGN)
        raise Asked

    for number in wanted:
        signal.signal(number, handle)
    yield
