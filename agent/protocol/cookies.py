"""What stands in front of the handshake's costly work: mac1, and cookies under load (as WireGuard
has them, section 5.4 of its paper). Not here: where these bytes stand in a packet (`handshake`),
and when there is load (`endpoint`).

    mac1      BLAKE2s, 16 bytes, over everything before it
              key = SHA-256("tmge-mac1-v1\\0" || the receiver's box key)
    mac2      BLAKE2s, 16 bytes, over everything before it, mac1 included; zeros without a cookie
              key = the cookie
    cookie    BLAKE2s, 16 bytes, over the source's label
              key = 32 random bytes of the responder's, new every 120 s
    sealed    AES-256-GCM of the cookie, 32 bytes; associated data = the initiation's mac1
    cookie    key = SHA-256("tmge-cookie-v1\\0" || the responder's box key), nonce 12 random bytes
"""

from collections.abc import Callable
from hashlib import blake2s, sha256
from hmac import compare_digest
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAC_BYTES: Final = 16
NONCE_BYTES: Final = 12
SEALED_COOKIE_BYTES: Final = MAC_BYTES + 16
COOKIE_LIFETIME: Final = 120.0  # seconds, as WireGuard has it


class Mac1:
    """The MAC that only someone who knows a peer's box key can put in front: a scanner does not."""

    def __init__(self, box_key: bytes) -> None:
        self._key = sha256(b"tmge-mac1-v1\0" + box_key).digest()

    def of(self, data: bytes) -> bytes:
        """Return the 16 bytes to put behind `data`."""
        return _mac(self._key, data)

    def holds(self, data: bytes, mac: bytes) -> bool:
        """Tell whether `mac` stands behind `data` rightly, in constant time."""
        return compare_digest(_mac(self._key, data), mac)


class CookieSeal:
    """Carry a cookie to the sender of one initiation, and to nobody who has not seen it.

    The key is as public as the responder's box key. The nonce is random: with 2^32 replies the
    chance that two share one is 2^-33, and would show nothing but the difference of two cookies,
    each bound to a source and two minutes.
    """

    def __init__(self, box_key: bytes) -> None:
        self._cipher = AESGCM(sha256(b"tmge-cookie-v1\0" + box_key).digest())

    def seal(self, nonce: bytes, cookie: bytes, mac1: bytes) -> bytes:
        """Return the 32 sealed bytes."""
        return self._cipher.encrypt(nonce, cookie, mac1)

    def open(self, nonce: bytes, sealed: bytes, mac1: bytes) -> bytes | None:
        """Return the cookie; None unless it was sealed for the initiation with this mac1."""
        try:
            return self._cipher.decrypt(nonce, sealed, mac1)
        except InvalidTag:
            return None


class CookieJar:
    """Make and check a responder's cookies without remembering any of them.

    The secret changes every 120 s and the one before is still honoured, so a cookie is good for 120
    to 240 s. `source` is whatever the sender cannot forge: its address and port when direct, its
    ticket's identity when relayed.
    """

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._secret = self._previous = b""
        self._made_at = float("-inf")

    def cookie(self, source: bytes, now: float) -> bytes:
        """Return the 16 bytes that only someone who receives what is sent to `source` gets."""
        self._rotate(now)
        return _mac(self._secret, source)

    def proves(self, source: bytes, data: bytes, mac2: bytes, now: float) -> bool:
        """Tell whether `mac2` over `data` was made with a cookie of `source`."""
        self._rotate(now)
        return any(
            compare_digest(mac2_of(_mac(secret, source), data), mac2) for secret in (self._secret, self._previous)
        )

    def _rotate(self, now: float) -> None:
        age = now - self._made_at
        if age < COOKIE_LIFETIME:
            return
        fresh = self._random(32)
        self._previous = self._secret if age < 2 * COOKIE_LIFETIME else self._random(32)
        self._secret, self._made_at = fresh, now


def mac2_of(cookie: bytes, data: bytes) -> bytes:
    """Return the 16 bytes that show the cookie to the one who made it."""
    return _mac(cookie, data)


def _mac(key: bytes, data: bytes) -> bytes:
    return blake2s(data, key=key, digest_size=MAC_BYTES).digest()
