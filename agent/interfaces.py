"""Which addresses this machine has, and whether they have changed. Used by `reach`, and by whoever maps ports.

Owns what counts as an address at which a peer might reach us: no link-local IPv6 (it needs a zone that no peer can
name), nothing that is reserved or for many, and nothing that this person has left out.
"""

import contextlib
import socket
import time
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import ifaddr

from agent.settings import Network

_RTNETLINK: Final = 0
_CHANGES: Final = 0x1 | 0x10 | 0x100
"""Links, IPv4 and IPv6 addresses (rtnetlink(7), the groups of changes)."""


class Changes:
    """Tells when it is time to look at this machine's addresses: at once after a change (Linux), or after a while."""

    def __init__(self) -> None:
        self._socket = _subscribed()

    def wait(self, seconds: float) -> None:
        """Return when something has changed, at the latest after so many seconds."""
        if self._socket is None:
            time.sleep(seconds)
            return
        self._socket.settimeout(seconds)
        with contextlib.suppress(OSError):  # too late, or too many changes to be told of each
            self._socket.recv(65_536)

    def close(self) -> None:
        """Hear of no more."""
        if self._socket is not None:
            self._socket.close()


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


def _subscribed() -> socket.socket | None:
    if not hasattr(socket, "AF_NETLINK"):
        return None
    subscribed = None
    try:
        subscribed = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _RTNETLINK)
        subscribed.bind((0, _CHANGES))
    except OSError:
        if subscribed is not None:
            subscribed.close()
        return None
    return subscribed


def _text(address: str | tuple[str, int, int]) -> str:
    """Return the address alone: of IPv6, ifaddr tells flow and zone as well."""
    return address if isinstance(address, str) else address[0].partition("%")[0]


def _is_usable(address: IPv4Address | IPv6Address) -> bool:
    if address.version == 6 and address.is_link_local:
        return False
    return not (address.is_multicast or address.is_unspecified)


def _rank(address: IPv4Address | IPv6Address) -> tuple[bool, int, int]:
    return address.is_loopback, -address.version, int(address)
