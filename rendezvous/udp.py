"""The UDP loop of the rendezvous: sockets, and whoever answers a datagram. No rules of any protocol.

Used by the entry point, whose patched sockets make it a green loop. One process of a machine owns
the ports.

A reply leaves from the address that its datagram came to, also where the socket listens on all
addresses of a machine that has several: a NAT, or a client that is connected, takes no other.
"""

import contextlib
import errno
import logging
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from rendezvous.contract.relay import FIRST_BYTES
from rendezvous.stun import Reply

Answer = Callable[[bytes, str, int], Reply | None]
Ancillary = list[tuple[int, int, bytes]]
Forward = Callable[[socket.socket, memoryview, int, tuple[Any, ...], Ancillary], None]
"""Takes a socket, datagrams that lie back to back in it, the size of each but the last, where they came from, and what
came with them. The buffer is good until it returns, and may be written to.
"""

_TURN: Final = 64
"""Datagrams answered before others get their turn: a busy socket never waits, so it would never
yield by itself.
"""
_TURN_BYTES: Final = 262_144
"""Likewise."""
_LARGEST: Final = 2048
BUFFER: Final = 65_536
_RECEIVE_BUFFER: Final = 4 << 20
_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
"""Linux's numbers, which Python does not name."""
_NO_SEGMENTS: Final = (errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP)
_NOT_HERE: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}
_IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8)
"""Linux's number: Python names it from 3.14 on."""
_PKTINFO4: Final = struct.Struct("=i4s4s")
_PKTINFO6: Final = struct.Struct("=16si")
ANCILLARY: Final = 128

log = logging.getLogger(__name__)


def bind(host: str, port: int) -> list[socket.socket]:
    """Return UDP sockets for each address of `host`, all on one port; OSError where that cannot be.

    `::` is all addresses of both families, each in a socket of its own. A family that this machine
    lacks is left out, unless it is the only one.
    """
    hosts = ["::", "0.0.0.0"] if host == "::" else [host]
    found = [row for name in hosts for row in socket.getaddrinfo(name, port, type=socket.SOCK_DGRAM)]
    bound: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in dict.fromkeys((row[0], row[4]) for row in found):
            try:
                sock = _bind_one(family, (address[0], port, *address[2:]))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
                continue
            bound.append(sock)
            port = sock.getsockname()[1]
        if missing is not None and not bound:
            raise missing
    except OSError:
        for sock in bound:
            sock.close()
        raise
    return bound


def _bind_one(family: int, address: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        take_batches(sock)
        with contextlib.suppress(OSError):  # a system without it answers from where it likes
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.bind(address)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def serve(sock: socket.socket, other: socket.socket | None, answer: Answer, forward: Forward | None = None) -> None:
    """Answer datagrams until the socket is closed; `other` is the socket of the second port, from
    which replies leave that ask for it. What has a first byte of the relay's goes to `forward`.
    """
    buffer = memoryview(bytearray(BUFFER))
    while True:
        taken = 0
        for _ in range(_TURN):
            try:
                count, ancillary, _, address = sock.recvmsg_into([buffer], ANCILLARY)
            except BlockingIOError:
                if not _wait(sock):
                    return
                continue
            except ConnectionError:
                continue  # an earlier reply found nobody (ICMP): no matter for the next datagram
            except OSError:
                if sock.fileno() < 0:
                    return
                raise
            local, size = read_size(ancillary, count)
            if forward is not None and _are_relayed(buffer, count, size):
                forward(sock, buffer[:count], size, address, local)
            else:
                for at in range(0, count, max(1, size)):
                    datagram = bytes(buffer[at : min(at + size, count)])
                    _answer(sock, other, answer, forward, datagram, address, local)
            taken += count
            if taken >= _TURN_BYTES:
                break
        time.sleep(0)


def _are_relayed(buffer: memoryview, count: int, size: int) -> bool:
    """Tell whether all datagrams of a batch are the relay's."""
    if count <= size:
        return count > 0 and buffer[0] in FIRST_BYTES
    return all(buffer[at] in FIRST_BYTES for at in range(0, count, size))


def _answer(
    sock: socket.socket,
    other: socket.socket | None,
    answer: Answer,
    forward: Forward | None,
    datagram: bytes,
    address: tuple[Any, ...],
    local: Ancillary,
) -> None:
    if len(datagram) > _LARGEST:
        return
    if forward is not None and datagram[0] in FIRST_BYTES:
        forward(sock, memoryview(bytearray(datagram)), len(datagram), address, local)
        return
    reply = answer(datagram, address[0], address[1])
    leaves_by = other if reply is not None and reply.from_second_port else sock
    if reply is not None and leaves_by is not None:
        send(leaves_by, reply.datagram, address, same_source(local))


def _wait(sock: socket.socket) -> bool:
    """Wait for a datagram; False where the socket has been closed."""
    try:
        select.select([sock], [], [])
    except (OSError, ValueError):
        return False
    return sock.fileno() >= 0


def take_batches(sock: socket.socket) -> None:
    """Let one call receive datagrams of one source and size, back to back, where the kernel can."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # an older kernel: one by one
            sock.setsockopt(_UDP, _UDP_GRO, 1)


def read_size(ancillary: Ancillary, count: int) -> tuple[Ancillary, int]:
    """Return what says where a batch came in, and the size of each of its datagrams, the last excepted."""
    for index, (level, kind, data) in enumerate(ancillary):
        if (level, kind) == (_UDP, _UDP_GRO):
            size = int.from_bytes(data[:4], sys.byteorder)
            return ancillary[:index] + ancillary[index + 1 :], size if 0 < size <= count else count
    return ancillary, count


def same_source(ancillary: Ancillary) -> Ancillary:
    """Return what makes a reply leave from the address that the datagram came to."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(data) == _PKTINFO4.size:
            _, local, _ = _PKTINFO4.unpack(data)
            return [(level, kind, _PKTINFO4.pack(0, local, bytes(4)))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO) and len(data) == _PKTINFO6.size:
            return [(level, kind, data)]
    return []


def send(sock: socket.socket, datagram: bytes | memoryview, address: tuple[Any, ...] | None, source: Ancillary) -> None:
    """Send one datagram; what the network refuses is lost, as any datagram may be."""
    try:
        sock.sendmsg([datagram], source, 0, address)
    except OSError as error:
        log.debug("no answer was sent: %s", error)


def send_batch(
    sock: socket.socket, batch: memoryview, size: int, address: tuple[Any, ...] | None, source: Ancillary
) -> None:
    """Send datagrams that lie back to back, each of `size` bytes but the last, with one call where the kernel can."""
    if len(batch) <= size:
        return send(sock, batch, address, source)
    try:
        sock.sendmsg([batch], [*source, (_UDP, _UDP_SEGMENT, struct.pack("=H", size))], 0, address)
    except OSError as error:
        if error.errno not in _NO_SEGMENTS:
            log.debug("a batch was not sent: %s", error)
            return None
        for at in range(0, len(batch), size):
            send(sock, batch[at : at + size], address, source)
    return None
