"""A card: who someone is, as it travels inside the handshake. Not here: whether to believe it.

    name length 1 | name, canonical UTF-8 | key 32, Ed25519 | box signature 64

The signature is over contract `box_message(name, box key)`. The box key itself is the Noise static
key of whoever sent the card, and is not repeated.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from agent.protocol.errors import Drop
from rendezvous.contract.identity import box_message
from rendezvous.contract.names import canonical

_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64


class HandshakeError(Exception):
    """A handshake packet to ignore: `drop` is what to count, the message is what was wrong."""

    def __init__(self, drop: Drop, reason: str) -> None:
        super().__init__(reason)
        self.drop = drop


class LocalIdentity(Protocol):
    """Who we are."""

    @property
    def key(self) -> bytes: ...
    @property
    def box_key(self) -> bytes: ...
    @property
    def box_private(self) -> X25519PrivateKey: ...
    def box_signature(self, name: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Card:
    """A name and two keys, of which the Ed25519 one vouches for the X25519 one under that name.

    That the name is theirs is for the directory and the pins to say: compare `key` with them.
    """

    name: str
    key: bytes
    box_key: bytes
    box_signature: bytes


def own_card(identity: LocalIdentity, name: str) -> Card:
    """Make the card that we show."""
    return Card(name, identity.key, identity.box_key, identity.box_signature(name))


def encode_card(card: Card) -> bytes:
    """Write a card; ValueError if its name is not in the one form that names have."""
    if canonical(card.name) != card.name:
        raise ValueError(f"{card.name!r} is not the canonical form of a name")
    name = card.name.encode("utf-8")
    return bytes([len(name)]) + name + card.key + card.box_signature


def decode_card(data: bytes, box_key: bytes) -> tuple[Card, bytes]:
    """Read the card of the owner of `box_key`; return it with what stands behind it.

    HandshakeError if it is malformed. Its signature is not looked at: `verify_card` does.
    """
    key_at = 1 + data[0] if data else 1
    signature_at = key_at + _KEY_BYTES
    end = signature_at + _SIGNATURE_BYTES
    if len(data) < end:
        raise HandshakeError(Drop.NOT_AUTHENTIC, "card cut short")
    try:
        name = data[1:key_at].decode("utf-8")
        usable = canonical(name) == name
    except ValueError:
        usable = False
    if not usable:
        raise HandshakeError(Drop.NOT_AUTHENTIC, "card without a name in its one form")
    return Card(name, data[key_at:signature_at], box_key, data[signature_at:end]), data[end:]


def verify_card(card: Card) -> None:
    """Raise HandshakeError unless the Ed25519 key signed box key and name (RFC 8032)."""
    try:
        public = Ed25519PublicKey.from_public_bytes(card.key)
        public.verify(card.box_signature, box_message(card.name, card.box_key))
    except (InvalidSignature, ValueError):
        raise HandshakeError(Drop.NOT_AUTHENTIC, "card with a wrong signature") from None
