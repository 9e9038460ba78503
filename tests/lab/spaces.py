"""Network namespaces of the lab: made, entered, removed, also those that a killed lab has left behind.

Owns their names, which say whose they are, and knows nothing of what joins them: that is topology.py's. Linux only, and
only for root: `why_not` says so.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

FOLDER: Final = Path("/run/netns")
TUN: Final = "/dev/net/tun"
_PATIENCE: Final = 20.0
_PREFIX: Final = "tmge-lab"
_CLONE_NEWNET: Final = 0x40000000
_CAP_NET_ADMIN, _CAP_NET_RAW, _CAP_SYS_ADMIN = 12, 13, 21  # which root in a container may lack
_libc: Final = ctypes.CDLL(None, use_errno=True)
_numbers: Final = count(1)
_making: Final = threading.Lock()
_ended: Final = threading.Event()


class LabError(Exception):
    """The lab could not be built; the message is one sentence for a person."""


def why_not() -> str | None:
    """Return one sentence if there can be no lab here, None if there can."""
    if sys.platform != "linux":
        return "The lab needs Linux: it is made of network namespaces."
    needed = (_CAP_NET_ADMIN, _CAP_NET_RAW, _CAP_SYS_ADMIN)
    if os.geteuid() != 0 or not all(_capabilities() >> bit & 1 for bit in needed):
        return "The lab needs root, to make network namespaces: try again with sudo."
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as problem:
        return f"The lab needs {TUN} ({problem.strerror}): load the kernel's module with `modprobe tun`."
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program) is None:
            return f"The lab needs `{program}`: run `apt install {package}`."
    return None


def _capabilities() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("CapEff:")[2].split()[0], 16)


def run(*command: str, told: str = "") -> str:
    """Run a command, with what it is told on stdin; return what it says, LabError with its last words if it fails."""
    ended = subprocess.run(command, input=told, capture_output=True, text=True)
    if ended.returncode != 0:
        raise LabError(f"`{' '.join(command)}` failed: {ended.stderr.strip() or 'without a word'}")
    return ended.stdout


@dataclass(frozen=True, slots=True)
class Space:
    """One network namespace, by its name."""

    name: str

    def ip(self, *lines: str) -> None:
        """Have `ip` do these things inside."""
        run("ip", "-n", self.name, "-batch", "-", told="\n".join(lines))

    def run(self, *command: str, told: str = "") -> str:
        """Run a command inside; as `run`."""
        with self.entered():
            return run(*command, told=told)

    def wait_for_link(self, device: str) -> None:
        """Wait until a device carries packets: the kernel takes up to a second, and drops them until then."""
        deadline = time.monotonic() + _PATIENCE
        while "state UP" not in run("ip", "-n", self.name, "link", "show", "dev", device):
            if time.monotonic() > deadline:
                raise LabError(f"The device {device} did not come up in {self.name}.")

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Make this thread's sockets and processes inside for the length of a block; what it made stays there."""
        with Path("/proc/thread-self/ns/net").open() as home, (FOLDER / self.name).open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def set(self, **values: int) -> None:
        """Set numbers below /proc/sys/net; `__` in a name stands for the slash."""
        with self.entered():
            for name, value in values.items():
                Path("/proc/sys/net", *name.split("__")).write_text(str(value))


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        problem = ctypes.get_errno()
        raise LabError(f"A network namespace could not be entered: {os.strerror(problem)}.")


class Spaces:
    """Namespaces of one cell, until the end of the `with` block."""

    def __init__(self) -> None:
        self._number = next(_numbers)
        self._made: list[Space] = []

    def __enter__(self) -> "Spaces":
        return self

    def __exit__(self, *problem: object) -> None:
        remove(space.name for space in self._made)

    def make(self, role: str) -> Space:
        """Make a namespace whose name ends with the role that it plays; its loopback is up."""
        space = Space(f"{_prefix(os.getpid())}{self._number}-{role}")
        with _making:
            if _ended.is_set():
                raise LabError("The lab has ended.")
            self._made.append(space)
            run("ip", "netns", "add", space.name)
        space.ip("link set lo up")
        return space


def _prefix(pid: int) -> str:
    """Return how the names of a process's namespaces begin: with its start too, for its id is given again."""
    began = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{_PREFIX}-{pid}-{began}-"


def remove(names: Iterable[str]) -> None:
    """Remove namespaces, and end what still runs inside."""
    names = [name for name in names if (FOLDER / name).exists()]
    for name in names:
        listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
        for pid in map(int, listed.stdout.split()):
            if pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    for name in names:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


def temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder for a cell's data; it is found by its name if this process cannot remove it."""
    return tempfile.TemporaryDirectory(prefix=_prefix(os.getpid()))


def remove_mine() -> None:
    """Remove what this process has made and not removed, and make no more: for an end in the middle."""
    with _making:
        _ended.set()
    _remove_all(_named(_prefix(os.getpid())))


def reap() -> Sequence[str]:
    """Remove what labs have left behind that were killed; return the names."""
    left = [name for name in _named(f"{_PREFIX}-") if not name.startswith(_prefix_of_living(name))]
    _remove_all(left)
    return left


def _remove_all(names: Sequence[str]) -> None:
    """Remove the namespaces and the folders of these names."""
    remove(names)
    for name in names:
        shutil.rmtree(Path(tempfile.gettempdir(), name), ignore_errors=True)


def _named(prefix: str) -> list[str]:
    """Return the names of namespaces and temporary folders that begin so."""
    places = (FOLDER, Path(tempfile.gettempdir()))
    return sorted(path.name for place in places for path in place.glob(f"{prefix}*"))


def _prefix_of_living(name: str) -> str:
    """Return how the names begin of the process that a name says; something that fits none where it has ended."""
    try:
        return _prefix(int(name.split("-")[2]))
    except (OSError, ValueError, IndexError):
        return "-"
