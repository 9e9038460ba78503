"""TCP with one deadline for everything that a connection does. Used by `text_link`.

Deadlines are monotonic times; passing one raises TimeoutError. Works on green sockets too, whose own timeouts begin
anew with each part of what is sent.
"""

import socket
import time
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

_READ: Final = 16 * 1024  # bytes at once


def connect(connection: socket.socket, address: tuple[str, int], deadline: float) -> None:
    """Connect to a numeric address."""
    connection.settimeout(_left(deadline))
    connection.connect(address)


def receive(connection: socket.socket, deadline: float) -> bytes:
    """Return what has come, at least a byte; ConnectionError at the end of the stream."""
    connection.settimeout(_left(deadline))
    data = connection.recv(_READ)
    if not data:
        raise ConnectionError("it ended too early")
    return data


def send(connection: socket.socket, data: bytes, deadline: float) -> None:
    """Send everything."""
    rest = memoryview(data)
    while rest:
        connection.settimeout(_left(deadline))
        rest = rest[connection.send(rest) :]


def family(host: str) -> socket.AddressFamily:
    """Return the family of a numeric address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def origin(host: str) -> str:
    """Return what counts as one place: for IPv6 the network of 64 bits that one machine may have to itself."""
    address = ip_address(host.partition("%")[0])
    if not isinstance(address, IPv6Address):
        return host
    return str(address.ipv4_mapped or IPv6Network((address, 64), strict=False))


def words(problem: Exception) -> str:
    """Return what went wrong, for the middle of a sentence."""
    if isinstance(problem, TimeoutError):
        return "it took too long"
    known = problem.strerror if isinstance(problem, OSError) else None
    return known.lower() if known else str(problem)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
