"""What an agent signs for a rendezvous: sign-ups, and the wish to be forgotten. Used by `directory.py`."""

import time
from typing import Protocol

from agent.directory_wire import Json
from rendezvous.contract.encoding import to_text
from rendezvous.contract.identity import FORGET_CONTEXT, SIGNUP_CONTEXT, signed_message


class Identity(Protocol):
    """Who signs up: raw public keys, and their signatures."""

    @property
    def key(self) -> bytes:
        """The Ed25519 key."""

    @property
    def box_key(self) -> bytes:
        """The X25519 key."""

    def sign(self, data: bytes, /) -> bytes:
        """Sign with the Ed25519 key."""

    def box_signature(self, name: str, /) -> bytes:
        """Vouch for the X25519 key under a name."""


def signed_signup(
    identity: Identity, name: str, port: int, visibility: str, code: str, direct: bool, seq: int, audience: bytes
) -> Json:
    """Return a sign-up; `code` is what the rendezvous wants of newcomers, if it does; `direct`: whoever sees us at the
    rendezvous may see our address there.
    """
    fields: Json = {
        "username": name,
        "port": port,
        "box_key": to_text(identity.box_key),
        "box_signature": to_text(identity.box_signature(name)),
        "visibility": visibility,
        **({"code": code} if code else {}),
        **({"direct": True} if direct else {}),
    }
    return _signed(identity, SIGNUP_CONTEXT, fields, seq, audience)


def signed_farewell(identity: Identity, name: str, seq: int, audience: bytes) -> Json:
    """Return a wish to be forgotten."""
    return _signed(identity, FORGET_CONTEXT, {"username": name}, seq, audience)


def _signed(identity: Identity, context: bytes, fields: Json, seq: int, audience: bytes) -> Json:
    fields |= {"key": to_text(identity.key), "seq": seq, "audience": to_text(audience), "time": int(time.time())}
    return fields | {"signature": to_text(identity.sign(signed_message(context, fields)))}
