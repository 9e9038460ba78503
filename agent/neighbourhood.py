"""What the neighbourhood offers: ports that routers open, and people in the same LAN. The agent's side.

Owns the child process that does the work (`agent.nearby`), and what it has told. Nobody ever waits for it: it starts
once the person has signed up, and what it finds comes by and by. A child that ends is started again after a pause; it
ends by itself when the agent does, because their pair of sockets closes. Used by the composition root.
"""

import contextlib
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.images import child_environment
from agent.nearby import lines
from agent.nearby.lines import Fault, Gone, LanPerson, Mapped, Mapping, Wish

__all__ = ["LanPerson", "Neighbourhood", "Wish"]

Address = tuple[str, int]

_ROOT: Final = Path(__file__).resolve().parent.parent
_PAUSE: Final = 2.0
_LONGEST_PAUSE: Final = 300.0
_STEADY_SECONDS: Final = 60.0
"""A child that has lived longer begins with the short pause again."""

_log = logging.getLogger(__name__)


class Neighbourhood:
    """One agent's neighbourhood. `start` when the person is signed up, and again when what is wished changes.

    `on_mapped` hears the addresses in the world at which routers have opened the peer port, each time all of them;
    `on_person` who announces themselves in the LAN (again when their addresses change), `on_gone` name and key of who
    does not any more. All are called from a thread of the neighbourhood's.
    """

    def __init__(
        self,
        on_mapped: Callable[[list[Address]], None],
        on_person: Callable[[LanPerson], None],
        on_gone: Callable[[str, bytes], None],
        pause: float = _PAUSE,
    ) -> None:
        self._on_mapped, self._on_person, self._on_gone = on_mapped, on_person, on_gone
        self._shortest = pause
        self.wish: Wish | None = None
        """What is to be done now, None for nothing."""
        self._child: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._wake, self._childless = threading.Event(), threading.Event()
        self._childless.set()
        self._people: dict[tuple[str, bytes], LanPerson] = {}
        self.pid: int | None = None
        """The child's, None while there is none."""
        self.mappings: tuple[Mapping, ...] = ()
        """All mappings, those included that only lead to another NAT."""
        self.notes: tuple[str, ...] = ()
        """A sentence for each router that opens nothing."""

    def start(self, wish: Wish) -> None:
        """Do this from now on, and nothing else; there is no child where that is nothing."""
        if wish == self.wish:
            return
        if wish.empty:
            self.stop()
            return
        self.wish = wish
        self._say(wish)
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="neighbourhood", daemon=True)
            self._thread.start()

    def network_changed(self) -> None:
        """Begin anew: the machine has other addresses, and perhaps another router."""
        if self.wish is not None:
            self._say(self.wish)

    def stop(self) -> None:
        """Do nothing any more; the child gives ports back and says goodbye by itself. `wait` may be called next."""
        self.wish = None
        child = self._child
        if child is not None:
            with contextlib.suppress(OSError):
                child.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float) -> None:
        """Wait until there is no child, but not longer than this."""
        self._childless.wait(seconds)

    def people(self) -> list[LanPerson]:
        """Return who announces themselves in the LAN now."""
        return list(self._people.values())

    # --- inside ---

    def _say(self, wish: Wish) -> None:
        child = self._child
        if child is not None:
            with contextlib.suppress(OSError):
                child.sendall(lines.write_wish(wish))

    def _run(self) -> None:
        """Have a child whenever there is a wish."""
        pause = self._shortest
        while True:
            self._wake.wait()
            self._wake.clear()
            while self.wish is not None:
                began = time.monotonic()
                ended = self._one_child(self.wish)
                if ended is None:
                    continue
                if time.monotonic() - began > _STEADY_SECONDS:
                    pause = self._shortest
                message = "The helper for routers and the local network %s; it starts again in %g s."
                _log.warning(message, ended, pause)
                self._wake.wait(pause)
                self._wake.clear()
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _one_child(self, wish: Wish) -> str | None:
        """Run a child until it ends; return how, None where that was wished."""
        ours, theirs = socket.socketpair()
        with ours:
            try:
                with theirs:
                    process = _spawn(theirs)
            except OSError as problem:
                return f"could not be started ({problem.strerror})"
            self._childless.clear()
            self.pid, self._child = process.pid, ours
            self._say(wish)
            if wish != self.wish:  # it has just been changed
                self._say(self.wish) if self.wish is not None else self.stop()
            why = self._listen(ours)
            self._child = None
            self._forget()
            wished = self.wish is None
        if why is not None:
            process.kill()
        status = process.wait()  # it gives ports back before; nobody else waits
        self.pid = None
        self._childless.set()
        return None if wished else why or f"ended with status {status}"

    def _listen(self, ours: socket.socket) -> str | None:
        """Take what the child says until it ends; return what was wrong with it."""
        with contextlib.suppress(OSError), ours.makefile("rb") as heard:
            while line := heard.readline(lines.LONGEST):
                try:
                    said = lines.read_said(line)
                except (ValueError, KeyError, TypeError, AttributeError):
                    return "made no sense"
                try:
                    self.take(said)
                except Exception as error:
                    _log.error("A fault in the agent, with its neighbourhood: %s: %s", type(error).__name__, error)
                    _log.debug("It was raised here.", exc_info=error)
        return None

    def take(self, said: lines.Said) -> None:
        """Take one thing that the child says."""
        match said:
            case Mapped(mappings, notes):
                before = self._addresses()
                self.mappings, self.notes = mappings, notes
                if self._addresses() != before:
                    self._on_mapped(self._addresses())
            case LanPerson():
                self._people[said.name, said.key] = said
                self._on_person(said)
            case Gone(name, key):
                if self._people.pop((name, key), None) is not None:
                    self._on_gone(name, key)
            case Fault(message):
                _log.warning("%s", message)

    def _addresses(self) -> list[Address]:
        """Return the mapped addresses at which the world reaches this agent."""
        return [(mapping.host, mapping.port) for mapping in self.mappings if mapping.world]

    def _forget(self) -> None:
        """Take back all that a child has told."""
        self.take(Mapped((), ()))
        for name, key in list(self._people):
            self.take(Gone(name, key))


def _spawn(theirs: socket.socket) -> subprocess.Popen[bytes]:
    command: list[str] = [sys.executable, "-P", "-m", "agent.nearby"]
    return subprocess.Popen(
        command,
        stdin=theirs.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=child_environment() | {"PYTHONPATH": str(_ROOT)},
        start_new_session=True,  # Ctrl-C in the terminal is the agent's business alone
    )
