"""Noise_IK_25519_AESGCM_SHA256, as the Noise Protocol Framework (revision 34) publishes it.

        <- s                      the initiator knows the responder's static key beforehand
        -> e, es, s, ss           `write_first`, `read_first`
        <- e, ee, se              `First.write_second`, `Sent.read_second`

States are values: reading a message makes a new state and leaves the old one as it was. So a forged
message cannot spoil an attempt, as there is nothing to spoil. Private keys come in as arguments:
nothing here is random.

`handshake` puts these messages into packets. It owns who the peers are and what the payloads mean.
"""

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
FIRST_OVERHEAD: Final = 2 * KEY_BYTES + 2 * TAG_BYTES  # e, s and its tag, the payload's tag
SECOND_OVERHEAD: Final = KEY_BYTES + TAG_BYTES  # e, the payload's tag

_PROTOCOL_NAME: Final = b"Noise_IK_25519_AESGCM_SHA256".ljust(32, b"\0")
_NONCE: Final = bytes(12)  # IK mixes a new key in before each field: every key seals exactly once


class NoiseError(Exception):
    """A message is too short, carries an unusable public key, or is not authentic."""


@dataclass(frozen=True, slots=True, repr=False)
class Split:
    """What a handshake leaves to both sides: a key for each direction, the transcript's hash."""

    initiator_key: bytes
    responder_key: bytes
    handshake_hash: bytes


@dataclass(frozen=True, slots=True, repr=False)
class SymmetricState:
    """Noise section 5.2: the chaining key, the transcript's hash, the key for the next field."""

    chaining_key: bytes
    hash: bytes
    key: bytes = b""

    def mix_hash(self, data: bytes) -> "SymmetricState":
        """Add public bytes to the transcript."""
        return replace(self, hash=sha256(self.hash + data).digest())

    def mix_key(self, private: X25519PrivateKey, public: bytes) -> "SymmetricState":
        """Add the keys' shared secret; NoiseError if it is zero (RFC 7748 section 6.1)."""
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise NoiseError("unusable public key") from None
        chaining_key, key = _hkdf_pair(self.chaining_key, shared)
        return replace(self, chaining_key=chaining_key, key=key)

    def seal(self, plaintext: bytes) -> "tuple[SymmetricState, bytes]":
        """Encrypt one field, bound to the transcript so far."""
        sealed = AESGCM(self.key).encrypt(_NONCE, plaintext, self.hash)
        return self.mix_hash(sealed), sealed

    def open(self, sealed: bytes) -> "tuple[SymmetricState, bytes]":
        """Decrypt one field; NoiseError unless it is authentic."""
        try:
            plaintext = AESGCM(self.key).decrypt(_NONCE, sealed, self.hash)
        except InvalidTag:
            raise NoiseError("not authentic") from None
        return self.mix_hash(sealed), plaintext

    def split(self) -> Split:
        """Derive the two directions' keys."""
        return Split(*_hkdf_pair(self.chaining_key, b""), handshake_hash=self.hash)


@dataclass(frozen=True, slots=True)
class Sent:
    """The initiator after its message: it may try any number of candidates for the second."""

    message: bytes
    _state: SymmetricState = field(repr=False)
    _static: X25519PrivateKey = field(repr=False)
    _ephemeral: X25519PrivateKey = field(repr=False)

    def read_second(self, message: bytes) -> tuple[bytes, Split]:
        """Return the responder's payload and the keys; NoiseError unless it answers ours."""
        if len(message) < SECOND_OVERHEAD:
            raise NoiseError("too short")
        remote_ephemeral, sealed = message[:KEY_BYTES], message[KEY_BYTES:]
        state = self._state.mix_hash(remote_ephemeral)
        state = state.mix_key(self._ephemeral, remote_ephemeral).mix_key(self._static, remote_ephemeral)
        state, payload = state.open(sealed)
        return payload, state.split()


@dataclass(frozen=True, slots=True)
class First:
    """The responder after the initiator's message, which is authentic but may be a replay."""

    payload: bytes
    remote_static: bytes
    _state: SymmetricState = field(repr=False)
    _remote_ephemeral: bytes = field(repr=False)

    def write_second(self, ephemeral: X25519PrivateKey, payload: bytes) -> tuple[bytes, Split]:
        """Return the answer and the keys. `ephemeral` must be fresh for every call."""
        public = ephemeral.public_key().public_bytes_raw()
        state = self._state.mix_hash(public)
        state = state.mix_key(ephemeral, self._remote_ephemeral).mix_key(ephemeral, self.remote_static)
        state, sealed = state.seal(payload)
        return public + sealed, state.split()


def write_first(
    prologue: bytes,
    static: X25519PrivateKey,
    ephemeral: X25519PrivateKey,
    remote_static: bytes,
    payload: bytes,
) -> Sent:
    """Write the initiator's message with a fresh `ephemeral`; NoiseError as `mix_key` says."""
    public = ephemeral.public_key().public_bytes_raw()
    state = _start(prologue, remote_static).mix_hash(public).mix_key(ephemeral, remote_static)
    state, sealed_static = state.seal(static.public_key().public_bytes_raw())
    state, sealed_payload = state.mix_key(static, remote_static).seal(payload)
    return Sent(public + sealed_static + sealed_payload, state, static, ephemeral)


def read_first(prologue: bytes, static: X25519PrivateKey, message: bytes) -> First:
    """Read the initiator's message; NoiseError unless it is authentic and for our static key."""
    if len(message) < FIRST_OVERHEAD:
        raise NoiseError("too short")
    ephemeral, rest = message[:KEY_BYTES], message[KEY_BYTES:]
    sealed_static, sealed_payload = rest[: KEY_BYTES + TAG_BYTES], rest[KEY_BYTES + TAG_BYTES :]
    state = _start(prologue, static.public_key().public_bytes_raw()).mix_hash(ephemeral)
    state, remote_static = state.mix_key(static, ephemeral).open(sealed_static)
    state, payload = state.mix_key(static, remote_static).open(sealed_payload)
    return First(payload, remote_static, state, ephemeral)


def _start(prologue: bytes, responder_static: bytes) -> SymmetricState:
    return SymmetricState(_PROTOCOL_NAME, _PROTOCOL_NAME).mix_hash(prologue).mix_hash(responder_static)


def _hkdf_pair(chaining_key: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """Noise section 4.3, which is HKDF (RFC 5869) with the chaining key as salt and no info."""
    okm = HKDF(SHA256(), length=64, salt=chaining_key, info=b"").derive(secret)
    return okm[:32], okm[32:]
