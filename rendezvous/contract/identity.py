"""What an identity is, and which bytes it signs. Keys are raw: Ed25519 and X25519, 32 bytes each
(RFC 8032, RFC 7748).
"""

import base64
import hashlib
import json
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

BOX_CONTEXT = b"tmge-box-v1\0"
SIGNUP_CONTEXT = b"tmge-signup-v1\0"
FORGET_CONTEXT = b"tmge-forget-v1\0"
INTRODUCTION_CONTEXT = b"tmge-introduction-v1\0"

CLOCK_TOLERANCE = 600
"""Seconds that a signer's clock may be off: what was signed earlier or later is refused."""


def fingerprint(key: bytes) -> str:
    """Name an Ed25519 key for people: 160 bits of its SHA-256 in base32, eight groups of four."""
    text = base64.b32encode(hashlib.sha256(key).digest()[:20]).decode("ascii").lower()
    return "-".join(text[i : i + 4] for i in range(0, 32, 4))


def box_message(name: str, box_key: bytes) -> bytes:
    """Bytes that an identity signs to say: this X25519 key is mine, under this name."""
    return BOX_CONTEXT + name.encode("utf-8") + b"\0" + box_key


def signed_message(context: bytes, fields: Mapping[str, object]) -> bytes:
    """Bytes that are signed of a JSON object: the context, then the JSON without `signature`, keys sorted, no spaces,
    UTF-8. ValueError for text that is not Unicode.
    """
    signed = {name: value for name, value in fields.items() if name != "signature"}
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return context + text.encode("utf-8")


def signup_message(fields: Mapping[str, object]) -> bytes:
    """Bytes that a sign-up signs."""
    return signed_message(SIGNUP_CONTEXT, fields)


def verify(key: bytes, signature: bytes, message: bytes) -> bool:
    """Say whether an Ed25519 key of 32 bytes signed a message."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
