"""The relay over the rendezvous' WebSocket, for where UDP does not get through: one connection for each binding.

Owns the connections, their queues and framing; which datagrams go here, and when a binding is made anew, is the core's
business (`protocol.front`), to which a connection is the address ("websocket", number of the binding). A connection is
opened by the first datagram for it, and closed after a while without one. What does not fit into a queue is lost, as it
would be on any path. Used by `reach`; the pump hands over what goes here, and takes what comes.
"""

import contextlib
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import websocket

from agent.directory_wire import WEBSOCKET_OPTIONS
from agent.protocol.packet import Address, Datagrams
from rendezvous.contract.relay import WEBSOCKET_PATH, join, split

HOST: Final = "websocket"
CONNECT_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 60.0
STALLED_SECONDS: Final = 20.0  # that a message may take to leave
QUEUE_BYTES: Final = 256 * 1024
MESSAGE_BYTES: Final = 32 * 1024
MOST: Final = 64  # connections

log = logging.getLogger(__name__)

Arrived = Callable[[Datagrams], None]
Broken = Callable[[Address, str], None]
"""Takes an address ("websocket", number) and why it cannot be sent to: `refused` or `unreachable`."""


class RelaySockets:
    """All connections of this agent to the relay at `url()`, which may change: new ones go where it then leads."""

    def __init__(self, url: Callable[[], str], arrived: Arrived, broken: Broken) -> None:
        self._url, self._arrived, self._broken = url, arrived, broken
        self._links: dict[int, _Link] = {}
        self._stopping = False

    def send(self, datagrams: Datagrams) -> None:
        """Take datagrams for one address ("websocket", number); they are copied."""
        number = datagrams.address[1]
        link = self._links.get(number)
        if link is None:
            if self._stopping or len(self._links) >= MOST:
                return
            link = self._links[number] = _Link(self, number)
            threading.Thread(target=self._run, args=(link,), name=f"relay {number}", daemon=True).start()
        view = memoryview(datagrams.data)
        for at in range(0, len(view), datagrams.size):
            link.put(bytes(view[at : at + datagrams.size]))

    def stop(self) -> None:
        """Close all connections."""
        self._stopping = True
        for link in list(self._links.values()):
            link.close()

    def _run(self, link: "_Link") -> None:
        """Open a connection and keep it until nobody uses it, or it breaks."""
        url = f"ws{self._url().removeprefix('http')}{WEBSOCKET_PATH}"
        why = ""
        try:
            link.carry(url)
        except websocket.WebSocketBadStatusException as problem:
            why = "refused"
            log.debug("The relay over WebSocket refuses: %s", problem)
        except (OSError, ValueError, websocket.WebSocketException) as problem:
            why = "refused" if isinstance(problem, ConnectionRefusedError) else "unreachable"
            log.debug("The relay over WebSocket is lost: %s", problem)
        finally:
            self._links.pop(link.number, None)
        if why and not self._stopping:
            self._broken((HOST, link.number), why)

    def arrived(self, number: int, datagram: bytes) -> None:
        """Pass on what came over a connection."""
        if not self._stopping:
            self._arrived(Datagrams((HOST, number), datagram, len(datagram)))


class _Link:
    """One connection. Two threads: whoever calls `carry` writes, and one that it starts reads."""

    def __init__(self, owner: RelaySockets, number: int) -> None:
        self.number = number
        self._owner = owner
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._news = threading.Condition()
        self._socket: Any = None
        self._closed = False  # nobody needs it any more
        self._ended = False  # the other side has ended it

    def put(self, datagram: bytes) -> None:
        """Queue a datagram, unless the queue is full."""
        with self._news:
            if self._size + len(datagram) <= QUEUE_BYTES:
                self._queue.append(datagram)
                self._size += len(datagram)
                self._news.notify()

    def close(self) -> None:
        """End `carry`, without a complaint."""
        with self._news:
            self._closed = True
            self._news.notify()
        self._hang_up()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self._socket.sock.shutdown(socket.SHUT_RDWR)  # unlike close, wakes a green thread that waits for it

    def carry(self, url: str) -> None:
        """Connect and write until nobody has anything to send; raises OSError, WebSocketException where it breaks."""
        self._socket = websocket.create_connection(
            url,
            timeout=CONNECT_SECONDS,
            sockopt=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
            enable_multithread=True,
            **WEBSOCKET_OPTIONS,
        )
        reading = threading.Thread(target=self._read, name=f"relay {self.number}, reading", daemon=True)
        try:
            self._socket.settimeout(STALLED_SECONDS)
            reading.start()
            while message := self._next():
                self._socket.send_binary(message)
        finally:
            broken, self._closed = self._ended and not self._closed, True
            self._hang_up()
            self._socket.shutdown()
        if broken:
            raise ConnectionError("the rendezvous has ended it")

    def _next(self) -> bytes:
        """Return the next message; nothing once nobody needs this connection, or it has ended."""
        with self._news:
            self._news.wait_for(lambda: self._queue or self._closed or self._ended, IDLE_SECONDS)
            taken: list[bytes] = []
            room = MESSAGE_BYTES
            while self._queue and not self._closed and not self._ended and len(self._queue[0]) + 2 <= room:
                datagram = self._queue.popleft()
                taken.append(datagram)
                room -= len(datagram) + 2
                self._size -= len(datagram)
            return join(taken)

    def _read(self) -> None:
        """Take what comes until the connection ends."""
        try:
            while not self._closed:
                with contextlib.suppress(websocket.WebSocketTimeoutException):
                    message = self._socket.recv()
                    if not isinstance(message, bytes):
                        break
                    for datagram in split(message):
                        self._owner.arrived(self.number, datagram)
        except (OSError, ValueError, AttributeError, websocket.WebSocketException) as problem:
            log.debug("The relay over WebSocket has ended: %s", problem)
        with self._news:
            self._ended = True
            self._news.notify()
