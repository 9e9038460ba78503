"""The HTTP server of one process, and what no application can limit by itself: connections, and how slow a client may
be.

Owns the listener and its connections; what is answered is the application's. Used by the entry point; eventlet's WSGI
server does the work.

| limit | what happens |
|---|---|
| connections of this process | one more is answered 503 `busy`, and closed |
| MAX_LINE bytes of a request's first line or of one header | 414 or 431 `too_large`, and closed |
| a head that is no HTTP | 400 `bad_request`, and closed |
| IDLE_SECONDS for the head of a request, waiting for it included | closed |
| BODY_SECONDS for a body | 408 `too_slow`, and closed |
| MAX_BODY bytes of a body (each call has a lower limit of its own) | 413 `too_large`, and closed |
| SEND_SECONDS without taking any of an answer | closed |
"""

import contextlib
import io
import json
import logging
import socket
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

import eventlet
import eventlet.wsgi

from rendezvous import answers
from rendezvous.metrics import CONNECTIONS, REFUSED
from rendezvous.proxies import Wsgi

IDLE_SECONDS: Final = 30.0
BODY_SECONDS: Final = 10.0
SEND_SECONDS: Final = 60.0
MAX_BODY: Final = 64 * 1024
MAX_LINE: Final = 8192
_SPARE: Final = 64
"""Connections above the limit that may be told so at once; more wait to be told."""
_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 256 * 1024

_UNREADABLE: Final = {
    400: "This is no HTTP request that can be read.",
    414: f"The first line of a request has less than {MAX_LINE} bytes.",
    431: "The headers of this request are too long.",
    505: "HTTP is spoken here in version 1.0 or 1.1.",
}

log = logging.getLogger(__name__)


class Server:
    """Serves one application on one listener, in the background. `start` first."""

    def __init__(self, listener: socket.socket, app: Wsgi, limit: int, *, counted: bool = True) -> None:
        """Take a bound socket, how many connections there may be at once, and whether they count as those of people."""
        self._listener = listener
        self._app = _whole_bodies(app)
        self.limit = limit
        self._counted = counted
        self._pool = eventlet.GreenPool(limit + _SPARE)
        self._stopping = False
        self._accepting: Any = None

    @property
    def connections(self) -> int:
        """Return how many connections there are."""
        return int(self._pool.running())

    def start(self) -> None:
        """Listen, and serve for as long as the process lives; OSError where somebody else listens."""
        self._listener.listen(1024)
        if self._counted:
            CONNECTIONS.set_function(lambda: self.connections)
        self._accepting = eventlet.spawn(self._serve)

    def stop_listening(self) -> None:
        """Take no more connections; those that ask for nothing are closed, the others go on."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.kill()

    def until_idle(self, seconds: float) -> None:
        """Wait until all connections have ended, so long at most."""
        deadline = time.monotonic() + seconds
        while self.connections and time.monotonic() < deadline:
            time.sleep(0.02)

    def _serve(self) -> None:
        """Serve; when accepting fails (no files left, say), go on a second later."""
        kind = type("Connection", (_Connection,), {"keeper": self})
        while not self._stopping:
            try:
                eventlet.wsgi.server(
                    self._listener.dup(),
                    self._app,
                    custom_pool=self._pool,
                    protocol=kind,
                    socket_timeout=SEND_SECONDS,
                    url_length_limit=MAX_LINE,
                    log=log,
                    log_output=False,
                    debug=False,
                )
            except OSError as error:
                if not self._stopping:
                    log.error("Cannot accept connections: %s", error)
                    time.sleep(1)


class _Connection(eventlet.wsgi.HttpProtocol):  # type: ignore[misc]  # eventlet has no types
    """One connection: turned away where there are too many, closed where it is too slow."""

    keeper: Server
    _deadline: Any = None
    _lingers = False

    def handle(self) -> None:
        if self.keeper.connections > self.keeper.limit:
            self._turn_away()
            return
        try:
            super().handle()
        except eventlet.Timeout as passed:
            if passed is not self._deadline:
                raise
        finally:
            self._in_time()

    def _read_request_line(self) -> Any:
        self._in_time()
        self._deadline = eventlet.Timeout(IDLE_SECONDS)
        line = super()._read_request_line()
        if len(line) < MAX_LINE:
            return line
        self.send_error(414)
        return b""

    def parse_request(self) -> bool:
        """Read the head of a request; one that cannot be read is answered here, as all else is."""
        try:
            readable = bool(super().parse_request())
        except (eventlet.wsgi.HeaderLineTooLong, eventlet.wsgi.HeadersTooLarge):
            self.send_error(431)
            return False
        finally:
            self._in_time()
        if readable and not self._has_one_length():
            self.send_error(400)
            return False
        return readable

    def _has_one_length(self) -> bool:
        """Say whether a body, if there is one, has a length that all who read it agree on (RFC 9112, section 6.3)."""
        lengths = self.headers.get_all("content-length", [])
        if not lengths:
            return True
        length = lengths[0].strip()
        alone = len(lengths) == 1 and "transfer-encoding" not in self.headers
        return alone and length.isascii() and length.isdigit() and len(length) < 20

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that cannot be read; what it held is neither repeated nor logged."""
        text = _UNREADABLE.get(code, _UNREADABLE[400])
        self._refuse(int(code), "too_large" if code in (414, 431) else "bad_request", text)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing of what strangers send."""

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        environ["tmge.close"] = self._close_after
        environ["tmge.hijack"] = self._hijack
        environ["eventlet.set_idle"] = lambda: None  # a WebSocket is not idle: it is closed when it has been told
        return environ

    def finish(self) -> None:
        with contextlib.suppress(OSError, eventlet.Timeout):
            if self._lingers:
                self._linger()
        super().finish()

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _close_after(self) -> None:
        """Close after this answer, whatever else comes."""
        self.close_connection = 1
        self._lingers = True

    def _hijack(self) -> Any:
        """Return the socket of the connection; an application that takes it answers by itself, until the end."""
        eventlet.wsgi.WSGI_LOCAL.already_handled = True
        return self.connection

    def _turn_away(self) -> None:
        REFUSED.labels("busy").inc()
        self._refuse(503, "busy", "This rendezvous has as many connections as it can serve.", "Retry-After: 5\r\n")

    def _refuse(self, status: int, code: str, message: str, header: str = "") -> None:
        """Answer without having read a request, and close."""
        body = json.dumps(answers.error(code, message))
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n{header}"
        with contextlib.suppress(OSError):
            self.wfile.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        self._close_after()

    def _linger(self) -> None:
        """Say that no more comes, and take what was on its way: closed with bytes unread, a connection is reset, and
        the answer may be lost with it.
        """
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        left = _LINGER_BYTES
        with eventlet.Timeout(_LINGER_SECONDS):
            while left > 0 and (piece := self.connection.recv(16384)):
                left -= len(piece)


def _whole_bodies(app: Wsgi) -> Wsgi:
    """Let an application have bodies that are whole: too slow and too large ones are answered here."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        coding = environ.get("HTTP_TRANSFER_ENCODING", "").strip().lower()
        if not (length or coding):
            return app(environ, start_response)
        try:
            if coding not in ("", "chunked"):
                raise _BadBody("501 Not Implemented", "bad_request", "The only transfer coding here is chunked.")
            if length > MAX_BODY:
                raise _BadBody("413 Content Too Large", "too_large", f"A body has at most {MAX_BODY} bytes.")
            body = _body(environ)
        except _BadBody as bad:
            return bad.answer(environ, start_response)
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ["wsgi.input"] = io.BytesIO(body)
        return app(environ, start_response)

    return answer


def _body(environ: dict[str, Any]) -> bytes:
    """Read a body; _BadBody where it is too slow, too long, or breaks off."""
    try:
        with eventlet.Timeout(BODY_SECONDS):
            body: bytes = environ["wsgi.input"].read(MAX_BODY + 1)
    except (eventlet.Timeout, TimeoutError):
        message = f"A body must arrive within {BODY_SECONDS:.0f} s."
        raise _BadBody("408 Request Timeout", "too_slow", message) from None
    except (OSError, ValueError):
        raise _BadBody("400 Bad Request", "bad_request", "The body breaks off, or is not what its head says.") from None
    if len(body) > MAX_BODY:
        raise _BadBody("413 Content Too Large", "too_large", f"A body has at most {MAX_BODY} bytes.")
    if len(body) < int(environ.get("CONTENT_LENGTH") or 0):
        raise _BadBody("400 Bad Request", "bad_request", "The body breaks off.")
    return body


class _BadBody(Exception):
    """A body that is not passed on; it knows its answer."""

    def __init__(self, status: str, code: str, message: str) -> None:
        super().__init__(message)
        self._status, self._code, self._message = status, code, message

    def answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Say so, and let the connection end."""
        environ["tmge.close"]()
        if self._code != "bad_request":
            REFUSED.labels(self._code).inc()
        body = json.dumps(answers.error(self._code, self._message)).encode()
        start_response(self._status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]
