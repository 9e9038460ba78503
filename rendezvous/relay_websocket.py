"""The relay over a WebSocket, for agents whose network lets no UDP through: `GET /relay`, no Socket.IO. Used by
`app.py`.

Owns these connections and their UDP sockets; which datagram may go where is `relay_bridge.py`'s. What an agent sends
leaves by UDP, from a socket of its own for each relay, to the relay that its ticket names: the own one at the own UDP
port, another machine's at the address that this machine has told of itself. Nothing is sent anywhere else. So a relay
sees one more address, and its challenges and budgets hold as for everybody.

Nothing waits here but one message: as long as an agent does not read, the kernel drops what comes for it, as a network
would.

| limit | what happens |
|---|---|
| connections that begin, as the live ones (`limits.py`); MOST of one address at once | 429 `limit` |
| an Origin that is not our own: a page in a browser | 403 `forbidden` |
| no BIND with a ticket of ours within WELCOME_SECONDS, as the first thing | closed, 1008 |
| nothing that goes to a relay for IDLE_SECONDS; or nothing read for as long | closed |
| a message of more than 64 KiB, or one that is not as `contract/relay.py` has it | closed, 1009, 1007 or 1002 |
"""

import base64
import binascii
import contextlib
import json
import logging
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from itertools import groupby
from typing import Any, Final

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue
from wsproto.connection import SERVER, Connection
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import ProtocolError, generate_accept_token

from rendezvous import answers, udp
from rendezvous.answers import Refused
from rendezvous.contract import relay
from rendezvous.contract.relay import LARGEST_MESSAGE, WEBSOCKET_PATH
from rendezvous.limits import Limits
from rendezvous.metrics import REFUSED, RELAY_WEBSOCKETS
from rendezvous.proxies import Wsgi, network_of
from rendezvous.relay_bridge import BACK, Bridge
from rendezvous.store import Unavailable
from rendezvous.throttle import Throttle

MOST: Final = 1000
"""Connections of one address at once: a school, or a company, that lets no UDP out."""
WELCOME_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 150.0
"""Above the longest interval of keepalives."""
UNSENT: Final = 65_536
"""Bytes that may wait in the kernel for an agent, beside those that are on their way."""
_TURN: Final = 40
"""Datagrams in one message, at most: 40 of the largest are less than LARGEST_MESSAGE."""
_READ: Final = 65_536
_NOTSENT_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", 25)

_BUFFER: Final = memoryview(bytearray(udp.BUFFER))
"""For all connections: nobody else has a turn between receiving and copying."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """The relay of this machine: its name in tickets, and its UDP socket."""

    name: str
    host: str
    port: int


class RelayWebSockets:
    """A WSGI application that takes the WebSockets of the relay, and passes on everything else."""

    def __init__(self, key: Callable[[], bytes], limits: Limits, here: Place | None) -> None:
        """Take the rendezvous' Ed25519 key, and where the relay of this machine is, if it has one."""
        self._key, self._limits, self.here = key, limits, here
        self._app: Wsgi | None = None
        self._of: Counter[str] = Counter()
        self._throttle = Throttle()
        self._open: set[_Relayed] = set()

    def register(self, app: Flask) -> None:
        """Stand in front of an application."""
        app.extensions["relay_websockets"] = self
        app.add_url_rule(WEBSOCKET_PATH, view_func=_no_websocket, endpoint="relay")
        self._app = app.wsgi_app
        app.wsgi_app = self  # type: ignore[method-assign]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve a WebSocket until its end, or pass on."""
        assert self._app is not None
        wanted = environ.get("HTTP_UPGRADE", "").lower() == "websocket"
        if not wanted or environ.get("PATH_INFO") != WEBSOCKET_PATH:
            return self._app(environ, start_response)
        try:
            who = self._let_in(environ)
        except Refused as refused:
            return _refuse(refused, start_response)
        self._of[who] += 1
        try:
            self._serve(environ, who)
        finally:
            self._of -= Counter([who])
        return []

    def close_all(self) -> None:
        """Send everybody elsewhere."""
        for one in list(self._open):
            one.close(CloseReason.GOING_AWAY)

    def _let_in(self, environ: dict[str, Any]) -> str:
        """Return whose connection it is; Refused where it is not to be."""
        origin = environ.get("HTTP_ORIGIN", "")
        if origin and origin.lower().partition("://")[2] != environ.get("HTTP_HOST", "").lower():
            raise Refused(403, "forbidden", "This is for agents, not for pages of other sites.")
        if environ.get("REQUEST_METHOD") != "GET" or environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
            raise Refused(400, "bad_request", "This speaks WebSocket in version 13.")
        if not _is_key(environ.get("HTTP_SEC_WEBSOCKET_KEY", "")):
            raise Refused(400, "bad_request", "Sec-WebSocket-Key must be 16 bytes in base64.")
        if self.here is None:
            raise Refused(503, "no_relay", "There is no relay at this rendezvous.")
        if "tmge.hijack" not in environ:
            raise Refused(501, "no_relay", "This server does not serve WebSockets.")
        try:
            self._key()
        except Unavailable:
            raise Refused(503, "unavailable", "The rendezvous cannot reach its store right now.") from None
        who = network_of(environ.get("REMOTE_ADDR", ""))
        self._limits.hit("connect", who)
        if self._of[who] >= MOST:
            REFUSED.labels("limit").inc()
            raise Refused(429, "limit", "That are too many connections from one address.")
        return who

    def _serve(self, environ: dict[str, Any], who: str) -> None:
        assert self.here is not None
        accept = generate_accept_token(environ["HTTP_SEC_WEBSOCKET_KEY"].encode()).decode()
        relayed = _Relayed(
            environ["tmge.hijack"](), Bridge(self._key(), time.time(), lambda: self._throttle.take(who)), self.here
        )
        self._open.add(relayed)
        RELAY_WEBSOCKETS.inc()
        try:
            relayed.run(accept)
        except OSError as error:
            log.debug("a WebSocket of the relay ended: %s", error)
        except Exception:
            log.exception("a WebSocket of the relay failed")
        finally:
            RELAY_WEBSOCKETS.dec()
            self._open.discard(relayed)
            relayed.end()


class _Relayed:
    """One connection of an agent."""

    def __init__(self, agent: socket.socket, bridge: Bridge, here: Place) -> None:
        self._agent, self._bridge, self._here = agent, bridge, here
        self._websocket = Connection(SERVER)
        self._writing = threading.Lock()
        self._relays: dict[str, socket.socket | None] = {}
        self._message = bytearray()
        self._until = time.monotonic() + WELCOME_SECONDS
        self._closed = False

    def run(self, accept: str) -> None:
        """Serve until the end; OSError where it breaks off."""
        with contextlib.suppress(OSError):  # not on every system
            self._agent.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, UNSENT)
            self._agent.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._agent.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        while not self._closed:
            self._agent.settimeout(max(0.001, self._until - time.monotonic()))
            try:
                data = self._agent.recv(_READ)
            except TimeoutError:
                self.close(CloseReason.GOING_AWAY if self._bridge.welcome else CloseReason.POLICY_VIOLATION)
                return
            if not data:
                return
            self._websocket.receive_data(data)
            for event in self._websocket.events():
                if not self._closed:
                    self._take(event)
            time.sleep(0)  # others have their turn

    def close(self, reason: int) -> None:
        """Say that it ends, and end it; `run` then returns."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError, ProtocolError):
            if not self._writing.locked():
                self._agent.settimeout(1.0)
                self._agent.sendall(self._websocket.send(CloseConnection(reason)))
        with contextlib.suppress(OSError):
            self._agent.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Let go of the sockets to relays."""
        self._closed = True
        for sock in filter(None, self._relays.values()):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # its reader wakes up
            sock.close()

    # From the agent

    def _take(self, event: Event) -> None:
        if isinstance(event, BytesMessage):
            self._message += event.data
            if len(self._message) > LARGEST_MESSAGE:
                self.close(CloseReason.MESSAGE_TOO_BIG)
            elif event.message_finished:
                message = bytes(self._message)
                self._message.clear()
                self._take_message(message)
        elif isinstance(event, Ping):
            self._write(self._websocket.send(event.response()))
        elif isinstance(event, CloseConnection):
            self.close(event.code)
        elif isinstance(event, TextMessage):
            self.close(CloseReason.UNSUPPORTED_DATA)

    def _take_message(self, message: bytes) -> None:
        try:
            datagrams = relay.split(message)
        except ValueError:
            return self.close(CloseReason.INVALID_FRAME_PAYLOAD_DATA)
        now = time.time()
        runs: list[tuple[str, list[bytes]]] = []
        for datagram in datagrams:
            passed = self._bridge.take(datagram, now)
            if passed is not None:
                if not runs or runs[-1][0] != passed.to:
                    runs.append((passed.to, []))
                runs[-1][1].append(passed.datagram)
            if not self._bridge.welcome:
                break
        for to, run in runs:
            if to == BACK:
                self._write(self._websocket.send(BytesMessage(relay.join(run))))
            else:
                self._send(to, run)
        if not self._bridge.welcome:
            self.close(CloseReason.POLICY_VIOLATION)
        return None

    def _send(self, name: str, datagrams: list[bytes]) -> None:
        """Send datagrams to a relay: what does not leave is lost, as any datagram may be."""
        if name not in self._relays:
            self._relays[name] = self._open(name)
        sock = self._relays[name]
        if sock is None:
            return
        self._until = time.monotonic() + IDLE_SECONDS
        for size, run in groupby(datagrams, len):
            udp.send_batch(sock, memoryview(b"".join(run)), size, None, [])

    # From relays

    def _open(self, name: str) -> socket.socket | None:
        """Return a socket to a relay, and listen to it; None where it cannot be reached."""
        host, _, port = name.rpartition(":")
        host = host.strip("[]")
        if name == self._here.name:
            host, port = self._here.host, str(self._here.port)
        try:
            if not host:
                raise OSError("no machine has told where that is")
            family, _, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.connect(address)
            sock.setblocking(False)
            udp.take_batches(sock)
        except (OSError, ValueError) as error:
            log.warning("The relay at %s cannot be reached from here: %s", name, error)
            return None
        threading.Thread(target=self._listen, args=(name, sock), daemon=True).start()
        return sock

    def _listen(self, name: str, sock: socket.socket) -> None:
        """Give the agent what a relay says, until the end."""
        while not self._closed:
            try:
                select.select([sock], [], [])
                datagrams = _waiting(sock)
            except (OSError, ValueError):
                return
            for datagram in datagrams:
                self._bridge.heard(datagram, name)
            try:
                for at in range(0, len(datagrams), _TURN):
                    if not self._closed:
                        self._write(self._websocket.send(BytesMessage(relay.join(datagrams[at : at + _TURN]))))
            except (OSError, ProtocolError):
                return self.close(CloseReason.GOING_AWAY)

    def _write(self, frame: bytes) -> None:
        with self._writing:
            self._agent.sendall(frame)


def _waiting(sock: socket.socket) -> list[bytes]:
    """Return what has come already, a batch or some datagrams."""
    datagrams: list[bytes] = []
    while len(datagrams) < _TURN:
        try:
            count, ancillary, _, _ = sock.recvmsg_into([_BUFFER], udp.ANCILLARY)
        except BlockingIOError:
            break
        except ConnectionError:
            continue  # ICMP: nobody there now
        if not count:
            break
        _, size = udp.read_size(ancillary, count)
        datagrams += [bytes(_BUFFER[at : min(at + size, count)]) for at in range(0, count, size)]
    return datagrams


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _no_websocket() -> ResponseReturnValue:
    """Say what this path is for."""
    message = "Agents open a WebSocket here, where UDP is blocked."
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    return jsonify(answers.error("upgrade_required", message)), 426, headers


def _refuse(refused: Refused, start_response: Callable[..., Any]) -> list[bytes]:
    body = json.dumps(answers.error(refused.code, refused.message)).encode()
    status = f"{refused.status} {HTTPStatus(refused.status).phrase}"
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
