"""Where an agent may be reached: addresses, how each was found, and what stands in front of them.

Owns the values and their order of preference alone. Who finds candidates is outside of the core; who probes and chooses
is `paths`. A candidate is told to a peer only inside a session, and only once both have said yes.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from agent.protocol.packet import Address

RELAY_UDP: Final = "relay-udp"
RELAY_WS: Final = "relay-ws"
"""Hosts of relayed addresses; the port is the number of a binding, as the client of the relays has given it out."""
MOST_CANDIDATES: Final = 24


class Found(IntEnum):
    """How a candidate was found."""

    HOST = 0
    """An address of one of this machine's interfaces."""
    REFLEXIVE = 1
    """What a STUN server saw (RFC 8489)."""
    MAPPED = 2
    """A port that a router has opened (UPnP IGD, NAT-PMP, PCP)."""


class Mapping(IntEnum):
    """What a NAT makes of our address for different destinations (RFC 4787 section 4.1)."""

    UNKNOWN = 0
    NONE = 1
    """There is no NAT: the world sees an address that this machine has."""
    INDEPENDENT = 2
    DEPENDENT = 3
    """Another port for each destination: a symmetric NAT."""
    BLOCKED = 4
    """No UDP comes back at all."""


class Filtering(IntEnum):
    """Whose datagrams a NAT or firewall lets in (RFC 4787 section 5)."""

    UNKNOWN = 0
    OPEN = 1
    """Everybody's, or those of each address that was sent to, whatever their port."""
    PORT = 2
    """Only those of exactly the address and port that was sent to."""


class PathKind(StrEnum):
    """What a path is, as people read it; in the order of preference (direct IPv6 before direct IPv4)."""

    LOOPBACK = "loopback"
    LAN = "lan"
    DIRECT = "direct"
    """One side has an address that the world sees as it is: no hole had to be punched there."""
    MAPPED = "mapped"
    PUNCHED = "punched"
    RELAY_UDP = RELAY_UDP
    RELAY_WS = RELAY_WS

    @property
    def relayed(self) -> bool:
        """Tell whether packets go through a relay."""
        return self in (PathKind.RELAY_UDP, PathKind.RELAY_WS)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address at which this agent, or a peer's, may be reached over UDP."""

    found: Found
    address: Address


@dataclass(frozen=True, slots=True)
class Nat:
    """How the network in front of an agent behaves towards UDP."""

    mapping: Mapping = Mapping.UNKNOWN
    filtering: Filtering = Filtering.UNKNOWN


def usable(address: Address) -> bool:
    """Tell whether datagrams may be sent to an address that a peer has named."""
    host, port = address
    try:
        ip = ip_address(host)
    except ValueError:
        return False
    return 0 < port < 65536 and not (ip.is_multicast or ip.is_unspecified or _is_broadcast(ip))


def is_global(host: str) -> bool:
    """Tell whether an IP address is one that the whole internet routes."""
    return ip_address(host).is_global


def _is_broadcast(ip: IPv4Address | IPv6Address) -> bool:
    return int(ip) == 0xFFFFFFFF and ip.version == 4
