"""What a STUN Binding server answers (RFC 8489 sections 6.3 and 12): datagram in, datagram out.
Used by `udp.py` and the entry point.

Owns no socket and keeps no state. Every reply holds the least that the RFC asks for, so that a
forged source address gains an attacker nothing worth having: 40 bytes (IPv4) or 52 (IPv6).

NAT behaviour discovery (RFC 5780), the part that needs no second address:

- CHANGE-REQUEST with the port bit alone is answered from the second port, but only where the reply
  is no longer than the request: it comes from where nobody asked, so a longer one would be a gift to
  whoever forges addresses. Requests are made long enough with SOFTWARE or any other optional
  attribute. A shorter one gets no answer.
- CHANGE-REQUEST with the address bit, or without a second port: 420 (section 6.1), under the same
  limit.
- OTHER-ADDRESS must not be sent without a second address (section 7.4), and RESPONSE-ORIGIN says
  what the reply's source says already. So the second port is not found here: `GET /identity` tells.
- PADDING and RESPONSE-PORT are not served: 420.
"""

import struct
from dataclasses import dataclass
from typing import Final

from rendezvous.contract import stun

_KNOWN: Final = frozenset(
    {0x0001, 0x0006, 0x0008, 0x0009, 0x000A, 0x0014, 0x0015, 0x001C, 0x001D, 0x001E, stun.XOR_MAPPED_ADDRESS}
)
"""Comprehension-required attributes of RFC 8489 that a server without credentials ignores: USERNAME
and its kin, and what belongs into responses (section 6.3).
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """A datagram for whoever asked, and the port that it leaves from."""

    datagram: bytes
    from_second_port: bool = False


def answer(datagram: bytes, host: str, port: int, *, second_port: bool = False) -> Reply | None:
    """Answer one datagram from `host`:`port`; None for everything that is not a Binding request.

    `second_port`: this server has one, so that a reply can leave from it.
    """
    request = stun.decode(datagram)
    if request is None or request.kind != stun.BINDING_REQUEST:
        return None
    change = request.get(stun.CHANGE_REQUEST)
    if change is not None and len(change) != 4:
        return None
    flags = int.from_bytes(change or b"", "big")
    known = _KNOWN | {stun.CHANGE_REQUEST} if _can_change(flags, second_port) else _KNOWN
    unknown = sorted({kind for kind, _ in request.attributes if kind < 0x8000} - known)
    reply = _unknown_attributes(request, unknown) if unknown else _success(request, host, port)
    if change is not None and len(reply) > len(datagram):
        return None
    return Reply(reply, from_second_port=bool(flags & stun.CHANGE_PORT) and not unknown)


def _can_change(flags: int, second_port: bool) -> bool:
    """Tell whether what CHANGE-REQUEST asks for can be done; bits without a meaning do not count."""
    return not flags & stun.CHANGE_IP and (second_port or not flags & stun.CHANGE_PORT)


def _success(request: stun.Message, host: str, port: int) -> bytes:
    address = stun.pack_address(host, port, request.transaction)
    attributes = ((stun.XOR_MAPPED_ADDRESS, address),)
    return stun.encode(stun.Message(stun.BINDING_SUCCESS, request.transaction, attributes))


def _unknown_attributes(request: stun.Message, unknown: list[int]) -> bytes:
    """Say which attributes were not understood, each once (RFC 8489 section 6.3.1)."""
    attributes = (
        (stun.ERROR_CODE, struct.pack("!HBB", 0, 4, 20)),
        (stun.UNKNOWN_ATTRIBUTES, struct.pack(f"!{len(unknown)}H", *unknown)),
    )
    return stun.encode(stun.Message(stun.BINDING_ERROR, request.transaction, attributes))
