"""Several processes that serve one address: started, watched, started again, stopped. Used by the
entry point.

Each worker is this same program on a leash: one end of a socket pair. It says on it that it
listens; when the other end closes, whether told to or because its keeper died, it stops. So no
worker outlives the rendezvous, on any system.
"""

import logging
import os
import socket
import subprocess
import sys
import threading
from typing import Final

READY: Final = b"+"
_START_SECONDS: Final = 30.0

log = logging.getLogger(__name__)


class Workers:
    """`count` processes of `python -m rendezvous` with the given arguments, and `--leash`.

    The store's URL may hold a password, so it goes in the environment, which other users cannot
    read.
    """

    def __init__(self, count: int, arguments: list[str], url: str, stop_seconds: float) -> None:
        """Take also the seconds after which a worker that was told to stop is killed."""
        self._count = count
        self._stop_seconds = stop_seconds
        self._command = [sys.executable, "-m", "rendezvous", *arguments]
        self._environment = os.environ | {"TMGE_REDIS": url}
        self._leashes: dict[int, socket.socket] = {}
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def start(self) -> bool:
        """Start all of them; say whether all of them listen."""
        first = [self._spawn() for _ in range(self._count)]
        listening = [_is_ready(leash) for _, leash in first]
        if not all(listening):
            self._stopping.set()
        for process, leash in first:
            thread = threading.Thread(target=self._keep, args=(process, leash), daemon=True)
            self._threads.append(thread)
            thread.start()
        return all(listening)

    def stop(self) -> None:
        """Stop all of them cleanly."""
        self._stopping.set()
        for leash in list(self._leashes.values()):
            leash.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _spawn(self) -> tuple["subprocess.Popen[bytes]", socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [*self._command, "--leash", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=self._environment,
            )
        self._leashes[process.pid] = ours
        return process, ours

    def _keep(self, process: "subprocess.Popen[bytes]", leash: socket.socket) -> None:
        """Wait for the end of a worker; unless it was wanted, start another in its place, and so
        on.
        """
        while True:
            leash.settimeout(None)
            while leash.recv(16):
                pass  # only its end matters
            status = self._wait(process)
            del self._leashes[process.pid]
            leash.close()
            if self._stopping.is_set():
                return
            log.error("Worker %d ended by itself (status %s): starting another.", process.pid, status)
            if self._stopping.wait(0.2):
                return
            process, leash = self._spawn()

    def _wait(self, process: "subprocess.Popen[bytes]") -> int:
        """Wait for the end of a process that has been told to stop; end it when it does not listen."""
        try:
            return process.wait(self._stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _is_ready(leash: socket.socket) -> bool:
    """Wait until a worker says that it listens; False when it ended instead."""
    leash.settimeout(_START_SECONDS)
    try:
        return leash.recv(1) == READY
    except TimeoutError:
        return False
