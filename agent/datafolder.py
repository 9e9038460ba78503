"""The data folder: which one, that it is ours alone, and how small private files are written.

It belongs to one person and to one running agent at a time. What the files mean is their owners'
business (identity.py, page/token.py, the library, the history). Used by the entry point and them.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import platformdirs

from agent.settings import DEFAULT_PAGE_PORT, StartError

IDENTITY_FILE: Final = "identity.key"
PEER_PORT_FILE: Final = "peer-port"
PAGE_URL_FILE: Final = "page-url"
LOCK_FILE: Final = "lock"
_TEMPORARY: Final = ".new-"
# What can stand in a folder that holds nobody's data yet.
_NOT_DATA: Final = frozenset({LOCK_FILE, PAGE_URL_FILE, "lost+found", ".DS_Store"})


def default_folder(page_port: int) -> Path:
    """Name the folder of whoever uses this page port, so that several agents need no flags."""
    return Path(platformdirs.user_data_dir("tmge", appauthor=False)) / f"port-{page_port}"


def other_person(page_port: int) -> str | None:
    """Tell, in a sentence, how to be the person of another port, if one lives on this machine."""
    folders = default_folder(page_port).parent.glob(f"port-*/{IDENTITY_FILE}")
    ports = {text for path in folders if (text := path.parent.name[5:]).isdigit()}
    if not ports - {str(page_port)}:
        return None
    preferred = str(DEFAULT_PAGE_PORT)
    port = preferred if preferred in ports else min(ports - {str(page_port)}, key=int)
    return (
        f"This is a new person, because each page port has a data folder of its own; "
        f"to be the person of port {port}, start with --port {port} or "
        f"--data {default_folder(int(port))}."
    )


def is_data(path: Path) -> bool:
    """Say whether a file in a data folder is something that belongs to a person."""
    return path.name not in _NOT_DATA and not path.name.startswith(_TEMPORARY)


class DataFolder:
    """One person's folder, locked for this process until `close`."""

    def __init__(self, path: Path) -> None:
        """Make the folder (0700) if there is none, and lock it; StartError if that cannot be."""
        self.path = path
        with explained(path):
            self._lock = _prepare_and_lock(path)

    def close(self) -> None:
        """Give the folder back."""
        self._lock.close()

    def peer_port(self) -> int | None:
        """Recall the peer port of last time; `None` if there was none."""
        text = (read_private(self.path / PEER_PORT_FILE) or b"").strip()
        return int(text) if text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536 else None

    def remember_peer_port(self, port: int) -> None:
        """Keep the peer port for the next start: others may have opened it in a router."""
        if self.peer_port() != port:
            write_private(self.path / PEER_PORT_FILE, f"{port}\n".encode())

    def publish_page_url(self, url: str) -> None:
        """Write the address of the page, for scripts, once the agent listens."""
        write_private(self.path / PAGE_URL_FILE, f"{url}\n".encode())

    def withdraw_page_url(self) -> None:
        """Remove the address of the page: nothing listens there."""
        (self.path / PAGE_URL_FILE).unlink(missing_ok=True)


def _prepare_and_lock(path: Path) -> IO[bytes]:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if not (path / IDENTITY_FILE).exists() and any(is_data(entry) for entry in path.iterdir()):
        raise StartError(
            f"The folder {path} holds files, but no {IDENTITY_FILE}: if it is your data folder, "
            f"put {IDENTITY_FILE} back from a copy; if not, name an empty one with --data."
        )
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o700)
    # Never removed: a lock on a file that has lost its name protects nothing.
    lock = open(path / LOCK_FILE, "ab", opener=_private_opener)  # noqa: SIM115
    if not _try_lock(lock):
        lock.close()
        raise StartError(
            f"Another agent is using the data folder {path}: stop that one, "
            "or start this one with another --port or --data."
        )
    for left_over in path.glob(f"{_TEMPORARY}*"):
        left_over.unlink(missing_ok=True)
    return lock


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError as problem:
        if problem.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def _private_opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def write_private(path: Path, data: bytes) -> None:
    """Write a small file (0600) so that it is there whole or not at all, after a crash too.

    StartError if the disk refuses.
    """
    temporary = path.with_name(f"{_TEMPORARY}{path.name}-{secrets.token_hex(4)}")
    with explained(path.parent):
        try:
            with open(temporary, "xb", opener=_private_opener) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    if os.name != "posix":
        return  # a folder cannot be opened there
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_private(path: Path, limit: int = 4096) -> bytes | None:
    """Read a small file that nobody else may read; None if there is none.

    StartError if it cannot be trusted or read.
    """
    with explained(path):
        if not path.exists():
            return None
        # Without O_NONBLOCK, opening a named pipe would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise StartError(f"{path} is not a file: move it away, or put the real one back.")
            if os.name == "posix" and mode & 0o077:
                raise StartError(
                    f"Others on this machine may read {path}: if none did, run `chmod 600 {path}` and start again."
                )
            return file.read(limit)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into a StartError of one sentence."""
    try:
        yield
    except OSError as problem:
        raise StartError(_sentence(problem, path)) from None


def _sentence(problem: OSError, path: Path) -> str:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk that holds {path} is full: make room there, or name another with --data."
    if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} cannot be written: allow it, or name another folder with --data."
    if isinstance(problem, FileExistsError | NotADirectoryError):
        return f"{path} is not a folder: name another one with --data."
    reason = (problem.strerror or str(problem)).lower()
    return f"The data folder {path} cannot be used ({reason}): name another one with --data."
