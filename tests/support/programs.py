"""Starts and stops the real programs, `agent` and `rendezvous`, for tests that look at them from outside.

Each is a process on ports and a data folder of its own; what it says is read line by line as it comes, and kept for
whoever must find out why a test failed. Knows nothing of what the programs answer: that is `local_client`'s.
"""

import contextlib
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from unittest import mock

from agent.identity import load_or_make_identity
from agent.library import Library

ROOT: Final = Path(__file__).resolve().parents[2]
PATIENCE: Final = 60.0
"""Seconds until something that should take one counts as not happening: other tests may keep both cores busy."""
STOP_SECONDS: Final = 20.0
_PORTS: Final = range(20_000, 32_000)  # outside what Linux and macOS give to outgoing connections
_taken: set[int] = set()


def free_port() -> int:
    """Return a port that nobody has now, TCP or UDP, and that no test of this run gets again."""
    while True:
        port = secrets.choice(_PORTS)
        if port not in _taken and _is_free(port):
            _taken.add(port)
            return port


def _is_free(port: int) -> bool:
    with contextlib.ExitStack() as opened:
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                opened.enter_context(socket.socket(type=kind)).bind(("", port))
        except OSError:
            return False
    return True


class Program:
    """One process of ours, by its command line; `start` may be called again once it has ended."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.command = tuple(command)
        self._lines: list[str] = []
        self._heard = threading.Condition()
        self._silent = True
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """Its process id, for signals to it and it alone."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it has said so far, in all its lives."""
        with self._heard:
            return "\n".join(self._lines)

    def start(self) -> None:
        """Start it, without waiting for anything but the last words of its life before."""
        if self._reader is not None:
            self._reader.join(STOP_SECONDS)
        self._process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        with self._heard:
            self._lines.append(f"--- {self.name}: started as {self._process.pid}")
            self._silent = False
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def wait_for_line(self, what: str, seconds: float = PATIENCE) -> re.Match[str]:
        """Wait until it has said something that matches, since its last start; return the match."""
        with self._heard:
            begun = max(index for index, line in enumerate(self._lines) if line.startswith("--- "))
            self._heard.wait_for(lambda: self._silent or self._find(what, begun) is not None, seconds)
            found = self._find(what, begun)
        if found is None and not self._silent:
            self._show_where_it_stands()
        assert found is not None, f"{self.name} did not say {what!r}, but:\n{self.log}"
        return found

    def _show_where_it_stands(self) -> None:
        """End it so that it writes into its log what it was doing."""
        self.send(signal.SIGABRT)
        with self._heard:
            self._heard.wait_for(lambda: self._silent, STOP_SECONDS)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until it ends; return its exit status."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end; it said:\n{self.log}") from None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens where it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """Ask it to stop; return its exit status."""
        self.send(signal.SIGTERM)
        return self.wait()

    def ask_to_end(self) -> None:
        """Send it what ends it, should it be there and even should it stand still; wait for nothing."""
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)

    def end(self) -> None:
        """See to it that it has ended, whatever became of it."""
        if self._process is None:
            return
        self.ask_to_end()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:
                with self._heard:
                    self._lines.append(line.rstrip("\n"))
                    self._heard.notify_all()
        with self._heard:
            self._silent = True
            self._heard.notify_all()

    def _find(self, what: str, begun: int) -> re.Match[str] | None:
        return next((found for line in self._lines[begun + 1 :] if (found := re.search(what, line))), None)


class Rendezvous(Program):
    """A rendezvous on its embedded server."""

    def __init__(self, data: Path, *more: str) -> None:
        self.port = free_port()
        self.data = data
        flags = ("--port", str(self.port), "--udp-port", str(free_port()), "--data", str(data), *more)
        super().__init__("rendezvous", (sys.executable, "-m", "rendezvous", *flags))

    @property
    def url(self) -> str:
        """Its address, as agents are told it."""
        return f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self) -> None:
        """Wait until it serves."""
        self.wait_for_line("^rendezvous on http://")


class Agent(Program):
    """An agent of one person. `wrapper` is what runs the command, where that is not we."""

    def __init__(
        self,
        name: str,
        data: Path,
        rendezvous: str | None,
        *more: str,
        signs_up: bool = True,
        wrapper: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self.data = data
        self.person = name
        flags = ["--port", str(self.port), "--data", str(data), "--no-browser", *more]
        if rendezvous is not None:
            flags += ["--rendezvous", rendezvous]
        if signs_up:
            flags += ["--name", name]
        super().__init__(f"agent of {name}", (*wrapper, sys.executable, "-m", "agent", *flags))

    @property
    def page_url(self) -> str:
        """The address of its page, token included, as a person would copy it from the terminal."""
        return self.wait_for_line(r"^http://localhost:\d+/\?token=\S+$").group()

    def wait_until_ready(self) -> None:
        """Wait until its page and peer port listen, and that it has said so where scripts look."""
        said = self.page_url
        assert (self.data / "page-url").read_text().strip() == said


ProgramT = TypeVar("ProgramT", Rendezvous, Agent)


class Programs:
    """Programs that are started together, and all stopped at the end of the block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._all: list[Program] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in self._all:
            if isinstance(program, Agent):  # all at once, and while there is somebody to say goodbye to
                program.ask_to_end()
        for program in reversed(self._all):
            program.end()

    def rendezvous(self) -> Rendezvous:
        """Start a rendezvous, and wait until it serves."""
        started = self.run(Rendezvous(self.folder / "rendezvous"))
        started.wait_until_ready()
        return started

    def agents(self, rendezvous: str, *names: str) -> list[Agent]:
        """Start agents, all at once, for people who are signed up by these names; wait until they are ready."""
        started = [self.run(Agent(name, furnished(self.folder / name), rendezvous)) for name in names]
        for agent in started:
            agent.wait_until_ready()
        return started

    def run(self, program: ProgramT) -> ProgramT:
        """Start one program, and stop it at the end."""
        self._all.append(program)
        program.start()
        return program

    def logs(self) -> Iterator[tuple[str, str]]:
        """Return what each program has said."""
        for program in self._all:
            yield program.name, program.log


def furnished(data: Path) -> Path:
    """Make a data folder whose person has the starter quotes, and spare its first start the drawing of pictures."""
    data.mkdir(mode=0o700, parents=True)
    load_or_make_identity(data)
    with mock.patch("agent.starter.PICTURES", ()), contextlib.closing(Library(data / "library")) as library:
        library.ensure_starter(lambda item: None)
    with contextlib.closing(sqlite3.connect(data / "library" / "library.db")) as notes, notes:
        notes.execute("UPDATE notes SET value = 1000 WHERE name = 'starter'")
    return data


def run_to_end(program: str, *flags: str) -> tuple[int, str]:
    """Run a program that should end by itself; return its exit status and what it said last on stderr."""
    ended = subprocess.run(
        [sys.executable, "-m", program, *flags],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, ended.stderr.strip().rpartition("\n")[2]


def environment() -> dict[str, str]:
    """Return the environment for programs: none of our own variables, and compiled modules are kept for the next."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("TMGE_")}
    if given.pop("PYTHONDONTWRITEBYTECODE", None):
        given["PYTHONPYCACHEPREFIX"] = str(ROOT / ".pytest_cache" / "bytecode")
    given["PYTHONFAULTHANDLER"] = "1"
    return given
