"""The UDP loop of the rendezvous: one socket, and whoever answers a datagram. No rules of any
protocol.

Used by the entry point, whose patched sockets make it a green loop. One process of a machine owns
the port.
"""

import logging
import socket
import time
from collections.abc import Callable
from typing import Final

Answer = Callable[[bytes, str, int], bytes | None]

_TURN: Final = 64
"""Datagrams answered before others get their turn: a busy socket never waits, so it would never
yield by itself.
"""
_LARGEST: Final = 2048

log = logging.getLogger(__name__)


def bind(host: str, port: int) -> socket.socket:
    """Return a UDP socket on `host`:`port`, alone on it; OSError where that cannot be."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def serve(sock: socket.socket, answer: Answer) -> None:
    """Answer datagrams until the socket is closed."""
    while True:
        for _ in range(_TURN):
            try:
                datagram, (host, port, *_) = sock.recvfrom(_LARGEST)
            except ConnectionError:
                continue  # an earlier reply found nobody (ICMP): no matter for the next datagram
            except OSError:
                if sock.fileno() < 0:
                    return
                raise
            reply = answer(datagram, host, port)
            if reply is not None:
                _send(sock, reply, (host, port))
        time.sleep(0)


def _send(sock: socket.socket, reply: bytes, address: tuple[str, int]) -> None:
    """Send one datagram; what the network refuses is lost, as any datagram may be."""
    try:
        sock.sendto(reply, address)
    except OSError as error:
        log.debug("no answer to %s: %s", address[0], error)
