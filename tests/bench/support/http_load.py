"""HTTP for measurements: requests on connections that stay open, with as little as possible on this side.

Knows what a response looks like and nothing of what it says.
"""

import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Final

from tests.bench.support.contest import BenchError

_SECONDS: Final = 20.0


def get(path: str) -> bytes:
    """Return a request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    """Return a request with a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Connection:
    """One connection that stays open."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), _SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""

    def ask(self, request: bytes) -> bytes:
        """Send a request and return the body of the answer; BenchError where it is an error."""
        self.socket.sendall(request)
        while (body := self.receive()) is None:
            pass
        return body

    def receive(self) -> bytes | None:
        """Read what there is; return a body once it is complete."""
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise BenchError("The server closed a connection.")
        self._read += piece
        head, end, body = self._read.partition(b"\r\n\r\n")
        if not end:
            return None
        if not head.startswith(b"HTTP/1.1 20"):
            raise BenchError(f"The server said {head.splitlines()[0].decode()}: {body.decode()}")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return None
        self._read = b""
        return body

    def close(self) -> None:
        """Close it."""
        self.socket.close()


def latencies(asked: Sequence[tuple[int, Iterator[bytes]]], count: int) -> list[list[float]]:
    """Return the seconds that each of some requests took, one after the other; where several ports are asked, in turn,
    so that what else the machine does slows all of them.
    """
    connections = [Connection(port) for port, _ in asked]
    took: list[list[float]] = [[] for _ in asked]
    for _ in range(count):
        for connection, (_, requests), seconds in zip(connections, asked, took, strict=True):
            request = next(requests)
            began = time.perf_counter()
            connection.ask(request)
            seconds.append(time.perf_counter() - began)
    for connection in connections:
        connection.close()
    return took


def rate(port: int, requests: Iterator[bytes], seconds: float, connections: int = 8) -> tuple[float, int]:
    """Return how many requests a second are answered where each connection asks again at once; and how many were."""
    answered = 0
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            connection = Connection(port)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.socket.sendall(next(requests))
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            for key, _ in selector.select(_SECONDS):
                if key.data.receive() is not None:
                    answered += 1
                    key.data.socket.sendall(next(requests))
        for key in list(selector.get_map().values()):
            key.data.close()
    return answered / passed, answered
