"""A script on an agent's local contract: Socket.IO for calls and events, HTTP for pictures.

Keeps every event in order, with its time, and waits for what should come with a deadline. Knows an agent only by the
address of its page. Used by tests that look at the programs from outside.
"""

import contextlib
import json
import secrets
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

import socketio

from tests.support.programs import PATIENCE

FINAL: Final = frozenset({"done", "rejected", "expired", "cancelled", "unreachable", "failed"})

Value = dict[str, Any]
T = TypeVar("T")


class Refused(Exception):
    """A call that the agent refused: `code` of the contract, and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class LocalClient:
    """One connection to one agent, as a page would have it; `close` at the end."""

    def __init__(self, page_url: str) -> None:
        url = urlsplit(page_url)
        self.base = f"http://{url.hostname}:{url.port}"
        self.token = parse_qs(url.query)["token"][0]
        self.events: list[tuple[float, str, Any]] = []
        self.state: Value = {}
        self.requests: dict[str, Value] = {}
        self.people: dict[str, Value] = {}
        self._phases: dict[str, list[str]] = {}
        self._answered: set[str] = set()
        self._news = threading.Condition()
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._client: Any = socketio.Client(
            reconnection=False, handle_sigint=False, websocket_extra_options={"http_no_proxy": ["*"]}
        )
        self._client.on("*", self._take)
        self._client.connect(self.base, auth={"token": self.token}, transports=["websocket"], wait_timeout=PATIENCE)
        self.until(lambda: bool(self.state), "its state")

    @property
    def me(self) -> str | None:
        """The name of this agent's person, if it has one."""
        name: str | None = self.state["me"]["name"]
        return name

    @property
    def library(self) -> list[Value]:
        """What this person offers."""
        items: list[Value] = self.state["library"]
        return items

    def close(self) -> None:
        """Leave, as closing a tab would."""
        self._client.disconnect()

    # --- calls ---

    def call(self, verb: str, **arguments: Any) -> Value:
        """Make a call; Refused where the agent says no."""
        return self.send(verb, arguments)

    def send(self, verb: str, *values: object) -> Value:
        """Send an event with whatever values; Refused where the agent says no."""
        answer: Value = self._client.call(verb, values if len(values) != 1 else values[0], timeout=PATIENCE)
        if not answer["ok"]:
            error = answer["error"]
            assert set(answer) == {"ok", "error"}
            assert set(error) == {"code", "message"}
            raise Refused(error["code"], error["message"])
        return answer

    def ask(self, verb: str, peer: str, **arguments: Any) -> str:
        """Make a call that begins a request; return the request's number."""
        request: str = self.call(verb, peer=peer, **arguments)["request"]
        return request

    def accept(self, request: str, **arguments: Any) -> None:
        """Say yes, once it is there to be answered."""
        self._answer(request, True, arguments)

    def reject(self, request: str, **arguments: Any) -> None:
        """Say no, once it is there to be answered."""
        self._answer(request, False, arguments)

    def _answer(self, request: str, accept: bool, arguments: Value) -> None:
        self.until_phase(request, "waiting")
        self._answered.add(request)
        self.call("answer", request=request, accept=accept, **arguments)

    # --- what happens ---

    def until(self, ready: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
        """Wait until `ready` gives something; `what` says in the failure what it was."""
        with self._news:
            found = self._news.wait_for(ready, seconds)
            assert found, f"{what} did not come in {seconds} s; last: {self.events[-5:]}"
        return found

    def until_phase(self, request: str, phase: str, seconds: float = PATIENCE) -> Value:
        """Wait until a request has been in this phase; fail at once if it ended in another."""

        def there() -> bool:
            phases = self._phases.get(request, [])
            return phase in phases or bool(FINAL.intersection(phases))

        self.until(there, f"the phase {phase} of {self.requests.get(request, request)}", seconds)
        entry = self.requests[request]
        assert phase in self.phases(request), f"{entry['phase']}: {entry.get('reason')}"
        return entry

    def until_ended(self, request: str, seconds: float = PATIENCE) -> Value:
        """Wait for the last word on a request, whatever it is."""
        self.until(lambda: FINAL.intersection(self._phases.get(request, ())), f"the end of {request}", seconds)
        return self.requests[request]

    def until_asked(self, peer: str, kind: str) -> str:
        """Wait until somebody asks, and no answer has been given; return the number of the request."""

        def waiting() -> str:
            entries = (entry for entry in self.requests.values() if entry["direction"] == "in")
            fits = {"peer": peer, "kind": kind, "phase": "waiting"}.items()
            found: list[str] = [entry["request"] for entry in entries if fits <= entry.items()]
            return next((request for request in found if request not in self._answered), "")

        return self.until(waiting, f"{kind} asked by {peer}")

    def until_told(self, name: str, fits: Callable[[Value], bool], since: int = 0, seconds: float = PATIENCE) -> Value:
        """Wait for an event after the first `since` ones; return its value."""

        def told() -> Value | None:
            return next((value for _, event, value in self.events[since:] if event == name and fits(value)), None)

        value = self.until(told, f"a {name}", seconds)
        assert value is not None
        return value

    def until_person(self, name: str, **fields: object) -> Value:
        """Wait until the agent says this of a contact."""

        def so() -> Value | None:
            known = self.people.get(name, {})
            return known if fields.items() <= known.items() else None

        person = self.until(so, f"{name} with {fields}")
        assert person is not None
        return person

    def phases(self, request: str) -> list[str]:
        """Return the phases that a request has been in, in order."""
        with self._news:
            return list(self._phases.get(request, []))

    def times(self, name: str, request: str) -> list[float]:
        """Return when events of one request came."""
        with self._news:
            return [when for when, event, value in self.events if event == name and value.get("request") == request]

    def _take(self, event: str, value: Any) -> None:
        with self._news:
            self.events.append((time.monotonic(), event, value))
            if event == "state":
                self.state = value
            for entry in value["requests"] if event == "state" else [value] if event == "request" else []:
                self.requests[entry["request"]] = entry
                phases = self._phases.setdefault(entry["request"], [])
                if phases[-1:] != [entry["phase"]]:
                    phases.append(entry["phase"])
            for person in value["people"] if event == "state" else value if event == "people" else []:
                self.people[person["name"]] = person
            self._news.notify_all()

    # --- HTTP ---

    def get(self, path: str, **headers: str) -> tuple[int, Any, bytes]:
        """Fetch something with the token; return status, headers and body."""
        return self.http(urllib.request.Request(self.base + path, headers=headers))

    def upload(self, data: bytes, filename: str = "picture.png") -> Value:
        """Offer a picture; Refused where the agent does not take it."""
        edge = secrets.token_hex(16)
        head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="{filename}"\r\n\r\n'
        body = b"".join((head.encode(), data, f"\r\n--{edge}--\r\n".encode()))
        kind = f"multipart/form-data; boundary={edge}"
        request = urllib.request.Request(f"{self.base}/library/images", body, {"Content-Type": kind})
        status, _, answer = self.http(request)
        value: Value = json.loads(answer)
        if status != 201:
            raise Refused(value["error"]["code"], value["error"]["message"])
        return value

    def http(self, request: urllib.request.Request) -> tuple[int, Any, bytes]:
        """Make one request with the token; errors are answers too."""
        request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with self._http.open(request, timeout=PATIENCE) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()


@contextlib.contextmanager
def clients(*page_urls: str) -> Iterator[list[LocalClient]]:
    """Open one client for each page, and close them all at the end."""
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(contextlib.closing(LocalClient(url))) for url in page_urls]


def connect(asker: LocalClient, owner: LocalClient) -> None:
    """Have two people say yes to a connection."""
    assert asker.me is not None
    assert owner.me is not None
    request = asker.ask("connect_to", owner.me)
    owner.accept(request)
    for side in (asker, owner):
        side.until_phase(request, "done")
