"""How the agent speaks to a rendezvous: HTTP calls and a WebSocket, both with deadlines and limits.

Owns connections and sizes; what is asked and believed is `directory.py`. Neither follows redirects
or proxies from the environment: the rendezvous is at the address that the person gave, or it is not
there.
"""

import http.client
import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import websocket
from websocket._abnf import frame_buffer

from agent.protocol.errors import UsageError

CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 8.0
MAX_ANSWER: Final = 512 * 1024
"""Bytes of one answer: a page of 500 people is about 100 KB."""
MAX_FRAME: Final = 1024 * 1024
"""Bytes of one message on the live connection: 1000 watched people are about 500 KB."""
_MAX_SENTENCE: Final = 300

Json = dict[str, object]


class Refused(Exception):
    """The rendezvous said no: its code, and its sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Wire:
    """Calls to one rendezvous. Every call raises UsageError `rendezvous_down`, or Refused."""

    def __init__(self, url: str) -> None:
        """Take `http://HOST:PORT` or https; UsageError `bad_request` for anything else."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise _bad_url(url) from None
        if parts.scheme not in ("http", "https") or not re.fullmatch(r"[\w.:%-]+", host or ""):
            raise _bad_url(url)
        if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
            raise _bad_url(url)
        self.url = f"{parts.scheme}://{parts.netloc}"
        self.host = host or ""
        self._port = port
        self._secure = parts.scheme == "https"
        self.clock: float | None = None
        """Seconds by which our clock is ahead of the server's, as its last answer had it, to a second."""

    def get(self, path: str, token: str | None = None, **query: str) -> Json:
        """Ask for a resource, with the session where there is one."""
        target = f"{path}?{urlencode(query)}" if query else path
        return self._call("GET", target, None, {"Authorization": f"Bearer {token}"} if token else {})

    def post(self, path: str, fields: Mapping[str, object]) -> Json:
        """Send a value as JSON."""
        headers = {"Content-Type": "application/json"}
        body = json.dumps(fields, ensure_ascii=False).encode()
        return self._call("POST", path, body, headers)

    def down(self, why: str = "does not answer") -> UsageError:
        """Return the error that says what is wrong with the rendezvous."""
        return UsageError("rendezvous_down", f"The rendezvous at {self.url} {why}.")

    def _call(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> Json:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self.host, self._port, timeout=CONNECT_SECONDS)
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            text = self._read(response)
            self.clock = _ahead(response.headers.get("Date"))
        except (OSError, http.client.HTTPException, UnicodeError):
            raise self.down() from None
        finally:
            connection.close()
        return self._judge(response.status, self._value(text))

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """Read a body that is neither endless nor endlessly slow."""
        deadline = time.monotonic() + ANSWER_SECONDS
        text = bytearray()
        while piece := response.read1(65536):
            text += piece
            if len(text) > MAX_ANSWER or time.monotonic() > deadline:
                raise self.down("answers too much, or too slowly")
        return bytes(text)

    def _value(self, text: bytes) -> Json:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self.down("gave an answer that makes no sense")
        return value

    def _judge(self, status: int, value: Json) -> Json:
        if 200 <= status < 300:
            return value
        code, message = read_error(value)
        if not 400 <= status < 500 or status == 429:
            raise self.down("has a problem: " + message.rstrip(".") if message else "has a problem")
        raise Refused(code, message or f"The rendezvous refused this (status {status}).")


def _ahead(date: str | None) -> float | None:
    """Compare our clock with a Date header (RFC 9110 section 6.6.1), which has no fractions."""
    try:
        return None if date is None else round(time.time() - parsedate_to_datetime(date).timestamp() - 0.5, 1)
    except (ValueError, OverflowError):
        return None


def read_error(value: object) -> tuple[str, str]:
    """Return code and sentence of an error; empty where there is none. Only what can be shown is
    taken.
    """
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return "", ""
    code, message = error.get("code"), error.get("message")
    if not isinstance(code, str) or not isinstance(message, str):
        return "", ""
    return code, "".join(char for char in message if char.isprintable())[:_MAX_SENTENCE]


class BoundedWebSocket(websocket.WebSocket):
    """A WebSocket that takes no message above MAX_FRAME: the library has no limit of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.frame_buffer = _BoundedFrames(self._recv, False)


WEBSOCKET_OPTIONS: Final[dict[str, Any]] = {
    "class_": BoundedWebSocket,
    "http_no_proxy": ["*"],  # no proxies
    "suppress_origin": True,  # only browsers have one
}


class _BoundedFrames(frame_buffer):
    def recv_header(self) -> None:
        super().recv_header()
        if self.header is not None and not self.header[0]:
            raise websocket.WebSocketProtocolException("a message in pieces")

    def recv_length(self) -> None:
        super().recv_length()
        if self.length is not None and self.length > MAX_FRAME:
            raise websocket.WebSocketProtocolException("a message that is too long")


def _bad_url(url: str) -> UsageError:
    example = "an address like http://HOST:8000"
    return UsageError("bad_request", f"{url!r} is not a rendezvous: it must be {example}.")
