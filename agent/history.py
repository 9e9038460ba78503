"""What happened and whom this person knows: SQLite, one file.

Owns requests (the timeline), contacts with the keys they are pinned to, settings, and the counters
that must never go back. Text and pictures on offer are `library`'s. Used by the composition root
and the node; plain Python, so tests use it without an event loop. Everything here is quick enough
for the agent's loop: a change is one short transaction in the write-ahead log.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.database import DamagedDatabase, Database
from agent.protocol.errors import UsageError
from agent.protocol.packet import Address

DamagedHistory = DamagedDatabase
"""Raised by `History(path)`: the file is left as it is, and the message says what to do."""

FINAL_PHASES: Final = frozenset(("done", "rejected", "expired", "cancelled", "unreachable", "failed"))
MAX_PAGE: Final = 200
MOST_ADDRESSES: Final = 4

_STEPS: Final = (
    """
    CREATE TABLE requests (
        position INTEGER PRIMARY KEY AUTOINCREMENT, request TEXT NOT NULL UNIQUE,
        peer TEXT NOT NULL, final INTEGER NOT NULL, entry TEXT NOT NULL
    ) STRICT;
    CREATE INDEX requests_by_peer ON requests (peer, position);
    CREATE INDEX requests_open ON requests (position) WHERE NOT final;
    CREATE TABLE contacts (
        name TEXT PRIMARY KEY, key BLOB NOT NULL, box_key BLOB NOT NULL,
        box_signature BLOB NOT NULL, connected INTEGER NOT NULL, last_seen REAL,
        handshake_counter INTEGER NOT NULL DEFAULT -1
    ) STRICT;
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT
    """,
    """
    ALTER TABLE contacts ADD COLUMN verified INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE contacts ADD COLUMN other_key BLOB;
    ALTER TABLE contacts ADD COLUMN other_refused INTEGER NOT NULL DEFAULT 0
    """,
    "ALTER TABLE contacts ADD COLUMN addresses TEXT NOT NULL DEFAULT '[]'",
)


@dataclass(frozen=True, slots=True)
class Contact:
    """Someone this person has connected with, pinned to their key. Times in Unix seconds.

    `verified`: both people have compared the key. `other_key` is what the rendezvous says in place of the pinned one,
    where it does: nothing is asked of them until the person decides; `other_refused`: the pinned one was kept.
    `addresses`: where their agent was reached without a relay, the last one first.
    """

    name: str
    key: bytes
    box_key: bytes
    box_signature: bytes
    connected: bool
    last_seen: float | None
    handshake_counter: int
    verified: bool
    other_key: bytes | None
    other_refused: bool
    addresses: tuple[Address, ...] = ()


class History:
    """The history in one file; raises `DamagedHistory`, or `UsageError` `limit` for a disk that is full."""

    def __init__(self, path: Path) -> None:
        self._db = Database(path, _STEPS)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # Requests

    def save_request(self, entry: Mapping[str, Any]) -> None:
        """Keep a request as it now is; its place in the timeline is that of its first time.

        `progress` is not kept: it means nothing afterwards.
        """
        kept = {name: value for name, value in entry.items() if name != "progress"}
        final = kept["phase"] in FINAL_PHASES
        with self._db.change() as db:
            db.execute(
                "INSERT INTO requests (request, peer, final, entry) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (request) DO UPDATE SET final = excluded.final, entry = excluded.entry",
                (kept["request"], kept["peer"], final, _dump(kept)),
            )

    def request(self, request: str) -> dict[str, Any] | None:
        """Return one request, whole."""
        row = self._db.row("SELECT entry FROM requests WHERE request = ?", (request,))
        return json.loads(row["entry"]) if row else None

    def open_requests(self) -> list[dict[str, Any]]:
        """Return the requests whose last word is not said, oldest first."""
        rows = self._db.rows("SELECT entry FROM requests WHERE NOT final ORDER BY position")
        return [json.loads(row["entry"]) for row in rows]

    def recent(self, limit: int = 50, cut: int | None = None) -> list[dict[str, Any]]:
        """Return the newest requests, newest first; quotes longer than `cut` characters are cut."""
        rows = self._db.rows("SELECT entry FROM requests ORDER BY position DESC LIMIT ?", (limit,))
        return [_shortened(json.loads(row["entry"]), cut) for row in rows]

    def timeline(
        self,
        peer: str | None = None,
        before: int | None = None,
        limit: int = 50,
        max_bytes: int = 512 * 1024,
    ) -> tuple[list[dict[str, Any]], int | None]:
        """Return entries newest first, and what to pass as `before` for the next page (None: no more).

        At least one entry, else as many as are below `max_bytes` of UTF-8 JSON together.
        """
        limit = max(1, min(limit, MAX_PAGE))
        rows = self._db.rows(
            "SELECT position, entry FROM requests"
            " WHERE (?1 IS NULL OR peer = ?1) AND (?2 IS NULL OR position < ?2)"
            " ORDER BY position DESC LIMIT ?3",
            (peer, before, limit + 1),
        )
        taken, size = 0, 0
        for row in rows[:limit]:
            size += len(row["entry"].encode())
            if taken and size > max_bytes:
                break
            taken += 1
        following = rows[taken - 1]["position"] if taken and taken < len(rows) else None
        return [json.loads(row["entry"]) for row in rows[:taken]], following

    def close_open(self, reason: str, phase: str = "failed") -> list[dict[str, Any]]:
        """Give every open request its last word, after a stop or a crash; return them as they now are."""
        if phase not in FINAL_PHASES:
            raise ValueError(f"{phase!r} is not a last word")
        closed = [entry | {"phase": phase, "reason": reason} for entry in self.open_requests()]
        with self._db.change() as db:
            db.executemany(
                "UPDATE requests SET final = 1, entry = ? WHERE request = ?",
                [(_dump(entry), entry["request"]) for entry in closed],
            )
        return closed

    # Contacts

    def contacts(self) -> list[Contact]:
        """Return everyone whose key is pinned, by name."""
        return [_contact(row) for row in self._db.rows("SELECT * FROM contacts ORDER BY name")]

    def contact(self, name: str) -> Contact | None:
        """Return one of them."""
        row = self._db.row("SELECT * FROM contacts WHERE name = ?", (name,))
        return _contact(row) if row else None

    def check_pin(self, name: str, key: bytes) -> None:
        """Raise `UsageError` `key_changed` if `name` is pinned to another key."""
        known = self.contact(name)
        if known is not None and known.key != key:
            raise UsageError(
                "key_changed",
                f"{name} has another key than the one you connected with: this may be someone else.",
            )

    def pin(self, name: str, key: bytes, box_key: bytes, box_signature: bytes, now: float) -> None:
        """Pin a person who has said yes (or to whom we have) to their key, and mark them connected.

        Raises `UsageError` `key_changed`, and changes nothing, if the name has another key already.
        """
        self.check_pin(name, key)
        with self._db.change(durable=True) as db:
            db.execute(
                "INSERT INTO contacts (name, key, box_key, box_signature, connected, last_seen)"
                " VALUES (?, ?, ?, ?, 1, ?) ON CONFLICT (name) DO UPDATE SET connected = 1,"
                " box_key = excluded.box_key, box_signature = excluded.box_signature,"
                " last_seen = excluded.last_seen",
                (name, key, box_key, box_signature, now),
            )

    def replace_pin(self, name: str, key: bytes, box_key: bytes, box_signature: bytes) -> None:
        """Pin a contact to another key, which a person has decided for: not connected, not compared."""
        with self._db.change(durable=True) as db:
            db.execute(
                "UPDATE contacts SET key = ?, box_key = ?, box_signature = ?, connected = 0, last_seen = NULL,"
                " handshake_counter = -1, verified = 0, other_key = NULL, other_refused = 0, addresses = '[]'"
                " WHERE name = ?",
                (key, box_key, box_signature, name),
            )

    def note_other_key(self, name: str, key: bytes | None) -> None:
        """Note that the rendezvous says another key than the pinned one, or (None) does so no longer."""
        with self._db.change(durable=True) as db:
            db.execute("UPDATE contacts SET other_key = ?, other_refused = 0 WHERE name = ?", (key, name))

    def refuse_other_key(self, name: str) -> None:
        """Note that a person has decided for the pinned key."""
        with self._db.change() as db:
            db.execute("UPDATE contacts SET other_refused = 1 WHERE name = ? AND other_key IS NOT NULL", (name,))

    def set_verified(self, name: str, verified: bool) -> None:
        """Note whether the pinned key was compared."""
        with self._db.change(durable=True) as db:
            db.execute("UPDATE contacts SET verified = ? WHERE name = ?", (verified, name))

    def set_connected(self, name: str, connected: bool) -> None:
        """Note that a person is connected or no longer so; the pin stays, and where they were is forgotten."""
        with self._db.change() as db:
            db.execute("UPDATE contacts SET connected = ?, addresses = '[]' WHERE name = ?", (connected, name))

    def reached(self, name: str, address: Address) -> None:
        """Note that a connected person's agent was reached at this address; the last few are kept."""
        known = self.contact(name)
        if known is None or not known.connected or known.addresses[:1] == (address,):
            return
        addresses = [address, *(other for other in known.addresses if other != address)][:MOST_ADDRESSES]
        with self._db.change() as db:
            db.execute("UPDATE contacts SET addresses = ? WHERE name = ?", (_dump(addresses), name))

    def seen(self, name: str, now: float) -> None:
        """Note that a person was there at this time."""
        with self._db.change() as db:
            db.execute("UPDATE contacts SET last_seen = ? WHERE name = ?", (now, name))

    def take_handshake_counter(self, name: str, counter: int) -> bool:
        """Take a contact's handshake counter if it is above all before; False for a replay."""
        with self._db.change(durable=True) as db:
            taken = db.execute(
                "UPDATE contacts SET handshake_counter = ?1 WHERE name = ?2 AND handshake_counter < ?1",
                (counter, name),
            )
        return taken.rowcount == 1

    # Settings and counters

    def setting(self, name: str, default: Any = None) -> Any:
        """Return a setting, which is any JSON value."""
        row = self._db.row("SELECT value FROM settings WHERE name = ?", (name,))
        return json.loads(row["value"]) if row else default

    def set_setting(self, name: str, value: Any) -> None:
        """Keep a setting."""
        with self._db.change() as db:
            db.execute(
                "INSERT INTO settings VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, _dump(value)),
            )

    def next_seq(self) -> int:
        """Count our sign-ups: 1, 2, …, and never one again, not even after a power cut."""
        return self._count("seq")

    def next_epoch(self) -> int:
        """Count our handshakes (or starts), in the same way."""
        return self._count("epoch")

    def _count(self, name: str) -> int:
        with self._db.change(durable=True) as db:
            (value,) = db.execute(
                "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
                (name,),
            ).fetchone()
        return int(value)


def never(key: bytes) -> str:
    """Name the setting that says that the owner of `key` is refused without anybody being asked."""
    return f"never {key.hex()}"


def _contact(row: sqlite3.Row) -> Contact:
    flags = {name: bool(row[name]) for name in ("connected", "verified", "other_refused")}
    addresses = tuple((host, port) for host, port in json.loads(row["addresses"]))
    return Contact(**{**dict(row), **flags, "addresses": addresses})


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _shortened(entry: dict[str, Any], cut: int | None) -> dict[str, Any]:
    quote = entry.get("quote")
    if cut is not None and quote and len(quote["text"]) > cut:
        entry["quote"] = quote | {"text": quote["text"][:cut], "cut": True}
    return entry
