"""Ports that routers open by UPnP IGD: on real sockets, with routers that are as they should be, and others."""

import asyncio
import contextlib
import socket
import threading

import pytest

from agent.nearby.gateway import NoAnswer, NotGranted
from agent.nearby.http import LARGEST, same_host
from agent.nearby.lines import Gateway
from agent.nearby.pcp import TCP, UDP, Granted
from agent.nearby.portmaps import LIFETIME, Kept
from agent.nearby.upnp import UpnpMapper
from tests.support.igd import DESCRIPTION, FakeRouter
from tests.support.loops import in_loop

PORT = 23456
ANYWHERE = ("0.0.0.0", PORT)
HERE = "127.0.0.1"


def mapper(router: FakeRouter) -> UpnpMapper:
    """Speak with a fake router."""
    return UpnpMapper(Gateway(router.host, 9, router.ssdp_port), HERE)


@pytest.mark.parametrize("only_multicast", [False, True])
@in_loop
async def test_a_port_is_opened_renewed_and_given_back(only_multicast: bool) -> None:
    with FakeRouter(only_multicast=only_multicast) as router:
        upnp = mapper(router)
        for _ in range(2):
            assert await upnp.open(UDP, PORT, ANYWHERE, 7200) == Granted("8.8.4.4", PORT, 7200)
            assert router.open == {("UDP", PORT): (HERE, PORT, 7200)}
        await upnp.open(UDP, PORT, ANYWHERE, 0)
        assert router.open == {}


@in_loop
async def test_a_router_that_opens_ports_for_ever_only_is_asked_for_that() -> None:
    with FakeRouter() as router:
        router.forever = True
        assert await mapper(router).open(TCP, PORT, ANYWHERE, 7200) == Granted("8.8.4.4", PORT, 7200)
        assert router.open == {("TCP", PORT): (HERE, PORT, 0)}


@in_loop
async def test_a_port_that_is_somebody_elses_stays_theirs() -> None:
    with FakeRouter() as router:
        theirs = ("192.168.1.77", PORT, 0)
        router.open = {("UDP", PORT): theirs}
        kept = Kept(Gateway(router.host), mapper(router), PORT)
        await kept.renew()
        assert router.open["UDP", PORT] == theirs
        other = kept.mapping().port
        assert other != PORT
        assert router.open["UDP", other] == router.open["TCP", other] == (HERE, PORT, LIFETIME)
        await kept.close()
        assert router.open == {("UDP", PORT): theirs}


@in_loop
async def test_the_base_of_a_description_counts() -> None:
    with FakeRouter() as router:
        router.base, router.control = router.url + "/deep/", "ctl"
        assert (await mapper(router).open(UDP, PORT, ANYWHERE, 7200)).port == PORT


@in_loop
async def test_chunks_are_put_together() -> None:
    with FakeRouter() as router:
        body = DESCRIPTION.format(base="", control="/ctl").encode()
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:100], body[100:], b""))
        router.raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
        upnp = mapper(router)
        with pytest.raises(NotGranted):  # the same again in answer to the next question
            await upnp.open(UDP, PORT, ANYWHERE, 7200)
        router.raw = None
        assert (await upnp.open(UDP, PORT, ANYWHERE, 7200)).port == PORT


@pytest.mark.parametrize("who_lies", ["the answer comes from another machine", "the answer leads to one"])
@in_loop
async def test_only_the_gateway_itself_is_believed(who_lies: str) -> None:
    with FakeRouter() as router, FakeRouter("127.0.0.5") as stranger:
        if who_lies == "the answer leads to one":
            router.location = stranger.location
        else:
            router.answers_from = stranger.answers_from
        with pytest.raises(NoAnswer):
            await mapper(router).open(UDP, PORT, ANYWHERE, 7200)
        assert router.asked == stranger.asked == []


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://127.0.0.1/x",
            "file:///etc/passwd",
            "http://127.0.0.1@10.0.0.1/",
            "http://me@127.0.0.1/",
            "//10.0.0.1/",
        ),
        *("http://127.0.0.1:x/", "http://127.0.0.1:99999/", "http://127.0.0.1:0/", "/a b", "/a\r\nX: y", "/\u00e9"),
    ],
)
def test_no_url_leads_away_from_the_gateway(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        same_host(url, HERE, "http://127.0.0.1/")


@pytest.mark.parametrize("field", ["control", "base"])
@in_loop
async def test_a_description_cannot_send_the_agent_elsewhere(field: str) -> None:
    with FakeRouter() as router, FakeRouter("127.0.0.5") as victim:
        setattr(router, field, f"{victim.url}/ctl")
        with pytest.raises(NotGranted):
            await mapper(router).open(UDP, PORT, ANYWHERE, 7200)
        assert victim.asked == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 100,
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.5/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n<root",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"<a>" * 40_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 * LARGEST),
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n<root/>",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n<root/>",
        b'HTTP/1.1 200 OK\r\n\r\n<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"HTTP/1.1 200 OK\r\n\r\n<root><serviceType>x</serviceType></root>",
    ],
)
@in_loop
async def test_what_is_no_description_opens_nothing(raw: bytes) -> None:
    with FakeRouter() as router:
        router.raw = raw
        with pytest.raises(NotGranted):
            await mapper(router).open(UDP, PORT, ANYWHERE, 7200)


@pytest.mark.parametrize("external", ["", "::1", "8.8.8.8.8", "&lt;x&gt;", "0x7f000001"])
@in_loop
async def test_an_address_that_is_none_opens_nothing(external: str) -> None:
    with FakeRouter() as router:
        router.external = external
        with pytest.raises(NotGranted):
            await mapper(router).open(UDP, PORT, ANYWHERE, 7200)
        assert router.open == {}


@in_loop
async def test_a_router_that_never_stops_speaking_is_left() -> None:
    with FakeRouter() as router, socket.create_server(("127.0.0.1", 0)) as endless:
        router.location = f"http://127.0.0.1:{endless.getsockname()[1]}/"

        def speak() -> None:
            connection, _ = endless.accept()
            with connection, contextlib.suppress(OSError):
                while True:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n" * 1000)

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        with pytest.raises(NotGranted):
            await mapper(router).open(UDP, PORT, ANYWHERE, 7200)
        await asyncio.to_thread(speaker.join, 10)
        assert not speaker.is_alive()
