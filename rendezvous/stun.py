"""What a STUN Binding server answers (RFC 8489 sections 6.3 and 12): datagram in, datagram out.
Used by `udp.py`.

Owns no socket and keeps no state. Every reply holds the least that the RFC asks for, so that a
forged source address gains an attacker nothing worth having.
"""

import struct
from typing import Final

from rendezvous.contract import stun

_KNOWN: Final = frozenset({0x0006, 0x0008, 0x0014, 0x0015, 0x001C, 0x001D, 0x001E})
"""Comprehension-required attributes of RFC 8489 that a server without credentials may ignore:
USERNAME and its kin.
"""


def answer(datagram: bytes, host: str, port: int) -> bytes | None:
    """Answer one datagram from `host`:`port`; None for everything that is not a Binding request."""
    request = stun.decode(datagram)
    if request is None or request.kind != stun.BINDING_REQUEST:
        return None
    unknown = sorted({kind for kind, _ in request.attributes if kind < 0x8000} - _KNOWN)
    if unknown:
        return _unknown_attributes(request, unknown)
    address = stun.pack_address(host, port, request.transaction)
    attributes = ((stun.XOR_MAPPED_ADDRESS, address),)
    return stun.encode(stun.Message(stun.BINDING_SUCCESS, request.transaction, attributes))


def _unknown_attributes(request: stun.Message, unknown: list[int]) -> bytes:
    """Answer 420 and say which attributes were not understood (RFC 8489 section 6.3.1), never
    more than were sent.
    """
    attributes = (
        (stun.ERROR_CODE, struct.pack("!HBB", 0, 4, 20)),
        (stun.UNKNOWN_ATTRIBUTES, struct.pack(f"!{len(unknown)}H", *unknown)),
    )
    return stun.encode(stun.Message(stun.BINDING_ERROR, request.transaction, attributes))
