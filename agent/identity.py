"""Who this person is: an Ed25519 key that signs and an X25519 key (`box_key`) that it vouches for.

Owns `identity.key`. Losing that file is losing the name, so a file that cannot be used is never
replaced: the agent says what is wrong and stops. Used by the composition root, the directory client
and the handshake.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from agent.datafolder import IDENTITY_FILE, is_data, read_private, write_private
from agent.settings import StartError
from rendezvous.contract.encoding import from_text, to_text
from rendezvous.contract.identity import box_message, fingerprint

# One line: what it is, both private keys, and a check: a flipped bit would be another person.
_MAGIC: Final = "tmge-identity-v1"
_CHECK_LENGTH: Final = 8


@dataclass(frozen=True, slots=True)
class Identity:
    """The private keys of one person, and what others know them by (raw keys of 32 bytes)."""

    signing_key: Ed25519PrivateKey = field(repr=False)
    box_private: X25519PrivateKey = field(repr=False)

    @property
    def key(self) -> bytes:
        """Give the public key that is the identity."""
        return self.signing_key.public_key().public_bytes_raw()

    @property
    def box_key(self) -> bytes:
        """Give the public key that handshakes are encrypted to."""
        return self.box_private.public_key().public_bytes_raw()

    @property
    def fingerprint(self) -> str:
        """Name the identity for people to compare."""
        return fingerprint(self.key)

    def sign(self, data: bytes) -> bytes:
        """Sign bytes that begin with a context of their own: 64 bytes."""
        return self.signing_key.sign(data)

    def box_signature(self, name: str) -> bytes:
        """Vouch for `box_key` under this name: 64 bytes."""
        return self.sign(box_message(name, self.box_key))


def load_or_make_identity(folder: Path) -> Identity:
    """Load the identity of this locked folder, or make one where no data is; else StartError."""
    known = read_identity(folder)
    if known is not None:
        return known
    path = folder / IDENTITY_FILE
    if path.is_symlink() or any(is_data(entry) for entry in folder.iterdir()):
        raise StartError(
            f"{path} is missing, but {folder} holds somebody's data: put {IDENTITY_FILE} back from "
            "a copy, or name an empty folder with --data to begin as a new person."
        )
    identity = Identity(Ed25519PrivateKey.generate(), X25519PrivateKey.generate())
    write_private(path, _encode(identity))
    return identity


def read_identity(folder: Path) -> Identity | None:
    """Return the identity of a folder, None where there is none; StartError for a file that is damaged."""
    path = folder / IDENTITY_FILE
    data = read_private(path)
    return None if data is None else _decode(data, path)


def _encode(identity: Identity) -> bytes:
    private = identity.signing_key.private_bytes_raw() + identity.box_private.private_bytes_raw()
    return f"{_MAGIC} {to_text(private)} {to_text(_check(private))}\n".encode()


def _decode(data: bytes, path: Path) -> Identity:
    cure = "put it back from a copy, or name an empty folder with --data to begin as a new person."
    if not data.strip():
        raise StartError(f"{path} is empty: {cure}")
    try:
        magic, keys, check = data.decode("ascii").split()
        private = from_text(keys, 64)
        if magic != _MAGIC or from_text(check, _CHECK_LENGTH) != _check(private):
            raise ValueError("not what was written")
    except ValueError:
        raise StartError(f"{path} is damaged: {cure}") from None
    return Identity(
        Ed25519PrivateKey.from_private_bytes(private[:32]),
        X25519PrivateKey.from_private_bytes(private[32:]),
    )


def _check(private: bytes) -> bytes:
    return hashlib.sha256(private).digest()[:_CHECK_LENGTH]
