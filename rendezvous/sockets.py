"""Socket.IO for very many connections that mostly rest: what Flask-SocketIO and python-engineio do for each connection,
done for all of them together.

Owns how a live connection is kept: one green thread each, that reads. Pings go out from one loop for all; what is sent
is given to the kernel at once, and only where it takes no more a second green thread waits for it. An event gets no
Flask request of its own (`sid` says whose it is), only the first one, `connect`. Used by `app.py`; knows no event.

At rest an agent costs about a third of the memory and a third of the processor that it would without.
"""

import contextlib
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

import engineio.socket
from engineio.packet import PING, Packet
from flask import Flask
from flask_socketio import SocketIO

from rendezvous.garbage import Collector

MAX_BACKLOG: Final = 1024 * 1024
"""Bytes that may wait for a client that does not read; one that lets more wait is cut off."""
_READ: Final = 16 * 1024
_LOOK_SECONDS: Final = 1.0
_sid: ContextVar[str] = ContextVar("sid")


def sid() -> str:
    """Return the id of the connection whose event is being handled."""
    return _sid.get()


class LeanSocketIO(SocketIO):  # type: ignore[misc]  # it has no types
    """Flask-SocketIO for connections that rest."""

    def init_app(self, app: Flask, **options: Any) -> None:
        """Take an application, as Flask-SocketIO does."""
        lean = {"manage_session": False, "async_handlers": False, "monitor_clients": False}
        super().init_app(app, **options, **lean)
        self.start_background_task(self._keep_alive)

    def cut(self, sid: str) -> None:
        """Close a connection, not only what Socket.IO runs on it."""
        connection = self.server.manager.eio_sid_from_sid(sid, "/")
        if connection is not None:
            self.server.eio.disconnect(connection)

    def _handle_event(self, handler: Callable[..., Any], message: str, namespace: str, sid: str, *args: Any) -> Any:
        token = _sid.set(sid)
        try:
            if message != "connect":
                return handler(*args)
            return super()._handle_event(handler, message, namespace, sid, *args)
        finally:
            _sid.reset(token)
            if message == "connect":
                self.server.get_environ(sid, namespace).pop("werkzeug.request", None)

    def _keep_alive(self) -> None:
        """Ping whoever is due, and end those who have not answered."""
        sockets: dict[str, engineio.socket.Socket] = self.server.eio.sockets
        garbage = Collector() if self.async_mode == "eventlet" else None  # else the process is somebody else's
        while True:
            self.sleep(_LOOK_SECONDS)
            now = time.time()
            if garbage is not None:
                garbage.look(set(sockets))
            for name, socket in list(sockets.items()):
                if socket.closed:
                    sockets.pop(name, None)
                else:
                    with contextlib.suppress(Exception):  # of one, which must not end the others
                        socket.look(now)


class _LeanSocket(engineio.socket.Socket):  # type: ignore[misc]  # it has no types
    """One connection."""

    ws: Any = None
    queue: Any
    connected: bool
    last_ping: float | None
    waiting: bytearray | None = None
    """Bytes that the kernel did not take yet; None while it takes all."""
    next_ping = 0.0

    def schedule_ping(self) -> None:
        """Note when the next ping is due."""
        self.last_ping = None
        self.next_ping = time.time() + self.server.ping_interval

    def look(self, now: float) -> None:
        """Send a ping where it is due; close where the last one had no answer in time."""
        if self.last_ping is not None:
            self.check_ping_timeout()
        elif now >= self.next_ping:
            self.last_ping = now
            self.send(Packet(PING))

    def send(self, packet: Packet) -> None:
        """Send a packet, without waiting."""
        if self.ws is None or self.upgrading:
            super().send(packet)
        elif self.check_ping_timeout():
            self._write(self.ws._pack_message(packet.encode()))

    def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        """Close the connection."""
        super().close(wait=wait and self.ws is None, abort=abort, reason=reason)
        if self.ws is not None:
            self._cut()

    def _upgrade_websocket(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)  # compression takes 300 KB a connection
        return super()._upgrade_websocket(environ, start_response)

    def _websocket_handler(self, ws: Any) -> Any:
        """Read until the end, in this green thread. Upgrades from polling, and other servers, are the library's."""
        if self.connected or self.server.async_mode != "eventlet":
            return super()._websocket_handler(ws)
        ws.socket.settimeout(self.server.ping_interval + self.server.ping_timeout)
        ws.socket = _Buffered(ws.socket)
        early, self.queue = self.queue, _NOWHERE
        self.ws, self.connected, self.upgraded = ws, True, True
        while not early.empty():
            self._write(ws._pack_message(early.get().encode()))
        with contextlib.suppress(OSError):
            while (message := ws.wait()) is not None and len(message) <= self.server.max_http_buffer_size:
                try:
                    self.receive(Packet(encoded_packet=message))
                except (engineio.exceptions.UnknownPacketError, ValueError):
                    break
        self.close(wait=False, abort=True, reason=self.server.reason.TRANSPORT_CLOSE)
        return []

    def _write(self, frame: bytes) -> None:
        """Give a frame to the kernel; what it does not take waits, and its writer with it."""
        if self.waiting is not None:
            self.waiting += frame
            if len(self.waiting) > MAX_BACKLOG:
                self._cut()
            return
        try:
            sent = 0 if self.ws._sendlock.locked() else self.ws.socket.fd.send(frame)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the reader knows
        if sent < len(frame):
            self.waiting = bytearray(frame[sent:])
            self.server.start_background_task(self._write_waiting)

    def _write_waiting(self) -> None:
        with contextlib.suppress(OSError), self.ws._sendlock:
            while self.waiting:
                sent = self.ws.socket.send(self.waiting[:65536])
                del self.waiting[:sent]
        self.waiting = None

    def _cut(self) -> None:
        """End the connection: its reader then finds the end."""
        with contextlib.suppress(OSError):
            self.ws.socket.shutdown(2)


class _Buffered:
    """A socket that reads all there is at once: the library reads a frame in three pieces, each a system call."""

    __slots__ = ("_read", "_socket")

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._read = b""

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end."""
        read = self._read or self._socket.recv(_READ)
        self._read = read[size:]
        return read[:size]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class _Nowhere:
    """The queue of a connection that needs none."""

    def put(self, packet: Packet | None) -> None:
        """Forget it."""


_NOWHERE: Final = _Nowhere()
engineio.socket.Socket = _LeanSocket  # what python-engineio makes for each connection
