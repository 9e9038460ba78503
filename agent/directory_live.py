"""One live connection to the rendezvous: Socket.IO on a WebSocket, from its opening to its end.
Used by `directory.py`.

Owns the connection alone; when to open one, and what to say on it, is the directory's business.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import socketio
from socketio.exceptions import SocketIOError

from agent.directory_wire import WEBSOCKET_OPTIONS, Json, Refused, Wire, read_error

_SECONDS: Final = 5.0
"""For each answer of the rendezvous."""


class SessionLost(Exception):
    """The rendezvous does not know this session any more: sign up again."""


class LiveConnection:
    """An open connection; making one opens it. `close` at the end, whatever happened. `heard` takes events by name.

    Making and calling raise SessionLost, UsageError `rendezvous_down`, and Refused with the code of
    the rendezvous.
    """

    def __init__(
        self,
        wire: Wire,
        token: str,
        heard: Mapping[str, Callable[[object], None]],
        on_end: Callable[[], None],
    ) -> None:
        self._wire = wire
        self._on_end = on_end
        self._refusal: object = None
        self.is_moving = False
        self._client: Any = socketio.Client(
            reconnection=False,
            handle_sigint=False,
            request_timeout=_SECONDS,
            websocket_extra_options=WEBSOCKET_OPTIONS,
        )
        for event, listener in heard.items():
            self._client.on(event, lambda value=None, *_, listener=listener: listener(value))
        self._client.on("move", self._move)
        self._client.on("connect_error", self._refused)
        self._client.on("disconnect", lambda *_: on_end())
        try:
            self._client.connect(wire.url, auth={"token": token}, transports=["websocket"], wait_timeout=_SECONDS)
        except (SocketIOError, OSError):
            self._raise_refusal()
            raise wire.down() from None

    @property
    def is_open(self) -> bool:
        """Say whether the connection still stands."""
        return bool(self._client.connected)

    def call(self, event: str, argument: Json) -> Json:
        """Send an event and return its answer."""
        try:
            answer = self._client.call(event, argument, timeout=_SECONDS)
        except (SocketIOError, OSError):
            raise self._wire.down("closed the connection") from None
        if isinstance(answer, dict) and answer.get("ok") is True:
            return answer
        code, message = read_error(answer)
        if code == "unauthorized":
            raise SessionLost
        raise Refused(code, message or "The rendezvous gave an answer that makes no sense.")

    def close(self) -> None:
        """Close the connection; harmless when it is closed."""
        self._client.disconnect()

    def _move(self, *_: object) -> None:
        """Hear that this process of the rendezvous is about to stop: a new connection leads to another."""
        self.is_moving = True
        self._on_end()

    def _refused(self, value: object = None, *_: object) -> None:
        self._refusal = value

    def _raise_refusal(self) -> None:
        """Raise what the rendezvous said when it did not let us in, if it said something."""
        if not isinstance(self._refusal, dict):
            return
        code, message = read_error({"error": {"message": self._refusal.get("message"), **_data(self._refusal)}})
        if code == "unauthorized":
            raise SessionLost
        if message:
            raise self._wire.down("has a problem: " + message.rstrip("."))


def _data(refusal: Json) -> Json:
    data = refusal.get("data")
    return data if isinstance(data, dict) else {}
