"""Tell the LAN who is here, and hear who else is: mDNS and DNS-SD (RFC 6762, RFC 6763). Used by the child's `__main__`.

Each of the machine's links has a responder of its own, which names the addresses of that link alone. What others say is
taken only where the keys fit together (as in a handshake) and the address is on the same link. That nobody else
announced the same keys is not said: whoever is dialled proves to have them.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Final

import ifaddr
from zeroconf import ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from agent.nearby.lines import Gone, LanPerson, Said
from agent.protocol.card import Card, HandshakeError, verify_card
from rendezvous.contract.encoding import from_text, to_text
from rendezvous.contract.names import MAX_NAME_BYTES, canonical

SERVICE: Final = "_tmge._udp.local."
VERSION: Final = b"1"
MOST_PEOPLE: Final = 256
MOST_ADDRESSES: Final = 8
_MOST_LOOKUPS: Final = 32
"""Announcements that are looked into at once; more are heard when they are repeated."""
_LIFETIME: Final = 120
"""Seconds for which others believe an announcement that is not repeated."""
_REQUEST_MS: Final = 3000
_POINT_TO_POINT: Final = 0x10
"""IFF_POINTOPOINT: what is behind it is no LAN."""

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Link:
    """One network interface: its addresses with their networks."""

    name: str
    index: int
    interfaces: tuple[Interface, ...]

    def reaches(self, host: str) -> bool:
        """Tell whether an address is on this link."""
        ip = ip_address(host)
        networks = (one.network for one in self.interfaces if one.version == ip.version)
        return any(ip in network and (ip.version == 6 or ip != network.broadcast_address) for network in networks)

    @property
    def is_loopback(self) -> bool:
        """Tell whether this is the machine itself."""
        return any(one.ip.is_loopback for one in self.interfaces)


def links(without: Sequence[str] = (), loopback: bool = False) -> list[Link]:
    """List the links that have neighbours; `loopback`: only the machine itself."""
    left_out = [ip_network(network, strict=False) for network in without]
    found = []
    for adapter in ifaddr.get_adapters():
        if _is_point_to_point(adapter.name):
            continue
        interfaces = []
        for address in adapter.ips:
            host = address.ip if isinstance(address.ip, str) else address.ip[0]
            one = ip_interface(f"{host}/{address.network_prefix}")
            kept = not any(one.version == network.version and one.ip in network for network in left_out)
            if kept and one.ip.is_loopback == loopback and not (one.version == 6 and one.ip.is_link_local):
                interfaces.append(one)
        if interfaces:
            found.append(Link(adapter.name, adapter.index or 0, tuple(interfaces[:MOST_ADDRESSES])))
    return found


def instance(key: bytes) -> str:
    """Name the announcement of a key; it says nothing about the machine."""
    return f"tmge-{hashlib.sha256(key).hexdigest()[:16]}"


def properties_of(card: Card) -> dict[bytes, bytes]:
    """Write who is here as the text record has it (RFC 6763 section 6)."""
    keys = {field: to_text(getattr(card, field)).encode() for field in ("key", "box_key", "box_signature")}
    return {b"v": VERSION, b"name": card.name.encode("utf-8")} | {name.encode(): text for name, text in keys.items()}


def read_person(
    properties: Mapping[bytes, bytes | None], addresses: Sequence[str], port: int | None
) -> LanPerson | None:
    """Read who announces; None for what makes no sense or is not signed."""
    try:
        texts = {name: (properties.get(name) or b"") for name in (b"v", b"name", b"key", b"box_key", b"box_signature")}
        if texts[b"v"] != VERSION or max(map(len, texts.values())) > MAX_NAME_BYTES:
            return None
        name = texts[b"name"].decode("utf-8")
        sizes = ((b"key", 32), (b"box_key", 32), (b"box_signature", 64))
        card = Card(name, *(from_text(texts[field].decode("ascii"), size) for field, size in sizes))
        if canonical(name) != name:
            return None
        verify_card(card)
    except (ValueError, HandshakeError):
        return None
    if not addresses or port is None or not 0 < port < 65536:
        return None
    hosts = tuple(sorted(addresses, key=lambda host: (":" in host, host))[:MOST_ADDRESSES])
    return LanPerson(card.name, card.key, card.box_key, card.box_signature, hosts, port)


class Lan:
    """All links. `run` until it is cancelled."""

    def __init__(self, card: Card, port: int, found: Sequence[Link], tell: Callable[[Said], None]) -> None:
        self._card, self._port, self._links, self._tell = card, port, found, tell
        self._people: dict[tuple[str, int], LanPerson] = {}  # by announcement and link
        self._lookups: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Announce and listen; when cancelled, say goodbye first."""
        async with contextlib.AsyncExitStack() as opened:
            for link in self._links:
                await self._open(link, opened)
            try:
                await asyncio.Event().wait()
            finally:
                for task in self._lookups:
                    task.cancel()
                for at in list(self._people):
                    self._gone(*at)

    async def _open(self, link: Link, opened: contextlib.AsyncExitStack) -> None:
        """Begin on one link; one that does not work takes none of the others along."""
        v4 = [str(one.ip) for one in link.interfaces if one.version == 4]
        v6 = [link.index] if any(one.version == 6 for one in link.interfaces) and not link.is_loopback else []
        try:
            responder = AsyncZeroconf(interfaces=[*v4, *v6])
        except OSError:
            return
        opened.push_async_callback(responder.async_close)
        named = instance(self._card.key)
        info = AsyncServiceInfo(
            SERVICE,
            f"{named}.{SERVICE}",
            addresses=[one.ip.packed for one in link.interfaces],
            port=self._port,
            properties=properties_of(self._card),
            server=f"{named}.local.",
            host_ttl=_LIFETIME,
            other_ttl=_LIFETIME,
        )
        # The name is made of the key: who has it too is this very person, or somebody whom no defence would stop.
        await responder.async_register_service(info, cooperating_responders=True)
        opened.push_async_callback(responder.async_unregister_all_services)

        def heard(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
            self._heard(link, zeroconf, name, state_change)

        browser = AsyncServiceBrowser(responder.zeroconf, SERVICE, handlers=[heard])
        opened.push_async_callback(browser.async_cancel)

    def _heard(self, link: Link, zeroconf: Zeroconf, name: str, change: ServiceStateChange) -> None:
        if name.partition(".")[0] == instance(self._card.key):
            return
        if change is ServiceStateChange.Removed:
            self._gone(name, link.index)
        elif len(self._lookups) < _MOST_LOOKUPS:
            task = asyncio.create_task(self._look(link, zeroconf, name))
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)

    async def _look(self, link: Link, zeroconf: Zeroconf, name: str) -> None:
        """Ask for what stands behind a name, and take it if it can be believed."""
        info = AsyncServiceInfo(SERVICE, name)
        if not await info.async_request(zeroconf, _REQUEST_MS):
            return
        addresses = [host for host in map(_plain, info.parsed_scoped_addresses()) if host and link.reaches(host)]
        person = read_person(info.properties, addresses, info.port)
        at = (name, link.index)
        known = self._people.get(at)
        if person is None or person == known or person.key == self._card.key:
            return
        if known is not None and known.key != person.key:
            self._gone(*at)
        if known is None and len(self._people) >= MOST_PEOPLE:
            return
        self._people[at] = person
        self._tell(self._whole(person))

    def _gone(self, name: str, index: int) -> None:
        person = self._people.pop((name, index), None)
        if person is None:
            return
        left = next((one for one in self._people.values() if one.key == person.key and one.name == person.name), None)
        self._tell(Gone(person.name, person.key) if left is None else self._whole(left))

    def _whole(self, person: LanPerson) -> LanPerson:
        """Put together what several links say of one person."""
        same = [one for one in self._people.values() if (one.key, one.name, one.port) == _who(person)]
        hosts = dict.fromkeys(host for one in same for host in one.addresses)
        keys = (person.name, person.key, person.box_key, person.box_signature)
        return LanPerson(*keys, tuple(hosts)[:MOST_ADDRESSES], person.port)


def _who(person: LanPerson) -> tuple[bytes, str, int]:
    return person.key, person.name, person.port


def _plain(host: str) -> str | None:
    """Return an address that can be dialled as it is, None for one that holds for a link alone."""
    with contextlib.suppress(ValueError):
        ip = ip_address(host)
        if isinstance(ip, IPv4Address) or not ip.is_link_local:
            return str(ip)
    return None


def _is_point_to_point(interface: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(int(Path(f"/sys/class/net/{interface}/flags").read_text(encoding="ascii"), 16) & _POINT_TO_POINT)
    return False
