"""Whose address counts: that of the socket, or the one that a proxy says it serves. Used by `app.py`.

Owns the trust alone: a header says what its sender likes, so it is read only where the connection comes from a proxy
that the operator has named.
"""

import functools
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Network = IPv4Network | IPv6Network
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def read_networks(text: str) -> tuple[Network, ...]:
    """Read addresses and networks between commas; ValueError where one is none."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


@functools.lru_cache(maxsize=8192)
def plain(address: str) -> IPv4Address | IPv6Address:
    """Read an address; IPv4 inside IPv6 becomes IPv4. ValueError where it is none."""
    found = ip_address(address.strip().partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


@functools.lru_cache(maxsize=8192)
def network_of(address: str) -> str:
    """Return what counts as one address: of IPv6, what one customer usually has."""
    found = plain(address)
    return address if found.version == 4 else str(IPv6Network((int(found), 64), strict=False).network_address)


class BehindProxies:
    """A WSGI application that sees the address of whoever asked the first trusted proxy.

    The last address in `X-Forwarded-For` that no proxy of ours has counts: what stands before it may be invented.
    """

    def __init__(self, app: Wsgi, trusted: tuple[Network, ...]) -> None:
        self._app = app
        self._trusted = trusted

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Pass a request on, REMOTE_ADDR and the scheme set right."""
        peer = environ.get("REMOTE_ADDR", "")
        if self._is_ours(peer):
            environ["REMOTE_ADDR"] = self._client(environ.get("HTTP_X_FORWARDED_FOR", ""), peer)
            if environ.get("HTTP_X_FORWARDED_PROTO") == "https":
                environ["wsgi.url_scheme"] = "https"
        else:
            for header in ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST"):
                environ.pop(header, None)
        return self._app(environ, start_response)

    def _client(self, forwarded: str, peer: str) -> str:
        for address in reversed(forwarded.split(",")):
            try:
                known = plain(address)
            except ValueError:
                return peer
            peer = str(known)
            if not self._is_ours(peer):
                return peer
        return peer

    def _is_ours(self, address: str) -> bool:
        if not self._trusted:
            return False
        try:
            found = plain(address)
        except ValueError:
            return False
        return any(found in network for network in self._trusted)
