"""Bare UDP and TCP probes of a lab's networks: what a machine can reach, and how what is in front of it behaves.

A mirror answers each datagram with the address that it came from, and from another socket of its own where it is asked
to: what STUN servers do (RFC 5780 section 4), in the fewest lines. Used by the tests of the topology.
"""

import contextlib
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.lab.topology import RENDEZVOUS, SECOND, Machine, Topology

Address = tuple[str, int]
PORTS = (3478, 3479)
WAIT = 0.3
"""Seconds after which no answer counts as none: seven round trips."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How what is in front of a machine treats UDP, in the words of RFC 4787; both empty where nothing comes back."""

    mapping: str = ""
    """`none`, `independent` or `dependent`."""
    filtering: str = ""
    """`independent`, `address` or `port`."""


class Mirror:
    """Two addresses with two ports each, in the rendezvous' namespace."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    def __enter__(self) -> "Mirror":
        with self._topology.rendezvous.entered():
            self.sockets = {(host, port): _udp(host, port) for host in (RENDEZVOUS, SECOND) for port in PORTS}
        return self

    def __exit__(self, *problem: object) -> None:
        for sock in self.sockets.values():
            sock.close()

    def seen(self, sock: socket.socket, at: Address, by: Address | None = None) -> Address | None:
        """Send to one of the mirror's sockets and have `by` answer (the same, unless said); return the address that was
        seen, None where no answer came.
        """
        sock.sendto(b"?", at)
        if (arrived := received(self.sockets[at])) is None:
            return None
        self.sockets[by or at].sendto(b"!", arrived[1])
        answer = received(sock)
        assert answer is None or answer[1] == (by or at)
        return arrived[1] if answer is not None else None

    def behaviour(self, machine: Machine) -> Behaviour:
        """Find out how what is in front of a machine behaves."""
        first, other_port, other_host = (RENDEZVOUS, PORTS[0]), (RENDEZVOUS, PORTS[1]), (SECOND, PORTS[0])
        with udp_in(machine) as sock:
            seen = self.seen(sock, first)
            if seen is None:
                return Behaviour()
            if self.seen(sock, first, other_host):
                filtering = "independent"
            else:
                filtering = "address" if self.seen(sock, first, other_port) else "port"
            if seen == (machine.address, sock.getsockname()[1]):
                return Behaviour("none", filtering)
            same = {seen} == {self.seen(sock, at) for at in (other_port, other_host)}
        return Behaviour("independent" if same else "dependent", filtering)


def _udp(host: str, port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, port))
    sock.setblocking(False)
    return sock


@contextlib.contextmanager
def udp_in(machine: Machine, host: str | None = None) -> Iterator[socket.socket]:
    """Open a UDP socket on a machine, at one of its addresses."""
    with machine.space.entered():
        sock = _udp(host or machine.address)
    with sock:
        yield sock


def received(sock: socket.socket, seconds: float = WAIT) -> tuple[bytes, Address] | None:
    """Wait for one datagram; None if none comes."""
    if not select.select([sock], [], [], seconds)[0]:
        return None
    data, address = sock.recvfrom(2048)
    return data, address[:2]


def meet(a: socket.socket, b: socket.socket, at_a: Address, at_b: Address, seconds: float = 1.0) -> bool:
    """Have two sockets send to each other again and again, and to whoever has been heard (RFC 8445's peer-reflexive);
    tell whether each has heard the other.
    """
    targets: dict[socket.socket, set[Address]] = {a: {at_b}, b: {at_a}}
    heard: set[socket.socket] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(heard) < 2:
        for sock, addresses in targets.items():
            for address in addresses:
                with contextlib.suppress(OSError):
                    sock.sendto(b"hello", address)
        for sock in _ready((a, b), 0.05):
            with contextlib.suppress(OSError):
                targets[sock].add(sock.recvfrom(2048)[1][:2])
                heard.add(sock)
    return len(heard) == 2


def _ready(sockets: Sequence[socket.socket], seconds: float) -> list[socket.socket]:
    return select.select(sockets, [], [], seconds)[0]


def connects(machine: Machine, host: str, port: int, listening: socket.socket) -> bool:
    """Tell whether a TCP connection from a machine reaches a listening socket."""
    with machine.space.entered():
        sock = socket.socket()
    with sock:
        sock.settimeout(WAIT)
        try:
            sock.connect((host, port))
        except OSError:
            return False
        listening.accept()[0].close()
        return True
