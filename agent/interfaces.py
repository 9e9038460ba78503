"""Which addresses this machine has, and whether they have changed. Used by `reach`, and by whoever maps ports.

Owns what counts as an address at which a peer might reach us: no link-local IPv6 (it needs a zone that no peer can
name), nothing that is reserved or for many, and nothing that this person has left out.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import ifaddr

from agent.settings import Network


def host_addresses(left_out: Sequence[Network] = ()) -> tuple[str, ...]:
    """Return the addresses of this machine's interfaces, loopback ones last; none where it does not say."""
    try:
        adapters = list(ifaddr.get_adapters())
    except OSError:
        return ()
    found = {ip_address(_text(ip.ip)) for adapter in adapters for ip in adapter.ips}
    kept = [address for address in found if _is_usable(address)]
    return allowed((str(address) for address in sorted(kept, key=_rank)), left_out)


def allowed(hosts: Iterable[str], left_out: Sequence[Network]) -> tuple[str, ...]:
    """Return those of the addresses that are in none of the networks."""
    return tuple(host for host in hosts if not any(ip_address(host) in network for network in left_out))


def _text(address: str | tuple[str, int, int]) -> str:
    """Return the address alone: of IPv6, ifaddr tells flow and zone as well."""
    return address if isinstance(address, str) else address[0].partition("%")[0]


def _is_usable(address: IPv4Address | IPv6Address) -> bool:
    if address.version == 6 and address.is_link_local:
        return False
    return not (address.is_multicast or address.is_unspecified)


def _rank(address: IPv4Address | IPv6Address) -> tuple[bool, int, int]:
    return address.is_loopback, -address.version, int(address)
