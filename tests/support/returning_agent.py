"""An agent that comes back, as simple as one can be: signs up, attaches, sends heartbeats, and begins anew when that
fails. What the real one does is `agent/directory.py`'s; this one says at any time whether it is here.
"""

import contextlib
import threading
import time
from typing import Any, Final

import requests
import socketio
from socketio.exceptions import SocketIOError

from tests.support.live_rendezvous import Heard, Someone

_SECONDS: Final = 3.0
_PAUSE: Final = 0.3
_BEAT: Final = 0.5


class ReturningAgent:
    """One person at one address. `start` first, `stop` at the end."""

    def __init__(self, url: str, who: Someone, name: str) -> None:
        self._url, self._who, self.name = url, who, name
        self._token: str | None = None
        self._client: Any = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.beaten = 0.0
        """When a heartbeat was last acknowledged."""
        self.introductions = Heard[dict[str, Any]]()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join(2 * _SECONDS)

    def is_here_since(self, moment: float) -> bool:
        """Say whether a heartbeat that was sent after a moment has been acknowledged."""
        return self.beaten > moment

    def introduce(self, to: str, payload: bytes) -> bool:
        """Send an introduction; say whether it was handed on."""
        with contextlib.suppress(SocketIOError, requests.RequestException, OSError, AttributeError, KeyError):
            said = self._who.introduction(self.name, to, payload, self._audience())
            return bool(self._client.call("introduce", said, timeout=_SECONDS) == {"ok": True})
        return False

    def _audience(self) -> str:
        return str(requests.get(f"{self._url}/identity", timeout=_SECONDS).json()["key"])

    def _run(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(SocketIOError, requests.RequestException, OSError, KeyError):
                if self._token is None:
                    self._sign_up()
                self._live()
            self._ended.wait(_PAUSE)

    def _sign_up(self) -> None:
        body: Any = self._who.signup(self.name, self._audience())
        answer = requests.post(f"{self._url}/signup", json=body, timeout=_SECONDS)
        if answer.ok:
            self._token = str(answer.json()["token"])

    def _live(self) -> None:
        client = self._client = socketio.Client(reconnection=False, handle_sigint=False)
        client.on("introduction", self.introductions)
        client.on("connect_error", self._refused)
        try:
            client.connect(self._url, auth={"token": self._token}, transports=["websocket"], wait_timeout=_SECONDS)
            while not self._ended.wait(_BEAT) and client.connected:
                asked = time.monotonic()
                answer = client.call("heartbeat", {}, timeout=_SECONDS)
                if answer == {"ok": True}:
                    self.beaten = asked
                elif answer["error"]["code"] == "unauthorized":
                    self._token = None
                    return
        finally:
            client.disconnect()

    def _refused(self, value: object = None, *_: object) -> None:
        if isinstance(value, dict) and value.get("data", {}).get("code") == "unauthorized":
            self._token = None
