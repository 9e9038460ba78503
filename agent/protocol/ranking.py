"""Of which kind the path to an address is, and which of two paths is the better one. Pure; used by `paths`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

from agent.protocol.candidates import RELAY_UDP, RELAY_WS, Candidate, Found, Mapping, Nat, PathKind
from agent.protocol.packet import Address

KINDS: Final = tuple(PathKind)
_LOCAL: Final = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"))
)
_NETWORK_BITS: Final = {4: 24, 6: 64}
"""Of one LAN, where nothing better is known."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one side stands towards the internet: what is in front of it, and where it may be reached."""

    nat: Nat = field(default_factory=Nat)
    candidates: tuple[Candidate, ...] = ()

    def has(self, found: Found, address: Address) -> bool:
        """Tell whether this is one of its candidates, found in this way."""
        return Candidate(found, address) in self.candidates

    def hosts(self) -> Iterable[str]:
        """Return the addresses of its interfaces."""
        return (candidate.address[0] for candidate in self.candidates if candidate.found is Found.HOST)


def relayed(address: Address) -> bool:
    """Tell whether an address is a binding at a relay."""
    return address[0] in (RELAY_UDP, RELAY_WS)


def kind_of(address: Address, ours: Standing, theirs: Standing, mapped: bool = False) -> PathKind:
    """Return the kind of the path to `address`; `mapped`: the peer reaches us at a port that our router has opened."""
    if relayed(address):
        return PathKind(address[0])
    if is_loopback(address[0]):
        return PathKind.LOOPBACK
    if is_local(address[0]) or (theirs.has(Found.HOST, address) and any(_near(address[0], h) for h in ours.hosts())):
        return PathKind.LAN
    if mapped or theirs.has(Found.MAPPED, address):
        return PathKind.MAPPED
    if Mapping.NONE in (ours.nat.mapping, theirs.nat.mapping) or theirs.has(Found.HOST, address):
        return PathKind.DIRECT
    return PathKind.PUNCHED


def rank(kind: PathKind, address: Address) -> tuple[int, int]:
    """Return what paths are sorted by before their round trips, best first: the kind, then IPv6 before IPv4."""
    return KINDS.index(kind), 0 if ":" in address[0] else 1


def is_loopback(host: str) -> bool:
    """Tell whether an IP address is this machine's own."""
    return _ip(host).is_loopback


@lru_cache(256)
def is_local(host: str) -> bool:
    """Tell whether an IP address is one of those that every network may use for itself."""
    ip = _ip(host)
    return any(ip in network for network in _LOCAL if network.version == ip.version)


@lru_cache(256)
def _near(one: str, other: str) -> bool:
    a, b = _ip(one), _ip(other)
    bits = a.max_prefixlen - _NETWORK_BITS[a.version]
    return a.version == b.version and int(a) >> bits == int(b) >> bits


_ip = lru_cache(256)(ip_address)
