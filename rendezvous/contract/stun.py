"""STUN messages (RFC 8489): bytes in, values out, and back. The rendezvous answers with it, agents
ask with it.

Owns the format alone: what to answer is `rendezvous/stun.py`, sockets are elsewhere. Long-term
credentials and MESSAGE-INTEGRITY are not part of a Binding server without credentials: such
attributes are carried, not checked.
"""

import struct
import zlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

MAGIC_COOKIE: Final = 0x2112A442
HEADER: Final = struct.Struct("!HHI12s")
ATTRIBUTE: Final = struct.Struct("!HH")

BINDING_REQUEST: Final = 0x0001
BINDING_INDICATION: Final = 0x0011
BINDING_SUCCESS: Final = 0x0101
BINDING_ERROR: Final = 0x0111

CHANGE_REQUEST: Final = 0x0003
ERROR_CODE: Final = 0x0009
UNKNOWN_ATTRIBUTES: Final = 0x000A
XOR_MAPPED_ADDRESS: Final = 0x0020
SOFTWARE: Final = 0x8022
FINGERPRINT: Final = 0x8028

CHANGE_PORT: Final = 0x02
CHANGE_IP: Final = 0x04
"""The two bits of CHANGE-REQUEST (RFC 5780 section 7.2)."""
LARGEST_SUCCESS: Final = 52
"""Bytes of the longest Binding success of ours (IPv6): what a request with CHANGE-REQUEST must have,
because it is never answered with more than came in. `change_request` writes one.
"""

FINGERPRINT_XOR: Final = 0x5354554E
_FINGERPRINT_SIZE: Final = 8


@dataclass(frozen=True, slots=True)
class Message:
    """One STUN message; `attributes` in the order of the datagram, FINGERPRINT left out (it is
    checked and added here).
    """

    kind: int
    transaction: bytes
    attributes: tuple[tuple[int, bytes], ...] = ()

    def get(self, attribute: int) -> bytes | None:
        """Return the first value of an attribute: later ones do not count (RFC 8489 section 14)."""
        return next((value for kind, value in self.attributes if kind == attribute), None)


def decode(datagram: bytes) -> Message | None:
    """Read one datagram; None unless it is exactly one well-formed STUN message (RFC 8489
    sections 5, 6.3 and 14.7).
    """
    if len(datagram) < HEADER.size or len(datagram) % 4:
        return None
    kind, length, cookie, transaction = HEADER.unpack_from(datagram)
    if kind & 0xC000 or cookie != MAGIC_COOKIE or length != len(datagram) - HEADER.size:
        return None
    attributes: list[tuple[int, bytes]] = []
    at = HEADER.size
    while at < len(datagram):
        attribute, size = ATTRIBUTE.unpack_from(datagram, at)
        start = at + ATTRIBUTE.size
        if start + size > len(datagram):
            return None
        if attribute == FINGERPRINT:
            if start + size != len(datagram) or datagram[at:] != _fingerprint(datagram[:at]):
                return None
            break
        attributes.append((attribute, datagram[start : start + size]))
        at = start + size + -size % 4
    return Message(kind, transaction, tuple(attributes))


def encode(message: Message) -> bytes:
    """Write one message with its FINGERPRINT."""
    body = b"".join(
        ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4) for kind, value in message.attributes
    )
    length = len(body) + _FINGERPRINT_SIZE
    head = HEADER.pack(message.kind, length, MAGIC_COOKIE, message.transaction) + body
    return head + _fingerprint(head)


def change_request(transaction: bytes) -> bytes:
    """Write a Binding request to be answered from the server's second port, long enough to be
    answered.

    From the port that was asked it may be sent by anybody whose NAT does not filter by port: no
    answer means that it does (or a loss: ask again).
    """
    change = (CHANGE_REQUEST, CHANGE_PORT.to_bytes(4, "big"))
    short = encode(Message(BINDING_REQUEST, transaction, (change, (SOFTWARE, b""))))
    padding = bytes([0x20]) * (LARGEST_SUCCESS - len(short))
    return encode(Message(BINDING_REQUEST, transaction, (change, (SOFTWARE, padding))))


def pack_address(host: str, port: int, transaction: bytes) -> bytes:
    """Write the value of XOR-MAPPED-ADDRESS (RFC 8489 section 14.2); an IPv4 address inside IPv6
    is written as IPv4.
    """
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    family = 1 if address.version == 4 else 2
    hidden = _xor(address.packed, transaction)
    return struct.pack("!BBH", 0, family, port ^ (MAGIC_COOKIE >> 16)) + hidden


def unpack_address(value: bytes, transaction: bytes) -> tuple[str, int] | None:
    """Read the value of XOR-MAPPED-ADDRESS; None unless it is well-formed."""
    if len(value) not in (8, 20):
        return None
    _, family, port = struct.unpack_from("!BBH", value)
    if (family, len(value)) not in ((1, 8), (2, 20)):
        return None
    packed = _xor(value[4:], transaction)
    address = IPv4Address(packed) if family == 1 else IPv6Address(packed)
    return str(address), port ^ (MAGIC_COOKIE >> 16)


def _xor(packed: bytes, transaction: bytes) -> bytes:
    mask = MAGIC_COOKIE.to_bytes(4, "big") + transaction
    return bytes(a ^ b for a, b in zip(packed, mask, strict=False))


def _fingerprint(before: bytes) -> bytes:
    """Return the FINGERPRINT attribute for the bytes before it; their length field already
    counts it.
    """
    value = zlib.crc32(before) ^ FINGERPRINT_XOR
    return ATTRIBUTE.pack(FINGERPRINT, 4) + value.to_bytes(4, "big")
