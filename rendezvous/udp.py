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
import time
from collections.abc import Callable
from typing import Any, Final

from rendezvous.contract.relay import FIRST_BYTES
from rendezvous.stun import Reply

Answer = Callable[[bytes, str, int], Reply | None]
Ancillary = list[tuple[int, int, bytes]]
Forward = Callable[[socket.socket, bytes, tuple[Any, ...], Ancillary], None]

_TURN: Final = 64
"""Datagrams answered before others get their turn: a busy socket never waits, so it would never
yield by itself.
"""
_LARGEST: Final = 2048
_NOT_HERE: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}
_IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8)
"""Linux's number: Python names it from 3.14 on."""
_PKTINFO4: Final = struct.Struct("=i4s4s")
_PKTINFO6: Final = struct.Struct("=16si")
_ANCILLARY: Final = 128

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
    while True:
        for _ in range(_TURN):
            try:
                datagram, ancillary, flags, address = sock.recvmsg(_LARGEST, _ANCILLARY)
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
            if forward is not None and datagram and datagram[0] in FIRST_BYTES:
                if not flags & socket.MSG_TRUNC:
                    forward(sock, datagram, address, _same_source(ancillary))
                continue
            reply = None if flags & socket.MSG_TRUNC else answer(datagram, address[0], address[1])
            leaves_by = other if reply is not None and reply.from_second_port else sock
            if reply is not None and leaves_by is not None:
                send(leaves_by, reply.datagram, address, _same_source(ancillary))
        time.sleep(0)


def _wait(sock: socket.socket) -> bool:
    """Wait for a datagram; False where the socket has been closed."""
    try:
        select.select([sock], [], [])
    except (OSError, ValueError):
        return False
    return sock.fileno() >= 0


def _same_source(ancillary: Ancillary) -> Ancillary:
    """Return what makes a reply leave from the address that the datagram came to."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(data) == _PKTINFO4.size:
            _, local, _ = _PKTINFO4.unpack(data)
            return [(level, kind, _PKTINFO4.pack(0, local, bytes(4)))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO) and len(data) == _PKTINFO6.size:
            return [(level, kind, data)]
    return []


def send(sock: socket.socket, datagram: bytes, address: tuple[Any, ...], source: Ancillary) -> None:
    """Send one datagram; what the network refuses is lost, as any datagram may be."""
    try:
        sock.sendmsg([datagram], source, 0, address)
    except OSError as error:
        log.debug("no answer was sent: %s", error)
