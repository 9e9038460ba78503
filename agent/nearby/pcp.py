"""PCP (RFC 6887) and NAT-PMP (RFC 6886): their requests and answers, as bytes. No socket, no clock.

An answer is taken only where it is the whole of one and names what was asked: everything else is None. Used by
`gateway`.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

PORT: Final = 5351
"""Where a gateway listens, for both protocols."""
LARGEST: Final = 1100
"""Bytes of a PCP message (RFC 6887 section 7)."""
NONCE_SIZE: Final = 12
UDP: Final = 17
TCP: Final = 6

_PCP, _NATPMP = 2, 0
_MAP: Final = 1
_ANSWER: Final = 0x80
_PCP_REQUEST: Final = struct.Struct("!BBHI16s")
_PCP_ANSWER: Final = struct.Struct("!BBBBII12x")
_PCP_MAP: Final = struct.Struct("!12sB3xHH16s")
_NATPMP_OPCODE: Final = {UDP: 1, TCP: 2}
_NATPMP_ADDRESS: Final = struct.Struct("!BBHI4s")
_NATPMP_REQUEST: Final = struct.Struct("!BBHHHI")
_NATPMP_MAP: Final = struct.Struct("!BBHIHHI")
_UNSUPPORTED_VERSION: Final = 1
_PCP_REASONS: Final = {
    1: "it speaks another version",
    2: "it is not allowed",
    4: "it cannot do this",
    7: "the network in front of it is down",
    8: "it has no port left",
    10: "there are too many mappings",
    11: "that port is taken",
    12: "another NAT stands between",
}
_NATPMP_REASONS: Final = {
    1: "it speaks another version",
    2: "it is not allowed",
    3: "the network in front of it is down",
    4: "it has no port left",
    5: "it cannot do this",
}


@dataclass(frozen=True, slots=True)
class Granted:
    """A port is open: for `lifetime` seconds, at `host` where the answer names one; a lifetime of 0: it is closed."""

    host: str | None
    port: int
    lifetime: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The gateway said no; `other_version`: it may speak the older protocol."""

    reason: str
    other_version: bool = False


def pcp_map_request(client: str, nonce: bytes, protocol: int, port: int, external: tuple[str, int], life: int) -> bytes:
    """Ask for `port` of `client` to be reachable, at the suggested `external` address if it can be (section 11.1);
    a lifetime of 0 gives it back.
    """
    head = _PCP_REQUEST.pack(_PCP, _MAP, 0, life, _sixteen(client))
    return head + _PCP_MAP.pack(nonce, protocol, port, external[1], _sixteen(external[0]))


def read_pcp_map(data: bytes, nonce: bytes, protocol: int, port: int) -> Granted | Refused | None:
    """Read the answer to a request with this nonce, protocol and port."""
    if len(data) >= 4 and data[0] == _NATPMP and data[1] & _ANSWER:  # from a gateway that knows NAT-PMP alone
        return Refused(_PCP_REASONS[1], other_version=True)
    if not _PCP_ANSWER.size <= len(data) <= LARGEST or len(data) % 4:
        return None
    version, opcode, _, result, lifetime, _ = _PCP_ANSWER.unpack_from(data)
    if opcode != _ANSWER | _MAP:
        return None
    if result == _UNSUPPORTED_VERSION:
        return Refused(_PCP_REASONS[1], other_version=True)
    if version != _PCP or len(data) < _PCP_ANSWER.size + _PCP_MAP.size:
        return None
    got = _PCP_MAP.unpack_from(data, _PCP_ANSWER.size)
    if got[:3] != (nonce, protocol, port):
        return None
    if result:
        return Refused(_PCP_REASONS.get(result, f"error {result}"))
    return Granted(_address(got[4]), got[3], lifetime)


def natpmp_address_request() -> bytes:
    """Ask which address the world sees (RFC 6886 section 3.2)."""
    return bytes((_NATPMP, 0))


def read_natpmp_address(data: bytes) -> str | Refused | None:
    """Read the address that the world sees."""
    if len(data) < 4 or data[:2] != bytes((_NATPMP, _ANSWER)):
        return None
    if result := int.from_bytes(data[2:4], "big"):
        return Refused(_NATPMP_REASONS.get(result, f"error {result}"))
    if len(data) != _NATPMP_ADDRESS.size:
        return None
    return str(IPv4Address(_NATPMP_ADDRESS.unpack(data)[4]))


def natpmp_map_request(protocol: int, port: int, external: int, life: int) -> bytes:
    """Ask for `port` to be reachable (section 3.3); a lifetime of 0, with no external port, gives it back."""
    return _NATPMP_REQUEST.pack(_NATPMP, _NATPMP_OPCODE[protocol], 0, port, external, life)


def read_natpmp_map(data: bytes, protocol: int, port: int) -> Granted | Refused | None:
    """Read the answer to a request for this protocol and port."""
    if len(data) < 4 or data[:2] != bytes((_NATPMP, _ANSWER | _NATPMP_OPCODE[protocol])):
        return None
    if result := int.from_bytes(data[2:4], "big"):
        return Refused(_NATPMP_REASONS.get(result, f"error {result}"))
    if len(data) != _NATPMP_MAP.size:
        return None
    *_, internal, external, lifetime = _NATPMP_MAP.unpack(data)
    return Granted(None, external, lifetime) if internal == port else None


def _sixteen(host: str) -> bytes:
    """Write an address as PCP does: IPv4 as ::ffff:0:0/96 (RFC 6887 section 5)."""
    ip = ip_address(host)
    return ip.packed if isinstance(ip, IPv6Address) else bytes(10) + b"\xff\xff" + ip.packed


def _address(packed: bytes) -> str:
    ip = IPv6Address(packed)
    return str(ip.ipv4_mapped or ip)
