"""A client of the local contract: how a command or a terminal speaks to the agent that runs beside it.

Finds the agent by its data folder, makes calls, hears events, and fetches pictures. Knows no words of its own for
people but those about an agent that is not there. Used by `commands`, `terminal` and `doctor_command`.
"""

import contextlib
import json
import secrets
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

import socketio
from socketio.exceptions import SocketIOError

from agent.datafolder import PAGE_URL_FILE, default_folder, read_private
from agent.protocol.errors import UsageError
from agent.settings import StartError

FINAL: Final = frozenset({"done", "rejected", "expired", "cancelled", "unreachable", "failed"})
_SECONDS: Final = 30.0
"""For each answer: the agent may have to ask the rendezvous first."""

Value = dict[str, Any]
T = TypeVar("T")


class LocalClient:
    """An open connection to the agent of a data folder; `close` at the end, or use it in a `with`.

    StartError where no agent runs there. `state` is the newest one; `requests` are entries by their id.
    """

    def __init__(self, folder: Path) -> None:
        self._base, self._token = _address(folder)
        self.state: Value = {}
        self.requests: dict[str, Value] = {}
        self.closed = False
        self._news = threading.Condition()
        self._listeners: list[Callable[[str, Any], None]] = []
        self._client: Any = socketio.Client(
            reconnection=False, handle_sigint=False, websocket_extra_options={"http_no_proxy": ["*"]}
        )
        self._client.on("*", self._take)
        self._client.on("disconnect", self._end)
        try:
            self._client.connect(self._base, auth={"token": self._token}, transports=["websocket"])
            self.until(lambda: bool(self.state), _SECONDS)
        except (SocketIOError, OSError):
            self.close()
            raise _not_running(folder) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave, as closing a tab would."""
        with contextlib.suppress(SocketIOError, OSError):
            self._client.disconnect()

    def call(self, name: str, /, **arguments: Any) -> Value:
        """Make a call without the arguments that are None; UsageError where the agent says no or is gone."""
        given = {word: value for word, value in arguments.items() if value is not None}
        try:
            answer = self._client.call(name, given, timeout=_SECONDS)
        except (SocketIOError, OSError):
            raise UsageError("unreachable", "The agent does not answer any more: is it still running?") from None
        if not isinstance(answer, dict) or not answer.get("ok"):
            error = answer.get("error", {}) if isinstance(answer, dict) else {}
            raise UsageError(str(error.get("code", "bad_request")), str(error.get("message", "That did not work.")))
        return answer

    def listen(self, listener: Callable[[str, Any], None]) -> None:
        """Have every event told, from a thread of the connection."""
        self._listeners.append(listener)

    def until(self, ready: Callable[[], T], seconds: float | None = None) -> T:
        """Wait until `ready` gives something, the time is up, or the agent is gone; return what it gave last."""
        with self._news:
            self._news.wait_for(lambda: self.closed or ready(), seconds)
            return ready()

    def until_ended(self, request: str, seconds: float | None = None) -> Value | None:
        """Wait for the last word on a request; None where the time is up, or the agent gone, before."""

        def ended() -> Value | None:
            entry = self.requests.get(request)
            return entry if entry is not None and entry["phase"] in FINAL else None

        return self.until(ended, seconds)

    def media(self, url: str) -> bytes:
        """Fetch a finished picture; UsageError where that does not work."""
        return self._fetch(url)

    def upload(self, path: Path) -> Value:
        """Add a picture to the collection; UsageError as the agent says, OSError where the file cannot be read."""
        edge = secrets.token_hex(16)
        head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="picture"\r\n\r\n'.encode()
        body = head + path.read_bytes() + f"\r\n--{edge}--\r\n".encode()
        kind = f"multipart/form-data; boundary={edge}"
        value: Value = json.loads(self._fetch("/library/images", body, {"Content-Type": kind}))
        return value

    def _fetch(self, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
        """Make one HTTP request of the contract; UsageError where it is refused or does not work."""
        credential = {"Authorization": f"Bearer {self._token}"}
        wanted = urllib.request.Request(self._base + url, body, credential | dict(headers or {}))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(wanted, timeout=_SECONDS) as answer:
                data: bytes = answer.read()
                return data
        except urllib.error.HTTPError as refused:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                error = json.loads(refused.read())["error"]
                raise UsageError(error["code"], error["message"]) from None
            raise UsageError("bad_request", f"The agent refused: {refused.reason}.") from None
        except OSError as problem:
            raise UsageError("unreachable", f"The agent could not be asked: {problem}.") from None

    def _take(self, event: str, value: Any = None) -> None:
        with self._news:
            if event == "state":
                self.state = value
                self.requests |= {entry["request"]: entry for entry in value["requests"]}
            elif event == "request":
                self.requests[value["request"]] = value
            elif event == "people":
                changed = {person["name"]: person for person in value}
                known = {person["name"]: person for person in self.state["people"]}
                contacts = {name: person for name, person in changed.items() if name in known or person["connected"]}
                self.state = self.state | {"people": list((known | contacts).values())}
            self._news.notify_all()
        for listener in self._listeners:
            listener(event, value)

    def _end(self, *_: object) -> None:
        with self._news:
            self.closed = True
            self._news.notify_all()


def folder_of(port: int, data: Path | None) -> Path:
    """Return the data folder that the flags --port and --data name."""
    return (data or default_folder(port)).absolute()


def _address(folder: Path) -> tuple[str, str]:
    """Read where the page is, and its token."""
    try:
        text = (read_private(folder / PAGE_URL_FILE) or b"").decode()
        url = urlsplit(text.strip())
        return f"http://{url.hostname}:{url.port}", parse_qs(url.query)["token"][0]
    except (OSError, ValueError, KeyError):
        raise _not_running(folder) from None


def _not_running(folder: Path) -> StartError:
    return StartError(f"No agent is running for {folder}: start it, or name another with --port or --data.")
