"""Opening and changing the agent's SQLite files: owns how, never what stands in them.

Used by `history` and `library`. One connection for each file, shared by all green threads (and, in
tests, real ones): a change is a short transaction that never waits for anything but the disk.
"""

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agent.protocol.errors import UsageError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class DamagedDatabase(Exception):
    """A file cannot be understood; it is left as it is. The message is a sentence for the person."""


def disk_error(error: OSError, what: str) -> UsageError:
    """Say in a sentence why the disk did not take `what` ("the picture")."""
    if error.errno in _FULL:
        return UsageError("limit", f"The disk is full: {what} was not saved.")
    if error.errno in _REFUSED:
        return UsageError("limit", f"The data folder cannot be written to: {what} was not saved.")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return UsageError("limit", f"The disk did not take {what}: {reason}.")


def private_folder(folder: Path) -> Path:
    """Make a folder that only its owner may enter, unless it is there already, and return it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UsageError("limit", f"The folder {folder} cannot be used: {reason}.") from error
    return folder


class Database:
    """One SQLite file (WAL, 0600), migrated by `PRAGMA user_version`.

    `steps[n]` is the script that leads from version n to n + 1; steps are only ever appended. With
    synchronous=NORMAL a kill -9 loses nothing and a power cut may lose the last changes, but never
    tears the file; a change that must survive a power cut asks for `durable`.
    """

    def __init__(self, path: Path, steps: Sequence[str]) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._closed = False
        private_folder(path.parent)
        with self._explained():
            # SQLite gives its -wal and -shm files the mode of the main file.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(path, flags, 0o600))
            path.chmod(0o600)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(steps)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, steps: Sequence[str]) -> None:
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        (health,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if health != "ok":
            raise self._damaged()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > len(steps):
            raise DamagedDatabase(f"{self.path} was written by a newer version of this program.")
        for number, step in enumerate(steps[version:], start=version + 1):
            with self._closing_transaction():
                self._connection.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version={number}; COMMIT;")

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Return all rows of one query."""
        with self._lock, self._explained():
            return self._open().execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Row | None:
        """Return the first row of one query, or None."""
        with self._lock, self._explained():
            row: sqlite3.Row | None = self._open().execute(sql, values).fetchone()
            return row

    @contextmanager
    def change(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """Make all statements of the block one change: the whole of it or, on an error, nothing.

        Do not wait for anything inside the block.
        """
        with self._lock, self._explained():
            connection = self._open()
            if durable:
                connection.execute("PRAGMA synchronous=FULL")
            try:
                connection.execute("BEGIN IMMEDIATE")
                with self._closing_transaction():
                    yield connection
                    connection.execute("COMMIT")
            finally:
                if durable:
                    connection.execute("PRAGMA synchronous=NORMAL")

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it, and later calls raise `UsageError`."""
        with self._lock:
            self._closed = True
            self._connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise UsageError("limit", "The agent is stopping: nothing more is saved.")
        return self._connection

    @contextmanager
    def _closing_transaction(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the disk refused into a `UsageError`, and a broken file into `DamagedDatabase`."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise self._damaged() from error
            if code == sqlite3.SQLITE_FULL:
                raise UsageError("limit", "The disk is full: nothing was saved.") from error
            if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):
                sentence = f"{self.path} cannot be written to: nothing was saved."
                raise UsageError("limit", sentence) from error
            raise
        except (UnicodeEncodeError, OverflowError) as error:
            raise UsageError("bad_request", "A value is not one that can be stored.") from error
        except OSError as error:
            raise disk_error(error, self.path.name) from error

    def _damaged(self) -> DamagedDatabase:
        return DamagedDatabase(
            f"{self.path} is damaged and was left as it is: put back a copy of it, "
            "or move it away to go on without what it held."
        )
