"""Ports that routers open by PCP and NAT-PMP: on real sockets, with routers that are as they should be, and others."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from agent.nearby.lines import Gateway, Mapping
from agent.nearby.portmaps import LIFETIME, PortMaps, is_world
from agent.nearby.routes import read_table
from tests.support.gateways import FakeGateway
from tests.support.loops import in_loop

PORT = 23456
UDP, TCP = 17, 6
PATIENCE = 20.0

Told = tuple[list[Mapping], list[str]]


class Running:
    """Port maps at work, and what they tell."""

    def __init__(self) -> None:
        self._told: asyncio.Queue[Told] = asyncio.Queue()

    def tell(self, mappings: list[Mapping], notes: list[str]) -> None:
        """Take what is told."""
        self._told.put_nowait((mappings, notes))

    async def next(self) -> Told:
        """Return what is told next."""
        async with asyncio.timeout(PATIENCE):
            return await self._told.get()

    async def until(self, count: int) -> list[Mapping]:
        """Return the mappings, once there are that many."""
        while True:
            mappings, _ = await self.next()
            if len(mappings) == count:
                return mappings


@contextlib.asynccontextmanager
async def mapping(*gateways: Gateway) -> AsyncIterator[Running]:
    """Have the port mapped at these gateways; at the end everything is given back."""
    running = Running()
    task = asyncio.create_task(PortMaps(PORT, gateways, running.tell, soonest=0.05).run())
    yield running
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def at(router: FakeGateway) -> Gateway:
    """Return where a fake router is; nobody answers SSDP there."""
    return Gateway(router.host, router.port, ssdp_port=9)


def nobody() -> Gateway:
    """Return a gateway where nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.7", 0))
        return Gateway("127.0.0.7", gone.getsockname()[1], ssdp_port=9)


@in_loop
async def test_pcp_opens_udp_and_tcp_and_gives_them_back() -> None:
    with FakeGateway() as router:
        async with mapping(at(router)) as running:
            assert await running.until(1) == [Mapping("8.8.4.4", PORT, "127.0.0.1", "PCP", world=True)]
            assert router.open == {(UDP, PORT): 3600, (TCP, PORT): 3600}
        assert router.open == {}
        assert await running.next() == ([], [])


@in_loop
async def test_a_router_that_knows_natpmp_alone_is_asked_by_natpmp() -> None:
    with FakeGateway() as router:
        router.pcp = False
        async with mapping(at(router)) as running:
            assert await running.until(1) == [Mapping("8.8.4.4", PORT, "127.0.0.1", "NAT-PMP", world=True)]
            assert router.open == {(UDP, PORT): 3600, (TCP, PORT): 3600}
        assert router.open == {}


@in_loop
async def test_another_port_than_the_wished_one_is_as_good() -> None:
    with FakeGateway() as router:
        router.taken = {PORT}
        async with mapping(at(router)) as running:
            (mapped,) = await running.until(1)
            assert mapped.port == PORT + 1
            assert set(router.open) == {(UDP, PORT + 1), (TCP, PORT + 1)}


@in_loop
async def test_a_mapping_is_renewed_and_a_new_address_is_told() -> None:
    with FakeGateway() as router:
        router.lifetime = 1
        async with mapping(at(router)) as running:
            assert (await running.until(1))[0].host == "8.8.4.4"
            before = len(router.heard)
            router.external = "8.8.8.8"
            mappings, _ = await running.next()
            assert mappings[0].host == "8.8.8.8"
            assert len(router.heard) > before


@in_loop
async def test_a_router_that_was_started_anew_is_asked_anew() -> None:
    with FakeGateway() as router:
        router.lifetime = 1
        async with mapping(at(router)) as running:
            await running.until(1)
            with router.changed:
                router.result = 3
            assert await running.until(0) == []
            with router.changed:
                router.open.clear()
                router.result, router.pcp = 0, False
            assert (await running.until(1))[0].by == "NAT-PMP"


@in_loop
async def test_a_private_address_is_not_called_one_of_the_world() -> None:
    with FakeGateway() as router:
        router.external = "100.64.3.2"
        async with mapping(at(router)) as running:
            assert [one.world for one in await running.until(1)] == [False]


@in_loop
async def test_several_routers_are_asked_and_silent_ones_hold_up_nobody() -> None:
    with FakeGateway("127.0.0.2") as one, FakeGateway("127.0.0.3") as other, FakeGateway("127.0.0.4") as silent:
        silent.pcp = silent.natpmp = False
        async with mapping(nobody(), at(silent), at(one), at(other)) as running:
            assert {mapped.gateway for mapped in await running.until(2)} == {"127.0.0.2", "127.0.0.3"}


@in_loop
async def test_where_nobody_opens_ports_a_sentence_says_so() -> None:
    with FakeGateway() as router:
        router.result = 2
        async with mapping(at(router)) as running:
            assert await running.next() == (
                [],
                ["The router 127.0.0.1 opens no port (PCP: it is not allowed; NAT-PMP: it is not allowed)."],
            )
    async with mapping() as running:
        assert await running.next() == ([], ["There is no router that could open a port."])


def _spoiled(answer: bytes) -> list[bytes]:
    """Say everything but the right thing, and the right thing at last."""
    wrong_nonce = answer[:24] + bytes(12) + answer[36:]
    return [b"", b"\x02", answer[:-1], bytes(2000), wrong_nonce, b"\xff" * 60, answer + bytes(1100), answer]


@in_loop
async def test_wrong_answers_are_passed_over() -> None:
    with FakeGateway() as router:
        router.lie = _spoiled
        async with mapping(at(router)) as running:
            assert (await running.until(1))[0].port == PORT


@pytest.mark.parametrize("seconds", [1, 2**32 - 1])
@in_loop
async def test_no_lifetime_makes_a_hurry_or_an_eternity(seconds: int) -> None:
    def lie(answer: bytes) -> list[bytes]:
        return [answer[:4] + seconds.to_bytes(4, "big") + answer[8:]]

    with FakeGateway() as router:
        router.lie = lie
        running = Running()
        maps = PortMaps(PORT, [at(router)], running.tell)
        task = asyncio.create_task(maps.run())
        await running.until(1)
        assert len(router.heard) == 2
        assert all(int.from_bytes(request[4:8], "big") == LIFETIME for request in router.heard)
        task.cancel()


@in_loop
async def test_what_others_send_is_not_heard() -> None:
    """The answer comes, but from another address than the one that was asked."""
    with FakeGateway() as router, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.9", 0))
        asked = asyncio.get_running_loop()

        def lie(answer: bytes) -> list[bytes]:
            sender = router.last_sender
            asked.call_soon_threadsafe(stranger.sendto, answer, sender)
            return []

        router.lie = lie
        async with mapping(at(router)) as running:
            mappings, notes = await running.next()
            assert mappings == []
            assert "127.0.0.1" in notes[0]


def test_gateways_come_from_the_routing_table_the_preferred_one_first() -> None:
    table = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
        "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        "eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
        "tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0\n"
        "broken\n"
    )
    assert read_table(table) == ["192.168.1.1", "192.168.2.1"]
    assert read_table("") == []


def test_an_address_behind_another_nat_is_none_of_the_world() -> None:
    assert not any(map(is_world, ("10.0.0.1", "192.168.1.1", "172.20.0.1", "100.100.0.1", "127.0.0.1", "fd00::1")))
    assert all(map(is_world, ("8.8.8.8", "198.51.100.1", "203.0.113.9", "2001:4860::1")))
