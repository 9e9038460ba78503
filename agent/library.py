"""What this person offers, and the pictures that they have received: on disk, by content.

Owns `library.db` (quotes and the facts of pictures), `images/<sha256>` and `incoming/`. A name on
disk comes from a hash or from a request's number, never from a peer or an upload. A picture counts
once its row is written; a file without one is what an interrupted program left, and is removed at
the next start. Asks nobody and tells nobody: consent is decided elsewhere. Plain Python: used by the
agent's composition root, and by tests without any event loop.
"""

import contextlib
import dataclasses
import io
import json
import os
import random
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from agent import images, starter
from agent.database import Database, disk_error, private_folder
from agent.growth import Announcement
from agent.images import ImageFacts, Looked
from agent.parts import ImageSink, ImageSource
from agent.protocol.errors import UsageError
from agent.quote_file import QuoteFile
from agent.quotes import MAX_ALT, MAX_CAPTION, Quote, checked_line, checked_quote

ITEMS_SHOWN: Final = 300
TEXT_SHOWN: Final = 280
_MEGABYTE: Final = 1024 * 1024
_ITEM: Final = re.compile(r"[0-9a-f]{32}")
_REQUEST: Final = _ITEM
_SHA256: Final = re.compile(r"[0-9a-f]{64}")

_STEPS: Final = (
    """
    CREATE TABLE images (
        sha256 TEXT PRIMARY KEY, format TEXT NOT NULL, width INTEGER NOT NULL,
        height INTEGER NOT NULL, frames INTEGER NOT NULL, size INTEGER NOT NULL,
        preview BLOB NOT NULL, digests BLOB NOT NULL, received INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE items (
        position INTEGER PRIMARY KEY AUTOINCREMENT, item TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL CHECK (kind IN ('quote', 'image')),
        text TEXT, author TEXT, source TEXT,
        sha256 TEXT REFERENCES images (sha256), name TEXT
    ) STRICT;
    CREATE TABLE notes (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT
    """,
    # `sha256` is what leaves. `original`: the file with its metadata, where that is another one. `reveals`: what it
    # says, as JSON; NULL where nobody has looked yet.
    """
    ALTER TABLE items ADD COLUMN original TEXT REFERENCES images (sha256);
    ALTER TABLE items ADD COLUMN reveals TEXT;
    ALTER TABLE items ADD COLUMN caption TEXT;
    ALTER TABLE items ADD COLUMN alt TEXT
    """,
)
_ITEMS: Final = """
    SELECT item, kind, text, author, source, name, sha256, width, height, format, size AS bytes,
        original, reveals, caption, alt
    FROM items LEFT JOIN images USING (sha256)
"""
# `received` stays 1 once it is: the picture then outlives its item.
_ADD_IMAGE: Final = """
    INSERT INTO images (format, width, height, frames, size, sha256, digests, preview, received)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, {received})
    ON CONFLICT (sha256) DO UPDATE SET received = max(received, excluded.received)
"""
_UNUSED: Final = """
    FROM images WHERE NOT received
        AND NOT EXISTS (SELECT 1 FROM items WHERE images.sha256 IN (items.sha256, items.original))
"""
_SET_NOTE: Final = """
    INSERT INTO notes (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


class Readable(Protocol):
    """What an upload must be able to do."""

    def read(self, size: int, /) -> bytes: ...


class Library:
    """One person's collection in one folder; a second `Library` on it at once is the caller's mistake."""

    def __init__(self, folder: Path) -> None:
        private_folder(folder)
        self._images = private_folder(folder / "images")
        self._incoming = private_folder(folder / "incoming")
        self._db = Database(folder / "library.db", _STEPS)
        self._shown: list[dict[str, Any]] | None = None  # what `items` returns, until that changes
        self._tidy()

    def close(self) -> None:
        """Close the database; open pictures stay open."""
        self._db.close()

    # What is offered

    def items(self) -> list[dict[str, Any]]:
        """Return what is offered, newest first, as the page sees it: at most 300, texts cut to 280.

        It is the same list, not to be changed, as long as the same is offered.
        """
        if self._shown is None:
            rows = self._db.rows(f"{_ITEMS} ORDER BY position DESC LIMIT ?", (ITEMS_SHOWN,))
            self._shown = [_as_json(row, cut=TEXT_SHOWN) for row in rows]
        return self._shown

    def item(self, item: object) -> dict[str, Any]:
        """Return one item, its text whole; `UsageError` `bad_request` if there is none."""
        return _as_json(self._row(item), cut=None)

    def random_item(self, kind: str, chooser: random.Random | None = None) -> dict[str, Any]:
        """Pick one quote or image (`kind`) of all that are offered."""
        rows = self._db.rows("SELECT item FROM items WHERE kind = ?", (kind,))
        if not rows:
            thing = "picture" if kind == "image" else "quote"
            raise UsageError("bad_request", f"You have no {thing} to give: add one first.")
        (item,) = (chooser or random.SystemRandom()).choice(rows)
        return self.item(item)

    def add_quote(self, text: object, author: object, source: object = None) -> dict[str, Any]:
        """Add a quote; one that is there already stays where it is. Raises as `checked_quote` does."""
        quote = checked_quote(text, author, source)
        self._add_quotes([quote])
        return self.item(quote.item)

    def add_quotes(self, file: QuoteFile) -> int:
        """Add the quotes of a file; return how many were not there before."""
        return self._add_quotes(list(file.quotes.values())[::-1])  # the first of them is then the newest

    def add_image(self, stream: Readable, filename: str | None = None) -> dict[str, Any]:
        """Add a picture from a stream of bytes; one that is there already is the same item.

        Its metadata stays here: what is offered is a copy without it (see `metadata`). `filename` is
        for people to read, and decides nothing. Raises `UsageError` `too_large`, `unsupported_image`
        or `limit`; nothing is left behind then.
        """
        upload = self._incoming / f"{secrets.token_hex(16)}.upload"
        try:
            _copy(stream, upload)
            with self._looked_at(upload) as (looked, copy), self._db.change() as db:
                whole = looked.original or looked.facts
                for facts, path in ((whole, upload), (looked.facts, copy))[: 2 if looked.original else 1]:
                    db.execute(_ADD_IMAGE.format(received=0), _values(facts))
                    path.replace(self._images / facts.sha256)
                item = whole.sha256[:32]
                db.execute(
                    "INSERT OR IGNORE INTO items (item, kind, sha256, original, reveals, name)"
                    " VALUES (?, 'image', ?, ?, ?, ?)",
                    (item, looked.facts.sha256, *_revealed(looked), _shown_name(filename)),
                )
        except OSError as error:
            raise disk_error(error, "the picture") from error
        finally:
            self._shown = None
            with contextlib.suppress(OSError):
                upload.unlink(missing_ok=True)
        return self.item(item)

    def describe_item(self, item: object, caption: object = None, alt: object = None) -> dict[str, Any]:
        """Set what stands under an offered picture, and what stands for it; None leaves it, "" takes it away."""
        row = self._row(item)
        if row["kind"] != "image":
            raise UsageError("bad_request", "Only a picture can have a caption or an alternative text.")
        texts = {"caption": (caption, MAX_CAPTION), "alternative text": (alt, MAX_ALT)}
        new = [None if text is None else checked_line(text, name, most) for name, (text, most) in texts.items()]
        with self._db.change() as db:
            sql = "UPDATE items SET caption = coalesce(?, caption), alt = coalesce(?, alt) WHERE item = ?"
            db.execute(sql, (*new, row["item"]))
        self._shown = None
        return self.item(item)

    def remove_item(self, item: object) -> None:
        """Stop offering an item; a picture goes from the disk unless it was also received."""
        row = self._row(item)
        with self._db.change() as db:
            db.execute("DELETE FROM items WHERE item = ?", (row["item"],))
            gone = _drop_unused(db)
        self._shown = None
        self._unlink(gone)

    def ensure_starter(self, on_item: Callable[[dict[str, Any]], object]) -> None:
        """Put in the starter collection, once for each folder; what was removed does not come back.

        Takes seconds, most of them in child processes: run it beside everything else. `on_item` gets
        the newest item after the quotes (all at once) and after each picture. Goes on where it
        was interrupted.
        """
        done = self._note("starter")  # 0, then 1 for the quotes and 1 for each picture
        if done == 0:
            quotes = [checked_quote(*fields) for fields in starter.quotes()]
            self._add_quotes(quotes, note=("starter", 1))
            on_item(self.item(quotes[-1].item))
            done = 1
        names = starter.PICTURES[done - 1 :]
        with contextlib.closing(starter.draw(names)) as pictures:
            for name, picture in zip(names, pictures, strict=False):
                item = self.add_image(io.BytesIO(picture), name)
                done += 1
                self._set_note("starter", done)
                on_item(item)

    # Pictures as files

    def open_image(self, item: object, *, keep_metadata: bool = False) -> ImageSource:
        """Open what leaves of an offered picture for reading; close it when done.

        With `keep_metadata` that is the file as it was added. A picture that was added before metadata
        was looked at is looked at now.
        """
        row = self._row(item)
        if row["kind"] != "image":
            raise UsageError("bad_request", "This item is not a picture.")
        try:
            if row["reveals"] is None:
                self._look_again(row)
                row = self._row(item)
            chosen = (row["original"] or row["sha256"]) if keep_metadata else row["sha256"]
            found = self._db.row("SELECT * FROM images WHERE sha256 = ?", (chosen,))
            if found is None:
                raise UsageError("bad_request", "This picture is no longer there.")
            fields = {field.name: found[field.name] for field in dataclasses.fields(ImageFacts)}
            return ImageSource(self._images / chosen, ImageFacts(**fields))
        except OSError as error:
            raise UsageError("bad_request", "This picture is no longer on the disk.") from error

    def media(self, sha256: str) -> tuple[Path, str] | None:
        """Return path and MIME type of a finished picture, offered or received; None if there is none."""
        if not _SHA256.fullmatch(sha256):
            return None
        row = self._db.row("SELECT sha256, format FROM images WHERE sha256 = ?", (sha256,))
        if row is None:
            return None
        path = self._images / row["sha256"]
        return (path, images.MIME[row["format"]]) if path.is_file() else None

    def begin_receiving(
        self,
        request: str,
        size: int,
        sha256: str,
        digests_sha256: str,
        format: str,
        width: int,
        height: int,
    ) -> ImageSink:
        """Make room for a picture that was accepted, or go on with what has arrived of the same one.

        Hashes are in hex. Raises `UsageError` for what cannot be a picture, or has no room.
        """
        if not _REQUEST.fullmatch(request):
            raise UsageError("bad_request", "This is not the number of a request.")
        announced = Announcement(size, sha256, digests_sha256, format, width, height)
        announced.check()
        return ImageSink(self._incoming, request, announced, self._keep_received)

    def discard_unfinished(self, keep: Collection[str] = ()) -> None:
        """Remove what has arrived for requests that are not in `keep`."""
        for path in self._incoming.iterdir():
            if path.suffix in (".part", ".bitmap") and path.stem not in keep:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _looked_at(self, path: Path) -> Iterator[tuple[Looked, Path]]:
        """Look at a picture; give what was found and, for the length of the block, the copy without metadata."""
        copy = self._incoming / f"{secrets.token_hex(16)}.upload"
        try:
            yield images.look_at(path, copy), copy
        finally:
            with contextlib.suppress(OSError):
                copy.unlink(missing_ok=True)

    def _look_again(self, row: sqlite3.Row) -> None:
        with self._looked_at(self._images / row["sha256"]) as (looked, copy), self._db.change() as db:
            if looked.original:
                db.execute(_ADD_IMAGE.format(received=0), _values(looked.facts))
                copy.replace(self._images / looked.facts.sha256)
            sql = "UPDATE items SET sha256 = ?, original = ?, reveals = ? WHERE item = ?"
            db.execute(sql, (looked.facts.sha256, *_revealed(looked), row["item"]))
        self._shown = None

    def _keep_received(self, path: Path, facts: ImageFacts) -> None:
        with self._db.change() as db:
            db.execute(_ADD_IMAGE.format(received=1), _values(facts))
            path.replace(self._images / facts.sha256)

    # Rows

    def _row(self, item: object) -> sqlite3.Row:
        possible = isinstance(item, str) and _ITEM.fullmatch(item)
        row = self._db.row(f"{_ITEMS} WHERE item = ?", (item,)) if possible else None
        if row is None:
            raise UsageError("bad_request", "There is no such item in your collection.")
        return row

    def _add_quotes(self, quotes: Sequence[Quote], note: tuple[str, int] | None = None) -> int:
        with self._db.change() as db:
            added = db.executemany(
                "INSERT OR IGNORE INTO items (item, kind, text, author, source) VALUES (?, 'quote', ?, ?, ?)",
                [(quote.item, quote.text, quote.author, quote.source) for quote in quotes],
            )
            if note is not None:
                db.execute(_SET_NOTE, note)
        self._shown = None
        return added.rowcount

    def _note(self, name: str) -> int:
        row = self._db.row("SELECT value FROM notes WHERE name = ?", (name,))
        return row["value"] if row else 0

    def _set_note(self, name: str, value: int) -> None:
        with self._db.change() as db:
            db.execute(_SET_NOTE, (name, value))

    def _tidy(self) -> None:
        """Make the files and the rows agree after whatever happened: neither is there alone."""
        for upload in self._incoming.glob("*.upload"):
            upload.unlink(missing_ok=True)
        known = {row["sha256"] for row in self._db.rows("SELECT sha256 FROM images")}
        there = {path.name for path in self._images.iterdir()}
        lost = [(name,) for name in known - there]
        with self._db.change() as db:
            db.executemany("UPDATE items SET original = NULL WHERE original = ?", lost)
            db.executemany("DELETE FROM items WHERE sha256 = ?", lost)
            db.executemany("DELETE FROM images WHERE sha256 = ?", lost)
            unused = _drop_unused(db)
        self._unlink([*(there - known), *unused])

    def _unlink(self, names: Sequence[str]) -> None:
        for name in names:
            with contextlib.suppress(OSError):  # what stays is removed at the next start
                (self._images / name).unlink(missing_ok=True)


def _as_json(row: sqlite3.Row, cut: int | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"item": row["item"], "kind": row["kind"]}
    if row["kind"] == "quote":
        return shown | Quote(row["text"], row["author"], row["source"]).as_json(cut)
    shown["url"] = f"/media/{row['sha256']}"
    shown |= {key: row[key] for key in ("width", "height", "format", "bytes", "sha256")}
    shown["stripped"] = row["original"] is not None
    if row["reveals"] is not None:
        shown["reveals"] = json.loads(row["reveals"])
    return shown | {key: row[key] for key in ("name", "caption", "alt") if row[key]}


def _drop_unused(db: sqlite3.Connection) -> list[str]:
    """Forget the pictures that are neither offered nor received; return their names."""
    names = [str(row["sha256"]) for row in db.execute(f"SELECT sha256 {_UNUSED}")]
    db.execute(f"DELETE {_UNUSED}")
    return names


def _revealed(looked: Looked) -> tuple[str | None, str]:
    return looked.original.sha256 if looked.original else None, json.dumps(looked.reveals)


def _values(facts: ImageFacts) -> tuple[object, ...]:
    return tuple(getattr(facts, field.name) for field in dataclasses.fields(ImageFacts))


def _copy(stream: Readable, path: Path) -> None:
    """Write the stream to a new file; give other green threads a turn for each megabyte."""
    left = images.MAX_BYTES
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:
        while data := stream.read(min(_MEGABYTE, left + 1)):
            left -= len(data)
            if left < 0:
                raise images.too_many_bytes()
            file.write(data)
            time.sleep(0)  # which eventlet makes a switch


def _shown_name(filename: str | None) -> str | None:
    """Keep of a file's name what can be shown: its last part, printable, of at most 100 characters."""
    last = re.split(r"[/\\]", filename or "")[-1]
    shown = "".join(sign for sign in last if sign.isprintable()).strip()
    return shown[:100] or None
