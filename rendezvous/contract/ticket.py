"""Tickets: the right of exactly two identities to have packets forwarded by one relay, and their bytes.

A ticket names both identities, the side that it is for, the relay, when it ends and how many bytes it is good for; the
rendezvous signs it, so a relay needs no store to judge one. Each side's ticket comes with a secret of 32 bytes, on that
side's own connection: the relay challenges whoever binds an address, and only that side can answer. How the relay
finds the secret from the ticket is the rendezvous' business (`rendezvous/tickets.py`).

Bytes, big-endian: `version u8 | side u8 | id 16 | asker 32 | other 32 | expires u64 | budget u64 | length u8 | relay |
signature 64`.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from struct import Struct
from typing import Final

from rendezvous.contract.identity import verify

TICKET_CONTEXT: Final = b"tmge-ticket-v1\0"
SECRET_SIZE: Final = 32
ID_SIZE: Final = 16
_VERSION: Final = 1
_HEAD: Final = Struct(">BB16s32s32sQQB")
_SIGNATURE: Final = 64


class Side(IntEnum):
    """Which of the two a ticket is for."""

    ASKER = 0
    OTHER = 1


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket for one side. `asker` and `other` are Ed25519 keys, `expires` Unix seconds, `budget` bytes.

    `relay` is HOST:PORT; a host that is empty is that of the rendezvous itself.
    """

    id: bytes
    side: Side
    asker: bytes
    other: bytes
    relay: str
    expires: int
    budget: int
    signature: bytes = b""

    @property
    def holder(self) -> bytes:
        """Return the key of the side that it is for."""
        return self.asker if self.side is Side.ASKER else self.other

    @property
    def peer(self) -> bytes:
        """Return the key of the side that its holder may send to."""
        return self.other if self.side is Side.ASKER else self.asker

    def body(self) -> bytes:
        """Return its bytes without the signature."""
        relay = self.relay.encode()
        head = (_VERSION, self.side, self.id, self.asker, self.other, self.expires, self.budget, len(relay))
        return _HEAD.pack(*head) + relay

    def message(self) -> bytes:
        """Return the bytes that the rendezvous signs."""
        return TICKET_CONTEXT + self.body()

    def signed(self, signature: bytes) -> "Ticket":
        """Return it with its signature."""
        return replace(self, signature=signature)

    def encode(self) -> bytes:
        """Return its bytes."""
        return self.body() + self.signature

    def valid(self, server: bytes, now: float) -> bool:
        """Say whether this rendezvous has signed it and its time has not passed."""
        return now < self.expires and verify(server, self.signature, self.message())


def decode_ticket(data: bytes) -> Ticket:
    """Read a ticket; ValueError unless it is exactly one. Next: `valid`."""
    if len(data) < _HEAD.size + _SIGNATURE:
        raise ValueError("a ticket ends too early")
    version, side, id, asker, other, expires, budget, length = _HEAD.unpack_from(data)
    if version != _VERSION or len(data) != _HEAD.size + length + _SIGNATURE:
        raise ValueError("a ticket is not of this version or size")
    relay = data[_HEAD.size : _HEAD.size + length].decode()
    return Ticket(id, Side(side), asker, other, relay, expires, budget, data[-_SIGNATURE:])
