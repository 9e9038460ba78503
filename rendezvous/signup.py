"""What a sign-up must hold, and what makes it believable. Pure: bytes in, a claim out. Used by
`routes.py`.

Owns the rules that need no store: shapes, signatures, audience, time. Whether the name is free and
the sequence number new is for the store to decide, at once.
"""

import json
from collections.abc import Mapping
from typing import Final

from rendezvous.answers import Refused
from rendezvous.contract import identity
from rendezvous.contract.encoding import from_text
from rendezvous.contract.names import canonical
from rendezvous.store import Claim

CLOCK_TOLERANCE: Final = 600
"""Seconds that a signer's clock may be off."""
MAX_SEQ: Final = 2**53 - 1
"""The largest integer that every JSON reader (and Lua in Redis) holds exactly."""

_SIGNED: Final = ("key", "box_key", "box_signature", "seq", "audience", "time", "signature")
_LENGTHS: Final = {"key": 32, "box_key": 32, "box_signature": 64, "audience": 32, "signature": 64}


def read(body: bytes, host: str, audience: bytes, now: float) -> Claim:
    """Read a sign-up that came from `host`; Refused where anything is wrong with it.

    `audience` is this server's own public key, `now` in Unix seconds. An `ip` in the body, and
    every field that is not known, is ignored (but signed).
    """
    fields = _object(body)
    name = _name(fields.get("username"))
    port = _integer(fields, "port", 1, 65535)
    given = [field for field in _SIGNED if fields.get(field) is not None]
    if not given:
        return Claim(name, b"", b"", b"", 0, host, port)
    missing = [field for field in _SIGNED if field not in given]
    if missing:
        raise _malformed(f"A signed sign-up lacks {', '.join(missing)}.")
    data = {field: _data(fields, field, length) for field, length in _LENGTHS.items()}
    claim = Claim(
        name,
        data["key"],
        data["box_key"],
        data["box_signature"],
        _integer(fields, "seq", 1, MAX_SEQ),
        host,
        port,
    )
    at = _integer(fields, "time", 0, MAX_SEQ)
    _check_signatures(claim, fields, data["signature"])
    if data["audience"] != audience:
        raise Refused(400, "wrong_audience", "This sign-up was signed for another rendezvous.")
    if abs(at - now) > CLOCK_TOLERANCE:
        minutes = abs(at - now) / 60
        way = "ahead" if at > now else "behind"
        raise Refused(400, "wrong_time", f"The clock of the signer is {minutes:.0f} minutes {way}.")
    return claim


def _check_signatures(claim: Claim, fields: Mapping[str, object], signature: bytes) -> None:
    try:
        message = identity.signup_message(fields)
    except (ValueError, RecursionError):
        raise _malformed("The sign-up holds text that is not Unicode.") from None
    if not identity.verify(claim.key, signature, message):
        raise Refused(401, "bad_signature", "The signature is not by this key over these fields.")
    box_message = identity.box_message(claim.name, claim.box_key)
    if not identity.verify(claim.key, claim.box_signature, box_message):
        raise Refused(401, "bad_signature", "box_signature is not by this key over name and box_key.")


def _object(body: bytes) -> dict[str, object]:
    """Read strict JSON: UTF-8, one object, no name twice, no NaN."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise _malformed("The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise _malformed("The body is not a JSON object.")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return fields


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise _malformed("username must be a text.")
    try:
        return canonical(value)
    except ValueError as error:
        raise _malformed(str(error)) from None


def _integer(fields: Mapping[str, object], field: str, low: int, high: int) -> int:
    value = fields.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _malformed(f"{field} must be an integer from {low} to {high}.")
    return value


def _data(fields: Mapping[str, object], field: str, length: int) -> bytes:
    value = fields.get(field)
    try:
        if not isinstance(value, str):
            raise ValueError("not a text")
        return from_text(value, length)
    except ValueError:
        raise _malformed(f"{field} must be {length} bytes in base64url without padding.") from None


def _malformed(message: str) -> Refused:
    return Refused(400, "bad_request", message)
