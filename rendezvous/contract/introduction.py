"""Introductions: a few bytes from one agent to another that it has no session with, carried by the rendezvous.

In JSON: `{from, to, payload, audience, time, key, signature}`; `from` and `to` are names, `payload` up to 4 KiB as
base64url, `key` the sender's Ed25519 key, which signs the rest under a context of its own. The rendezvous checks the
signature and who is connected, and keeps nothing; the receiver checks it again, and decides what it is worth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rendezvous.contract.encoding import from_text
from rendezvous.contract.identity import CLOCK_TOLERANCE, INTRODUCTION_CONTEXT, signed_message, verify
from rendezvous.contract.names import canonical

MAX_PAYLOAD: Final = 4096


@dataclass(frozen=True, slots=True)
class Introduction:
    """One that is well-formed, in time, for this rendezvous, and signed by `key`."""

    sender: str
    to: str
    key: bytes
    payload: bytes


def introduction_message(fields: Mapping[str, object]) -> bytes:
    """Bytes that an introduction signs."""
    return signed_message(INTRODUCTION_CONTEXT, fields)


def read_introduction(value: object, audience: bytes, now: float) -> Introduction:
    """Read one from JSON and check it; ValueError with a sentence for what does not hold."""
    if not isinstance(value, Mapping):
        raise ValueError("An introduction is an object.")
    sender, to = (_name(value.get(field), field) for field in ("from", "to"))
    key, signature = _bytes(value, "key", 32), _bytes(value, "signature", 64)
    payload = _bytes(value, "payload", None)
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"payload has at most {MAX_PAYLOAD} bytes.")
    at = value.get("time")
    if not isinstance(at, int) or isinstance(at, bool) or abs(at - now) > CLOCK_TOLERANCE:
        raise ValueError("time is not now.")
    if _bytes(value, "audience", 32) != audience:
        raise ValueError("This introduction was signed for another rendezvous.")
    try:
        message = introduction_message(value)
    except (ValueError, TypeError, RecursionError):
        raise ValueError("An introduction holds what cannot be signed.") from None
    if not verify(key, signature, message):
        raise ValueError("The signature is not by this key over these fields.")
    return Introduction(sender, to, key, payload)


def _name(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{field} must be a name.")
    return canonical(value)


def _bytes(value: Mapping[object, object], field: str, length: int | None) -> bytes:
    text = value.get(field)
    try:
        if not isinstance(text, str):
            raise ValueError("not a text")
        return from_text(text, length)
    except ValueError:
        raise ValueError(f"{field} must be bytes in base64url without padding.") from None
