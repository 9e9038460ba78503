"""What rendezvous have said, as far as they can be held to it: SQLite, one file.

Owns the key of each rendezvous (pinned when it is first met), the newest signed statement about each name, and pairs of
statements that cannot both be true. Used by the directory client, which hears statements, by `people`, which exchanges
them with peers, and by whoever shows what was found. Knows no network.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.database import Database
from agent.protocol.errors import UsageError
from rendezvous.contract.identity import fingerprint
from rendezvous.contract.names import skeleton
from rendezvous.contract.statement import Statement, read_statement

MOST: Final = 20_000
"""Names of which a statement is kept; those heard longest ago go first."""

_STEPS: Final = (
    """
    CREATE TABLE servers (url TEXT PRIMARY KEY, key BLOB NOT NULL, other BLOB) STRICT;
    CREATE TABLE statements (
        position INTEGER PRIMARY KEY AUTOINCREMENT, server BLOB NOT NULL, skeleton TEXT NOT NULL,
        statement TEXT NOT NULL, UNIQUE (server, skeleton)
    ) STRICT;
    CREATE TABLE evidence (
        server BLOB NOT NULL, first TEXT NOT NULL, second TEXT NOT NULL, source TEXT NOT NULL,
        noted REAL NOT NULL, settled INTEGER NOT NULL DEFAULT 0, UNIQUE (first, second)
    ) STRICT
    """,
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two statements of one rendezvous that contradict each other; `source` is the peer who told the second, or
    empty where the rendezvous itself did. `noted` in Unix seconds.
    """

    first: Statement
    second: Statement
    source: str
    noted: float

    def as_json(self) -> dict[str, object]:
        """Return it as the page shows it."""
        both = (self.first, self.second)
        return {
            "name": self.first.name,
            "fingerprints": [fingerprint(statement.key) for statement in both],
            "times": [statement.time for statement in both],
            "noted": int(self.noted),
            "statements": [statement.as_json() for statement in both],
        } | ({"source": self.source} if self.source else {})

    @property
    def sentence(self) -> str:
        """Say what was found."""
        whom = f"{self.source} and this agent" if self.source else "this agent"
        return f"The rendezvous has signed two keys for {self.first.name} at the same time, and told them to {whom}."


class Ledger:
    """The ledger in one file; raises `DamagedDatabase`, or `UsageError` `limit` for a disk that is full."""

    def __init__(self, path: Path) -> None:
        self._db = Database(path, _STEPS)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # The keys of rendezvous

    def server(self, url: str) -> bytes | None:
        """Return the key that a rendezvous had when it was first met."""
        row = self._db.row("SELECT key FROM servers WHERE url = ?", (url,))
        return bytes(row["key"]) if row else None

    def other_server(self, url: str) -> bytes | None:
        """Return the key that it has now, where that is another one."""
        row = self._db.row("SELECT other FROM servers WHERE url = ?", (url,))
        return bytes(row["other"]) if row and row["other"] is not None else None

    def meet(self, url: str, key: bytes) -> None:
        """Pin a rendezvous to its key, or see that it still has it; UsageError `key_changed` where not."""
        known = self.server(url)
        if known is None:
            with self._db.change(durable=True) as db:
                db.execute("INSERT OR IGNORE INTO servers (url, key) VALUES (?, ?)", (url, key))
            return
        other = None if key == known else key
        if other != self.other_server(url):
            with self._db.change() as db:
                db.execute("UPDATE servers SET other = ? WHERE url = ?", (other, url))
        if other is not None:
            raise UsageError("key_changed", changed_sentence(url))

    def trust(self, url: str) -> None:
        """Go on with a rendezvous, whatever was found: pin it to the key it has now, and settle what is noted."""
        with self._db.change(durable=True) as db:
            db.execute("UPDATE servers SET key = other, other = NULL WHERE url = ? AND other IS NOT NULL", (url,))
            db.execute(
                "UPDATE evidence SET settled = 1 WHERE server IN (SELECT key FROM servers WHERE url = ?)", (url,)
            )

    # Statements

    def newest(self, server: bytes, name: str) -> Statement | None:
        """Return the newest statement about a name."""
        row = self._db.row(
            "SELECT statement FROM statements WHERE server = ? AND skeleton = ?", (server, skeleton(name))
        )
        return _statement(row["statement"]) if row else None

    def note(self, statement: Statement, source: str = "") -> Evidence | None:
        """Keep what a rendezvous has stated, and compare; ValueError where it has not signed it.

        Return the evidence where it cannot be true together with what is kept.
        """
        kept = self.newest(statement.server, statement.name)
        if kept == statement:
            return None
        if not statement.holds():
            raise ValueError(f"what it states of {statement.name} is not signed")
        if kept is not None and kept.contradicts(statement):
            return self._found(kept, statement, source)
        if kept is None or (statement.time, statement.seq) >= (kept.time, kept.seq):
            self._keep(statement)
        return None

    def evidence(self, server: bytes | None) -> list[Evidence]:
        """Return what was found against a rendezvous and is not settled, newest first."""
        rows = self._db.rows("SELECT * FROM evidence WHERE server = ? AND NOT settled ORDER BY noted DESC", (server,))
        return [
            Evidence(_statement(row["first"]), _statement(row["second"]), row["source"], row["noted"]) for row in rows
        ]

    def _keep(self, statement: Statement) -> None:
        with self._db.change() as db:
            db.execute(
                "INSERT OR REPLACE INTO statements (server, skeleton, statement) VALUES (?, ?, ?)",
                (statement.server, skeleton(statement.name), _text(statement)),
            )
            db.execute("DELETE FROM statements WHERE position <= (SELECT max(position) FROM statements) - ?", (MOST,))

    def _found(self, first: Statement, second: Statement, source: str) -> Evidence | None:
        found = Evidence(first, second, source, time.time())
        with self._db.change(durable=True) as db:
            new = db.execute(
                "INSERT OR IGNORE INTO evidence (server, first, second, source, noted) VALUES (?, ?, ?, ?, ?)",
                (first.server, _text(first), _text(second), source, found.noted),
            )
        return found if new.rowcount else None


def changed_sentence(url: str) -> str:
    """Say that a rendezvous is not the one that it was."""
    return (
        f"The rendezvous at {url} has another key than before: it may be another server, or have begun anew. "
        "Nothing is asked of it until you decide."
    )


def _text(statement: Statement) -> str:
    return json.dumps(statement.as_json(), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _statement(text: str) -> Statement:
    return read_statement(json.loads(text))
