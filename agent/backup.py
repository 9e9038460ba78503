"""A backup of a person: keys, contacts, settings and history in one file under a passphrase. Used by `backup_command`.

Owns the file's form and what a restored copy must change. Pictures and quotes on offer are files of their own, which
any copy of the data folder holds. Bytes, big-endian:

    "TMGE-BACKUP-1\\n" | log2 of scrypt's N u8 | r u8 | p u8 | salt 16 | nonce 12 | AES-256-GCM of what follows
    deflated: length u32 | identity.key | history.db, as SQLite serializes it

The passphrase becomes the key by scrypt (RFC 7914); all that stands before the ciphertext is its associated data.
"""

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from agent.datafolder import IDENTITY_FILE, is_data, read_private, write_private
from agent.identity import read_identity
from agent.settings import StartError

HISTORY_FILE: Final = "history.db"
SHORTEST_PASSPHRASE: Final = 8  # characters
LARGEST: Final = 512 * 1024**2  # bytes of a backup
_MAGIC: Final = b"TMGE-BACKUP-1\n"
_HEAD: Final = Struct(f">{len(_MAGIC)}sBBB16s12s")
_LENGTH: Final = Struct(">I")
_COST: Final = (17, 8, 1)  # 128 MB and about half a second
_MOST_COST: Final = (20, 8, 4)
_WRONG: Final = "The passphrase is not that of this backup, or the file is damaged: nothing was changed."
_AHEAD: Final = 1 << 20
"""How far the counters of a restored copy are set forward: the original may have gone on, and none may come twice."""


def make_backup(folder: Path, passphrase: str, random: Callable[[int], bytes] = os.urandom) -> bytes:
    """Return the backup of a data folder, whose agent may be running; StartError."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise StartError(f"A passphrase has at least {SHORTEST_PASSPHRASE} characters: nothing was written.")
    identity = read_private(folder / IDENTITY_FILE)
    if identity is None or read_identity(folder) is None:
        raise StartError(f"{folder} holds nobody's keys: there is nothing to back up.")
    head = _HEAD.pack(_MAGIC, *_COST, random(16), random(12))
    plain = zlib.compress(_LENGTH.pack(len(identity)) + identity + _serialized(folder / HISTORY_FILE))
    return head + _cipher(passphrase, head).encrypt(head[-12:], plain, head)


def restore_backup(data: bytes, passphrase: str, folder: Path) -> None:
    """Write what a backup holds into an empty folder; StartError, and then nothing was written."""
    identity, history = _opened(data, passphrase)
    if folder.exists() and any(is_data(entry) for entry in folder.iterdir()):
        raise StartError(f"{folder} holds somebody's data already: name an empty folder with --data.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(folder / HISTORY_FILE, _set_forward(history))
    write_private(folder / IDENTITY_FILE, identity)  # last: without it the folder is nobody's
    if read_identity(folder) is None:
        raise StartError(f"{folder} could not be written: try another one.")


def _serialized(path: Path) -> bytes:
    """Return a database as it is now, whoever is writing to it."""
    if not path.exists():
        return b""
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as history,
            contextlib.closing(sqlite3.connect(":memory:")) as copy,
        ):
            history.backup(copy)
            image = copy.serialize()
    except sqlite3.Error as problem:
        raise StartError(f"{path} cannot be read: {problem}.") from None
    return image[:18] + b"\1\1" + image[20:]  # no write-ahead log: in memory there is none (sqlite3_deserialize)


def _set_forward(history: bytes) -> bytes:
    """Return the database with counters that the original will not reach."""
    with contextlib.closing(sqlite3.connect(":memory:")) as copy:
        if history:
            try:
                copy.deserialize(history)
                copy.execute("UPDATE counters SET value = value + ?", (_AHEAD,))
                copy.commit()
            except sqlite3.Error as problem:
                raise StartError(f"The history in this backup is damaged: {problem}.") from None
        return copy.serialize() if history else b""


def _opened(data: bytes, passphrase: str) -> tuple[bytes, bytes]:
    """Return identity file and database of a backup."""
    head = data[: _HEAD.size]
    if len(data) > LARGEST or len(head) < _HEAD.size or not head.startswith(_MAGIC):
        raise StartError("This file is no backup of TMGE: nothing was changed.")
    if any(cost > most for cost, most in zip(head[len(_MAGIC) :], _MOST_COST, strict=False)):
        raise StartError("This backup wants more memory than any that TMGE writes: nothing was changed.")
    try:
        plain = zlib.decompress(_cipher(passphrase, head).decrypt(head[-12:], data[_HEAD.size :], head))
    except (InvalidTag, zlib.error, ValueError):
        raise StartError(
            "The passphrase is not that of this backup, or the file is damaged: nothing was changed."
        ) from None
    (length,) = _LENGTH.unpack_from(plain)
    at = _LENGTH.size + length
    return plain[_LENGTH.size : at], plain[at:]


def _cipher(passphrase: str, head: bytes) -> AESGCM:
    _, cost, r, p, salt, _ = _HEAD.unpack(head)
    return AESGCM(Scrypt(salt=salt, length=32, n=1 << cost, r=r, p=p).derive(passphrase.encode()))
