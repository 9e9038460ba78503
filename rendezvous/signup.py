"""What a sign-up, or a wish to be forgotten, must hold, and what makes it believable. Pure: bytes in, values out. Used
by `routes.py`.

Owns the rules that need no store: shapes, signatures, audience, time. Whether the name is free and the sequence number
new is for the store to decide, at once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rendezvous.answers import Refused
from rendezvous.contract import identity
from rendezvous.contract.encoding import from_text
from rendezvous.contract.identity import CLOCK_TOLERANCE
from rendezvous.contract.names import canonical
from rendezvous.contract.presence import VISIBILITIES
from rendezvous.people import Claim

MAX_SEQ: Final = 2**53 - 1
"""The largest integer that every JSON reader (and Lua in Redis) holds exactly."""

_SIGNED: Final = ("key", "box_key", "box_signature", "seq", "audience", "time", "signature")
_LENGTHS: Final = {"key": 32, "box_key": 32, "box_signature": 64, "audience": 32, "signature": 64}


@dataclass(frozen=True, slots=True)
class Farewell:
    """A wish to be forgotten, as its owner has signed it."""

    name: str
    key: bytes
    seq: int


def read(body: bytes, host: str, audience: bytes, now: float) -> Claim:
    """Read a sign-up that came from `host`; Refused where anything is wrong with it.

    `audience` is this server's own public key, `now` in Unix seconds. An `ip` in the body, and every field that is not
    known, is ignored (but signed).
    """
    fields = _object(body)
    name = _name(fields.get("username"))
    port = _integer(fields, "port", 1, 65535)
    visibility = fields.get("visibility", "listed")
    if visibility not in VISIBILITIES:
        raise _malformed(f"visibility must be one of {', '.join(VISIBILITIES)}.")
    direct = fields.get("direct", False)
    if not isinstance(direct, bool):
        raise _malformed("direct must be true or false.")
    data = _signed_data(fields, _SIGNED)
    seq = _integer(fields, "seq", 1, MAX_SEQ)
    claim = Claim(name, data["key"], data["box_key"], data["box_signature"], seq, host, port, str(visibility), direct)
    _check(fields, identity.SIGNUP_CONTEXT, data, audience, now, claim)
    return claim


def read_farewell(body: bytes, audience: bytes, now: float) -> Farewell:
    """Read a wish to be forgotten; Refused where anything is wrong with it."""
    fields = _object(body)
    name = _name(fields.get("username"))
    data = _signed_data(fields, ("key", "seq", "audience", "time", "signature"))
    farewell = Farewell(name, data["key"], _integer(fields, "seq", 1, MAX_SEQ))
    _check(fields, identity.FORGET_CONTEXT, data, audience, now)
    return farewell


def _signed_data(fields: Mapping[str, object], needed: tuple[str, ...]) -> dict[str, bytes]:
    missing = [field for field in needed if fields.get(field) is None]
    if len(missing) == len(needed):
        raise Refused(401, "unsigned", f"This must be signed by the key of its owner: {', '.join(needed)} are missing.")
    if missing:
        raise _malformed(f"What is signed lacks {', '.join(missing)}.")
    return {field: _data(fields, field, _LENGTHS[field]) for field in needed if field in _LENGTHS}


def _check(
    fields: Mapping[str, object],
    context: bytes,
    data: Mapping[str, bytes],
    audience: bytes,
    now: float,
    claim: Claim | None = None,
) -> None:
    """Check signatures first: about what is forged, nothing more is said."""
    at = _integer(fields, "time", 0, MAX_SEQ)
    try:
        message = identity.signed_message(context, fields)
    except (ValueError, RecursionError):
        raise _malformed("The body holds text that is not Unicode.") from None
    if not identity.verify(data["key"], data["signature"], message):
        raise Refused(401, "bad_signature", "The signature is not by this key over these fields.")
    if claim is not None:
        box_message = identity.box_message(claim.name, claim.box_key)
        if not identity.verify(claim.key, claim.box_signature, box_message):
            raise Refused(
                401, "bad_signature", f"box_signature is not by this key over box_key and the name {claim.name}."
            )
    if data["audience"] != audience:
        raise Refused(400, "wrong_audience", "This was signed for another rendezvous.")
    if abs(at - now) > CLOCK_TOLERANCE:
        minutes = abs(at - now) / 60
        way = "ahead" if at > now else "behind"
        raise Refused(400, "wrong_time", f"The clock of the signer is {minutes:.0f} minutes {way}.")


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
