"""The relay's datagrams: bytes in, values out, and back. The rendezvous forwards with it, agents bind with it.

Owns the format and the proof. Which bindings there are is `rendezvous/relay.py`; sockets are elsewhere. First bytes are
0xE8 to 0xEF: clear of RFC 7983's ranges and of the peer protocol's own. Big-endian:

    BIND       0xE8 | version u8 | transaction 8 | ticket                               agent to relay
    CHALLENGE  0xE9 | transaction 8 | challenge 24                                      relay to agent
    PROOF      0xEA | version u8 | transaction 8 | challenge 24 | mac 32 | ticket       agent to relay
    BOUND      0xEB | transaction 8 | binding 8 | left u64 | idle u16 | peer u8         relay to agent
    REFUSED    0xEC | transaction 8, or binding 8 | code u8                             relay to agent
    DATA       0xED | binding 8 | inner datagram                                        both ways
    KEEPALIVE  0xEE | binding 8 | echo 8 | zeros 8                                      agent to relay
    ALIVE      0xEF | binding 8 | echo 8 | left u64                                     relay to agent

Where UDP is blocked they come over a WebSocket, path `WEBSOCKET_PATH` of the rendezvous: each binary message holds one
or more, each after its length, u16. The first must be a BIND.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from struct import Struct
from typing import Final

from rendezvous.contract.ticket import Ticket, decode_ticket

VERSION: Final = 1
TRANSACTION_SIZE: Final = 8
BINDING_SIZE: Final = 8
CHALLENGE_SIZE: Final = 24
MAC_SIZE: Final = 32
HEADER_SIZE: Final = 1 + BINDING_SIZE
"""What DATA adds to the datagram inside."""
LARGEST_INNER: Final = 1452
"""Bytes inside DATA: as many as the peer protocol ever sends. 1200 always pass."""
WEBSOCKET_PATH: Final = "/relay"
LARGEST_MESSAGE: Final = 65_536
"""Bytes of one message over a WebSocket."""
_PROOF_CONTEXT: Final = b"tmge-relay-proof-v1\0"

_BIND: Final = Struct(f">BB{TRANSACTION_SIZE}s")
_CHALLENGE: Final = Struct(f">B{TRANSACTION_SIZE}s{CHALLENGE_SIZE}s")
_PROOF: Final = Struct(f">BB{TRANSACTION_SIZE}s{CHALLENGE_SIZE}s{MAC_SIZE}s")
_BOUND: Final = Struct(f">B{TRANSACTION_SIZE}s{BINDING_SIZE}sQHB")
_REFUSED: Final = Struct(f">B{TRANSACTION_SIZE}sB")
_ALIVE: Final = Struct(f">B{BINDING_SIZE}s8sQ")


class Kind(IntEnum):
    """The first byte."""

    BIND = 0xE8
    CHALLENGE = 0xE9
    PROOF = 0xEA
    BOUND = 0xEB
    REFUSED = 0xEC
    DATA = 0xED
    KEEPALIVE = 0xEE
    ALIVE = 0xEF


FIRST_BYTES: Final = range(Kind.BIND, Kind.ALIVE + 1)


class Refusal(IntEnum):
    """Why a relay does not bind, or does not forward."""

    EXPIRED = 1
    BAD_PROOF = 2
    """The secret is not that of this ticket, or the ticket is not one that this rendezvous has signed."""
    WRONG_RELAY = 3
    STALE = 4
    """The challenge is too old, for another address, or one that was passed by a later one: bind again."""
    TICKET_BUDGET = 5
    PERSON_BUDGET = 6
    TOO_FAST = 7
    TOO_MANY = 8
    """One of the two has too many bindings."""
    FULL = 9


@dataclass(frozen=True, slots=True)
class Bind:
    """A wish to be reached where this comes from."""

    transaction: bytes
    ticket: Ticket

    def encode(self) -> bytes:
        """Return its bytes."""
        return _BIND.pack(Kind.BIND, VERSION, self.transaction) + self.ticket.encode()


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the relay sends to an address that has not proved itself: shorter than any BIND."""

    transaction: bytes
    challenge: bytes

    def encode(self) -> bytes:
        """Return its bytes."""
        return _CHALLENGE.pack(Kind.CHALLENGE, self.transaction, self.challenge)


@dataclass(frozen=True, slots=True)
class Proof:
    """The answer to a challenge; `mac` as `proof_of` has it. The ticket comes again: the relay has kept nothing."""

    transaction: bytes
    challenge: bytes
    mac: bytes
    ticket: Ticket

    def encode(self) -> bytes:
        """Return its bytes."""
        head = _PROOF.pack(Kind.PROOF, VERSION, self.transaction, self.challenge, self.mac)
        return head + self.ticket.encode()


@dataclass(frozen=True, slots=True)
class Bound:
    """A binding stands. `left` bytes of the ticket's budget, `idle` seconds of silence that it outlives; `peer`: the
    other side is bound too. It comes again, with the same transaction, when the other side binds.
    """

    transaction: bytes
    binding: bytes
    left: int
    idle: int
    peer: bool

    def encode(self) -> bytes:
        """Return its bytes."""
        return _BOUND.pack(Kind.BOUND, self.transaction, self.binding, self.left, self.idle, self.peer)


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal of the BIND or PROOF with this transaction, or of DATA on this binding."""

    about: bytes
    code: Refusal

    def encode(self) -> bytes:
        """Return its bytes."""
        return _REFUSED.pack(Kind.REFUSED, self.about, self.code)


@dataclass(frozen=True, slots=True)
class Data:
    """A datagram of the peer protocol. `binding` is always the agent's own, whether it sends or receives."""

    binding: bytes
    inner: bytes

    def encode(self) -> bytes:
        """Return its bytes."""
        return b"\xed" + self.binding + self.inner


@dataclass(frozen=True, slots=True)
class Keepalive:
    """A sign of life; `echo` comes back."""

    binding: bytes
    echo: bytes

    def encode(self) -> bytes:
        """Return its bytes, as many as the answer has."""
        return _ALIVE.pack(Kind.KEEPALIVE, self.binding, self.echo, 0)


@dataclass(frozen=True, slots=True)
class Alive:
    """The answer to a keepalive: the binding stands, with `left` bytes of the ticket's budget."""

    binding: bytes
    echo: bytes
    left: int

    def encode(self) -> bytes:
        """Return its bytes."""
        return _ALIVE.pack(Kind.ALIVE, self.binding, self.echo, self.left)


Datagram = Bind | Challenge | Proof | Bound | Refused | Data | Keepalive | Alive


def proof_of(secret: bytes, challenge: bytes, ticket: Ticket) -> bytes:
    """Return the MAC that answers a challenge: HMAC-SHA-256 with the side's secret."""
    return hmac.digest(secret, _PROOF_CONTEXT + challenge + ticket.id + bytes([ticket.side]), sha256)


def decode(datagram: bytes) -> Datagram | None:
    """Read one datagram; None unless it is exactly one of the relay's."""
    try:
        return _READERS[Kind(datagram[0])](datagram)
    except (IndexError, ValueError):
        return None


def join(datagrams: Iterable[bytes]) -> bytes:
    """Write datagrams as one message for a WebSocket; they must fit."""
    return b"".join(piece for datagram in datagrams for piece in (len(datagram).to_bytes(2, "big"), datagram))


def split(message: bytes) -> list[bytes]:
    """Read the datagrams of a message; ValueError unless it holds whole ones, none of them empty, and at least one."""
    datagrams, at = [], 0
    while at < len(message):
        start = at + 2
        at = start + int.from_bytes(message[at:start], "big")
        if not start < at <= len(message):
            raise ValueError("a message ends inside a datagram")
        datagrams.append(message[start:at])
    if not datagrams:
        raise ValueError("a message is empty")
    return datagrams


def _read_bind(datagram: bytes) -> Bind | None:
    if len(datagram) < _BIND.size:
        return None
    _, version, transaction = _BIND.unpack_from(datagram)
    return Bind(transaction, decode_ticket(datagram[_BIND.size :])) if version == VERSION else None


def _read_challenge(datagram: bytes) -> Challenge | None:
    if len(datagram) != _CHALLENGE.size:
        return None
    return Challenge(*_CHALLENGE.unpack(datagram)[1:])


def _read_proof(datagram: bytes) -> Proof | None:
    if len(datagram) < _PROOF.size:
        return None
    _, version, transaction, challenge, mac = _PROOF.unpack_from(datagram)
    ticket = decode_ticket(datagram[_PROOF.size :])
    return Proof(transaction, challenge, mac, ticket) if version == VERSION else None


def _read_bound(datagram: bytes) -> Bound | None:
    if len(datagram) != _BOUND.size:
        return None
    _, transaction, binding, left, idle, peer = _BOUND.unpack(datagram)
    return Bound(transaction, binding, left, idle, bool(peer)) if peer < 2 else None


def _read_refused(datagram: bytes) -> Refused | None:
    if len(datagram) != _REFUSED.size:
        return None
    _, about, code = _REFUSED.unpack(datagram)
    return Refused(about, Refusal(code))


def _read_data(datagram: bytes) -> Data | None:
    if not HEADER_SIZE < len(datagram) <= HEADER_SIZE + LARGEST_INNER:
        return None
    return Data(datagram[1:HEADER_SIZE], datagram[HEADER_SIZE:])


def _read_keepalive(datagram: bytes) -> Keepalive | None:
    if len(datagram) != _ALIVE.size:
        return None
    _, binding, echo, zeros = _ALIVE.unpack(datagram)
    return None if zeros else Keepalive(binding, echo)


def _read_alive(datagram: bytes) -> Alive | None:
    if len(datagram) != _ALIVE.size:
        return None
    return Alive(*_ALIVE.unpack(datagram)[1:])


_READERS: Final = {
    Kind.BIND: _read_bind,
    Kind.CHALLENGE: _read_challenge,
    Kind.PROOF: _read_proof,
    Kind.BOUND: _read_bound,
    Kind.REFUSED: _read_refused,
    Kind.DATA: _read_data,
    Kind.KEEPALIVE: _read_keepalive,
    Kind.ALIVE: _read_alive,
}
