"""The pump on real sockets: what the kernel says of datagrams that do not go, and what goes another way."""

import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import eventlet
import pytest

from agent.node import Node
from agent.protocol.packet import Address, Datagrams

LOOPBACKS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class Core:
    """Sends what it is told to send, keeps what it hears."""

    def __init__(self) -> None:
        self.to_send: deque[Datagrams] = deque()
        self.came: list[bytes] = []
        self.problems: list[tuple[Address, str]] = []

    def receive(self, arrivals: Sequence[Datagrams], now: float) -> None:
        self.came += [bytes(datagrams.data) for datagrams in arrivals]

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        return [self.to_send.popleft()] if self.to_send else []

    def next_event(self) -> None:
        return None

    def next_timeout(self) -> None:
        return None

    def handle_timeout(self, now: float) -> None:
        pass

    def close(self, now: float) -> None:
        pass

    def unsendable(self, address: Address, reason: str, now: float) -> None:
        self.problems.append((address, reason))


class Pumped:
    """A node on a socket of some family, and what leaves another way."""

    def __init__(self, family: int) -> None:
        self.core, self.elsewhere = Core(), list[Any]()
        self.udp = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            self.udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.udp.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        self.node = Node(self.core, self.udp, lambda event: None, elsewhere=self.elsewhere.append)
        self.node.start()

    def send(self, address: Address, data: bytes, size: int = 0) -> None:
        self.core.to_send.append(Datagrams(address, data, size or len(data)))
        self.node.wake()


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "both families"])
def pumped(request: pytest.FixtureRequest) -> Iterator[Pumped]:
    made = Pumped(request.param)
    yield made
    made.node.stop()
    made.udp.close()


def until(true: Callable[[], object]) -> bool:
    """Let the loop run until something is true, for five seconds at most."""
    for _ in range(500):
        if true():
            return True
        eventlet.sleep(0.01)
    return False


def closed_port(family: int) -> Address:
    """Return an address at which nobody listens."""
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.bind((LOOPBACKS[socket.AddressFamily(family)], 0))
        host, port = udp.getsockname()[:2]
        return host, port


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not tell")
def test_icmp_that_says_that_nobody_listens_reaches_the_core_and_stops_nothing(pumped: Pumped) -> None:
    families = [socket.AF_INET] if pumped.udp.family == socket.AF_INET else [socket.AF_INET, socket.AF_INET6]
    for family in families:
        with socket.socket(family, socket.SOCK_DGRAM) as living:
            living.bind((LOOPBACKS[family], 0))
            living.settimeout(5.0)
            host, port = living.getsockname()[:2]
            dead = closed_port(family)
            for number in range(20):  # each word of ICMP would fail the next datagram, whoever that is for
                pumped.send(dead, b"nobody")
                pumped.send((host, port), bytes([number]))
            assert [living.recv(100) for _ in range(20)] == [bytes([number]) for number in range(20)]
            assert until(lambda dead=dead: (dead, "refused") in pumped.core.problems)  # type: ignore[misc]
            living.sendto(b"hello", (LOOPBACKS[family], pumped.udp.getsockname()[1]))
            assert until(lambda: pumped.core.came.pop(0) == b"hello" if pumped.core.came else False)


def test_what_the_kernel_does_not_send_is_told_with_its_reason(pumped: Pumped) -> None:
    pumped.send(("255.255.255.255", 9), b"broadcast is not allowed")
    assert pumped.core.problems == [(("255.255.255.255", 9), "blocked")]


def test_a_datagram_that_is_too_large_is_lost_and_nothing_else(pumped: Pumped) -> None:
    pumped.send(("127.0.0.1", 9), bytes(65_508), 65_508)
    assert pumped.core.problems == []


def test_what_goes_by_websocket_goes_there_and_what_comes_is_received(pumped: Pumped) -> None:
    pumped.send(("websocket", 3), b"\xe8 bind")
    assert pumped.elsewhere == [Datagrams(("websocket", 3), b"\xe8 bind", 6)]
    pumped.core.to_send.append(Datagrams(("websocket", 3), b"\xea proof", 7))
    pumped.node.arrived(Datagrams(("websocket", 3), b"\xe9 challenge", 11))
    assert pumped.core.came == [b"\xe9 challenge"]
    assert len(pumped.elsewhere) == 2
