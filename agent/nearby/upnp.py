"""Ask a router to open ports by UPnP IGD: found by SSDP, described in XML, asked by SOAP. Used by `portmaps`.

A client of our own, because answers come from whoever is in the LAN and the libraries follow them anywhere: here only a
machine that routes for us is believed, and every address in what it says must be its own. UPnP Device Architecture 1.1
sections 1.3 and 3.1; WANIPConnection:1 and :2, WANPPPConnection:1.
"""

import asyncio
import contextlib
import re
import socket
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Final
from urllib.parse import SplitResult
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from agent.nearby import pcp
from agent.nearby.gateway import NoAnswer, NotGranted
from agent.nearby.http import exchange, same_host
from agent.nearby.lines import Gateway
from agent.nearby.pcp import Granted

_GROUP: Final = "239.255.255.250"
_TARGETS: Final = (
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
)
_WAITS: Final = (0.3, 0.7, 1.5)
_SERVICES: Final = re.compile(r"urn:schemas-upnp-org:service:WAN(IP|PPP)Connection:[12]")
_NAMES: Final = {pcp.UDP: "UDP", pcp.TCP: "TCP"}
_DESCRIPTION: Final = "TMGE"
_TAKEN, _ONLY_FOR_EVER = 718, 725
_REASONS: Final = {401: "it cannot do this", 606: "it is not allowed", 728: "it has no port left"}


@dataclass(frozen=True, slots=True)
class Service:
    """Where to ask for what."""

    kind: str
    control: SplitResult


class SoapError(NotGranted):
    """The router has refused an action; `code` as the service's description lists it."""

    def __init__(self, code: int) -> None:
        super().__init__(_REASONS.get(code, f"error {code}"))
        self.code = code

    @property
    def taken(self) -> bool:
        """Tell whether somebody else has the port."""
        return self.code == _TAKEN


class UpnpMapper:
    """Mappings of one router; it is looked for at the first, and again when it has failed."""

    name: Final = "UPnP"

    def __init__(self, gateway: Gateway, local: str) -> None:
        self._gateway, self._local = gateway, local
        self._service: Service | None = None

    async def open(self, protocol: int, port: int, external: tuple[str, int], lifetime: int) -> Granted:
        """Open or renew a port; with a lifetime of 0 close it. NotGranted."""
        try:
            if self._service is None:
                self._service = await self._find()
            return await self._open(self._service, protocol, port, external[1], lifetime)
        except SoapError:
            raise
        except (OSError, ValueError):
            self._service = None
            raise NotGranted("what it says makes no sense") from None

    async def _open(self, service: Service, protocol: int, port: int, external: int, lifetime: int) -> Granted:
        entry = {"NewRemoteHost": "", "NewExternalPort": str(external), "NewProtocol": _NAMES[protocol]}
        if not lifetime:
            if await self._owner(service, entry) == self._local:
                await _call(service, "DeletePortMapping", entry)
            return Granted(None, 0, 0)
        owner = await self._owner(service, entry)
        if owner not in (None, self._local):  # some routers would take it from them without a word
            raise SoapError(_TAKEN)
        wish = entry | {
            "NewInternalPort": str(port),
            "NewInternalClient": self._local,
            "NewEnabled": "1",
            "NewPortMappingDescription": _DESCRIPTION,
            "NewLeaseDuration": str(lifetime),
        }
        host = _ipv4((await _call(service, "GetExternalIPAddress", {})).get("NewExternalIPAddress", ""))
        try:
            await _call(service, "AddPortMapping", wish)
        except SoapError as error:
            if error.code != _ONLY_FOR_EVER:
                raise
            await _call(service, "AddPortMapping", wish | {"NewLeaseDuration": "0"})
        return Granted(host, external, lifetime)

    async def _owner(self, service: Service, entry: dict[str, str]) -> str | None:
        """Return whose an external port is, None where it is nobody's or the router does not say."""
        try:
            return (await _call(service, "GetSpecificPortMappingEntry", entry)).get("NewInternalClient")
        except SoapError:
            return None

    async def _find(self) -> Service:
        location = await _locate(self._gateway, self._local)
        url = same_host(location, self._gateway.host)
        status, body = await exchange(url, {})
        if status != 200:
            raise ValueError("no description")
        root = _parse(body)
        base = next((node.text for node in root.iter() if _local_name(node) == "URLBase" and node.text), location)
        same_host(base, self._gateway.host)
        for node in root.iter():
            if _local_name(node) != "service":
                continue
            texts = {_local_name(child): (child.text or "").strip() for child in node}
            if _SERVICES.fullmatch(texts.get("serviceType", "")) and texts.get("controlURL"):
                return Service(texts["serviceType"], same_host(texts["controlURL"], self._gateway.host, base))
        raise NotGranted("it cannot open ports")


class _Replies(asyncio.DatagramProtocol):
    """Takes the first LOCATION that the gateway itself names."""

    def __init__(self, gateway: Gateway) -> None:
        self._host = gateway.host
        self.location: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr[0] != self._host or self.location.done() or len(data) > 4096:
            return
        if not re.match(rb"HTTP/1\.[01] 200 ", data):
            return
        found = re.search(rb"(?im)^location:[ \t]*(\S+)[ \t]*\r?$", data)
        with contextlib.suppress(ValueError, UnicodeDecodeError):
            if found is not None:
                location = found[1].decode("ascii")
                same_host(location, self._host)
                self.location.set_result(location)

    def error_received(self, exc: Exception) -> None:
        pass  # some do not listen to what is sent to them alone


async def _locate(gateway: Gateway, local: str) -> str:
    """Search for the gateway's description: the whole LAN is asked (many hear only that), its answer alone counts."""
    loop = asyncio.get_running_loop()
    transport, replies = await loop.create_datagram_endpoint(lambda: _Replies(gateway), local_addr=(local, 0))
    try:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, IPv4Address(local).packed)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
        for wait in _WAITS:
            for target in _TARGETS:
                search = _search(target)
                transport.sendto(search, (gateway.host, gateway.ssdp_port))
                transport.sendto(search, (_GROUP, gateway.ssdp_port))
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(asyncio.shield(replies.location), wait)
        raise NoAnswer
    finally:
        replies.location.cancel()
        transport.close()


def _search(target: str) -> bytes:
    lines = ("M-SEARCH * HTTP/1.1", f"HOST: {_GROUP}:1900", 'MAN: "ssdp:discover"', "MX: 1", f"ST: {target}", "", "")
    return "\r\n".join(lines).encode("ascii")


async def _call(service: Service, action: str, arguments: dict[str, str]) -> dict[str, str]:
    """Carry out a SOAP action; return what it gives. SoapError, ValueError, OSError."""
    inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in arguments.items())
    body = (
        '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
        ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:{action} xmlns:u="{service.kind}">{inside}</u:{action}></s:Body></s:Envelope>\r\n'
    )
    headers = {"Content-Type": 'text/xml; charset="utf-8"', "SOAPAction": f'"{service.kind}#{action}"'}
    status, answer = await exchange(service.control, headers, body.encode("utf-8"))
    if status not in (200, 500):
        raise ValueError(f"status {status}")
    texts = {_local_name(node): (node.text or "").strip() for node in _parse(answer).iter()}
    if status == 500:
        code = texts.get("errorCode", "")
        raise SoapError(int(code) if re.fullmatch(r"[0-9]{1,4}", code) else 501)
    return texts


def _parse(body: bytes) -> ElementTree.Element:
    """Parse XML without entities of its own making; ValueError."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise ValueError("no plain XML")
    try:
        return ElementTree.fromstring(body.strip(b"\0 \t\r\n"))
    except ElementTree.ParseError as problem:
        raise ValueError("no XML") from problem


def _local_name(node: ElementTree.Element) -> str:
    return str(node.tag).rpartition("}")[2]


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        raise NotGranted("it does not say which address the world sees") from None
