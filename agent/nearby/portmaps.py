"""Keep the peer port open at every gateway that opens ports: asked, renewed, given back. Used by `__main__`.

Each gateway is asked by PCP, then NAT-PMP, then UPnP. A mapping is renewed at half of its lifetime, or after ten
minutes where that is sooner: a router that was started anew has forgotten it.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import Final, Protocol

from agent.nearby import pcp
from agent.nearby.gateway import NatPmpMapper, NoAnswer, NotGranted, PcpMapper
from agent.nearby.lines import Gateway, Mapping
from agent.nearby.pcp import Granted
from agent.nearby.routes import local_address
from agent.nearby.upnp import SoapError, UpnpMapper

LIFETIME: Final = 7200
"""Seconds that are asked for (RFC 6886 section 3.3 recommends them)."""
SOONEST: Final = 10.0
"""Seconds between two renewals at least, however short the lifetime that a router grants."""
_LATEST: Final = 600.0
_PAUSES: Final = (60.0, 300.0, 900.0)
"""Seconds until somebody is asked again who has opened nothing."""
_OTHER_PORTS: Final = 3
_CLOSING_SECONDS: Final = 1.5
_NOT_THE_WORLD: Final = tuple(
    ip_network(block)
    for block in "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16".split()
    + "224.0.0.0/3 ::/127 fc00::/7 fe80::/10 ff00::/8".split()
)


class Mapper(Protocol):
    """A protocol by which a gateway opens ports."""

    @property
    def name(self) -> str: ...
    async def open(self, protocol: int, port: int, external: tuple[str, int], lifetime: int) -> Granted: ...


Tell = Callable[[list[Mapping], list[str]], None]
"""Hears all mappings that stand now, and a sentence for each gateway that opens nothing."""


class PortMaps:
    """All gateways. `run` until it is cancelled."""

    def __init__(self, port: int, gateways: Sequence[Gateway], tell: Tell, soonest: float = SOONEST) -> None:
        self._port, self._gateways, self._tell, self._soonest = port, gateways, tell, soonest
        self._mappings: dict[str, Mapping] = {}
        self._notes: dict[str, str] = {}
        self._told: tuple[list[Mapping], list[str]] | None = None

    async def run(self) -> None:
        """Keep the port open; when cancelled, give everything back first."""
        if not self._gateways:
            self._tell([], ["There is no router that could open a port."])
            await asyncio.Event().wait()
        try:
            async with asyncio.TaskGroup() as group:
                for gateway in self._gateways:
                    group.create_task(self._keep(gateway))
        finally:
            self._tell([], [])

    async def _keep(self, gateway: Gateway) -> None:
        kept: Kept | None = None
        failures = 0
        try:
            while True:
                kept = kept or await self._begin(gateway)
                if kept is not None and await self._renewed(kept):
                    failures = 0
                    pause = min(max(kept.lifetime / 2, self._soonest), _LATEST)
                elif kept is not None and not failures:  # it may have been started anew, or have another protocol now
                    kept, failures, pause = None, 1, self._soonest
                else:
                    kept, failures = None, failures + 1
                    pause = _PAUSES[min(failures, len(_PAUSES)) - 1]
                await asyncio.sleep(pause)
        finally:
            if kept is not None:
                await kept.close()

    async def _begin(self, gateway: Gateway) -> "Kept | None":
        local = local_address(gateway)
        refusals: list[str] = []
        if local is not None:
            for mapper in (PcpMapper(gateway, local), NatPmpMapper(gateway, local), UpnpMapper(gateway, local)):
                kept = Kept(gateway, mapper, self._port)
                try:
                    await kept.renew()
                except NoAnswer:
                    continue
                except NotGranted as problem:
                    refusals.append(f"{mapper.name}: {problem}")
                except asyncio.CancelledError:
                    await kept.close()
                    raise
                else:
                    return kept
        why = f"opens no port ({'; '.join(refusals)})" if refusals else "opens no ports: UPnP and PCP may be off"
        self._notes[gateway.host] = f"The router {gateway.host} {why}."
        self._changed(gateway, None)
        return None

    async def _renewed(self, kept: "Kept") -> bool:
        """Renew what was not just made; tell what there is."""
        try:
            if not kept.fresh:
                await kept.renew()
        except NotGranted as problem:
            self._notes[kept.gateway.host] = f"The router {kept.gateway.host} has closed the port: {problem}."
            self._changed(kept.gateway, None)
            return False
        kept.fresh = False
        self._notes.pop(kept.gateway.host, None)
        self._changed(kept.gateway, kept.mapping())
        return True

    def _changed(self, gateway: Gateway, mapping: Mapping | None) -> None:
        if mapping is None:
            self._mappings.pop(gateway.host, None)
        else:
            self._mappings[gateway.host] = mapping
        told = (list(self._mappings.values()), list(self._notes.values()))
        if told != self._told:
            self._told = told
            self._tell(*told)


class Kept:
    """The mappings of the peer port at one gateway: UDP, and TCP where it gets the same port."""

    def __init__(self, gateway: Gateway, mapper: Mapper, port: int) -> None:
        self.gateway, self._mapper, self._port = gateway, mapper, port
        self._external: tuple[str, int] = ("0.0.0.0", port)
        self._open: set[int] = set()
        self.lifetime = 0
        self.fresh = False
        """Made since the last look."""

    async def renew(self) -> None:
        """Open or renew; NotGranted."""
        udp = await self._udp()
        if udp.host is None or not udp.lifetime or not udp.port:
            raise NotGranted("it names no address")
        self._open.add(pcp.UDP)
        self._external = (udp.host, udp.port)
        self.lifetime = min(udp.lifetime, LIFETIME)
        self.fresh = True
        with contextlib.suppress(NotGranted):
            tcp = await self._mapper.open(pcp.TCP, self._port, self._external, LIFETIME)
            self._open.add(pcp.TCP)
            if tcp.port != udp.port:  # of no use: one port stands for both
                await self._mapper.open(pcp.TCP, self._port, ("0.0.0.0", tcp.port), 0)
                self._open.discard(pcp.TCP)

    async def close(self) -> None:
        """Give back what is open, as far as the gateway answers soon."""
        with contextlib.suppress(NotGranted, TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                for protocol in sorted(self._open):
                    await self._mapper.open(protocol, self._port, self._external, 0)

    def mapping(self) -> Mapping:
        """Return what stands."""
        host, port = self._external
        return Mapping(host, port, self.gateway.host, self._mapper.name, is_world(host))

    async def _udp(self) -> Granted:
        """Open UDP, at another external port where somebody has this one."""
        for _ in range(_OTHER_PORTS):
            try:
                return await self._mapper.open(pcp.UDP, self._port, self._external, LIFETIME)
            except SoapError as problem:
                if not problem.taken or self._open:
                    raise
                self._external = ("0.0.0.0", random.randint(20_000, 60_000))
        raise NotGranted("the port is taken")


def is_world(host: str) -> bool:
    """Tell whether an address may be one that the internet routes: not one that stands behind a NAT itself."""
    ip = ip_address(host)
    return not any(ip.version == block.version and ip in block for block in _NOT_THE_WORLD)
