"""The sockets that the agent listens on, bound here alone so that a port in use is noticed.

Servers that bind by themselves set SO_REUSEPORT, and two agents on one port would both start
silently. Owns the choice of the peer port; its memory is datafolder.py's. Used by the entry point.
"""

import errno
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.settings import StartError

RECEIVE_BUFFER: Final = 4 << 20
_BACKLOG: Final = 128
_LOOPBACK: Final = ("127.0.0.1", "::1")
_LINUX_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
# What macOS and Windows use (RFC 6335), and what Linux does, in one.
_USUAL_EPHEMERAL: Final = (32768, 65535)
_NO_SUCH_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


@dataclass(frozen=True, slots=True)
class PeerSockets:
    """The two sockets on the peer port: UDP bound, TCP listening; dual-stack where possible."""

    udp: socket.socket
    tcp: socket.socket
    port: int

    def close(self) -> None:
        """Close both."""
        self.udp.close()
        self.tcp.close()


def bind_page(host: str | None, port: int, kind: type[socket.socket] = socket.socket) -> list[socket.socket]:
    """Listen for the page on `host`, or on both loopback addresses; StartError if one is taken.

    Both, because another user of this machine could bind the free one and collect tokens there.
    """
    sockets: list[socket.socket] = []
    for address in (host,) if host else _LOOPBACK:
        try:
            sockets.append(_listen(address, port, kind))
        except OSError as problem:
            if address == "::1" and host is None and problem.errno in _NO_SUCH_ADDRESS:
                continue
            for opened in sockets:
                opened.close()
            raise StartError(_page_sentence(problem, address, port)) from None
    return sockets


def _listen(address: str, port: int, kind: type[socket.socket]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = kind(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let a second agent in
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Connections inherit it: an answer must not wait until the browser has acknowledged the event before it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _page_sentence(problem: OSError, address: str, port: int) -> str:
    if problem.errno == errno.EADDRINUSE:
        return f"Port {port} is in use: stop what uses it, or choose another with --port."
    if problem.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} is not allowed to you: choose one above 1023 with --port."
    if problem.errno in _NO_SUCH_ADDRESS:
        return f"This machine has no address {address}: choose another with --page-host."
    return f"The page cannot listen on {address}, port {port}: {(problem.strerror or '?').lower()}."


def bind_peers(port: int) -> PeerSockets:
    """Bind UDP and TCP on one port on every address; OSError if either is taken."""
    try:
        return _bind_peers(socket.AF_INET6, port)
    except OSError as problem:
        if problem.errno not in _NO_SUCH_ADDRESS:
            raise
    return _bind_peers(socket.AF_INET, port)


def _bind_peers(family: socket.AddressFamily, port: int) -> PeerSockets:
    udp = socket.socket(family, socket.SOCK_DGRAM)
    try:
        tcp = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        udp.close()
        raise
    peers = PeerSockets(udp, tcp, port)
    try:
        for one in (udp, tcp):
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if os.name == "posix":
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        udp.bind(("", port))
        tcp.bind(("", port))
        tcp.listen(_BACKLOG)
    except OSError:
        peers.close()
        raise
    return peers


def open_peers(wanted: int | None, remembered: int | None, avoid: int) -> PeerSockets:
    """Open the wanted peer port or none; else the remembered one, else a random free one."""
    if wanted is not None:
        try:
            return bind_peers(wanted)
        except OSError as problem:
            raise StartError(_peer_sentence(problem, wanted)) from None
    candidates = [port for port in _candidates() if port != avoid]
    ports = [] if remembered in (None, avoid) else [remembered]
    ports += [secrets.choice(candidates) for _ in range(50)]
    last: OSError | None = None
    for port in ports:
        assert port is not None
        try:
            return bind_peers(port)
        except OSError as problem:
            last = problem
    reason = (last.strerror if last else None) or "unknown"
    raise StartError(f"No port for peers can be opened ({reason.lower()}): name one, --peer-port N.")


def _candidates() -> list[int]:
    """List ports outside the ephemeral range, where no outgoing connection takes one away."""
    low, high = _ephemeral_range()
    outside = [port for port in range(10_000, 65_536) if not low <= port <= high]
    return outside or [port for port in range(1_024, 10_000)]


def _ephemeral_range() -> tuple[int, int]:
    try:
        low, high = _LINUX_EPHEMERAL.read_text().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return _USUAL_EPHEMERAL


def _peer_sentence(problem: OSError, port: int) -> str:
    if problem.errno == errno.EADDRINUSE:
        return f"Peer port {port} is in use: stop what uses it, or choose another with --peer-port."
    if problem.errno in (errno.EACCES, errno.EPERM):
        return f"Peer port {port} is not allowed to you: choose one above 1023 with --peer-port."
    return f"Peer port {port} cannot be opened: {(problem.strerror or 'unknown').lower()}."
