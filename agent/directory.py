"""The client of the rendezvous: signs up, looks people up, keeps a live connection, and comes back
by itself.

Owns the session and the connection; knows no peer, page or disk. Made by the composition root.
Blocks only whoever calls; its own loop runs on one thread (a green one, where the entry point
patched). It never gives up: while the rendezvous is away it says so, once, and is back within
seconds of its return.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeGuard

from agent.directory_live import LiveConnection, SessionLost
from agent.directory_wire import CONNECT_SECONDS, Json, Refused, Wire
from agent.person import Person, read_person
from agent.protocol.errors import UsageError
from rendezvous.contract.encoding import from_text, to_text
from rendezvous.contract.identity import signup_message
from rendezvous.contract.names import canonical, skeleton
from rendezvous.contract.presence import HEARTBEAT, MAX_WATCHED

_ANXIOUS: Final = 2.0
"""Seconds between heartbeats while the rendezvous cannot reach its store."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 3.0

log = logging.getLogger(__name__)


class Identity(Protocol):
    """Who signs up: raw public keys, and their signatures."""

    @property
    def key(self) -> bytes:
        """The Ed25519 key."""

    @property
    def box_key(self) -> bytes:
        """The X25519 key."""

    def sign(self, data: bytes, /) -> bytes:
        """Sign with the Ed25519 key."""

    def box_signature(self, name: str, /) -> bytes:
        """Vouch for the X25519 key under a name."""


class Directory:
    """One rendezvous, seen by one agent. `start` first, `stop` at the end; calls work in between
    and before.

    `on_status` hears `connecting`, `up` or `down` with a sentence whenever one of them changes;
    `on_presence` hears of people who are watched. Both are called from the directory's threads, and
    must not wait for it.
    """

    def __init__(
        self,
        url: str,
        identity: Identity,
        *,
        next_seq: Callable[[], int],
        on_presence: Callable[[Person], None],
        on_status: Callable[[str, str], None],
    ) -> None:
        self._wire = Wire(url)
        self._identity = identity
        self._next_seq = next_seq
        self._on_presence = on_presence
        self._on_status = on_status
        self._status: tuple[str, str] | None = None
        self._wanted: tuple[str, int] | None = None
        self._token: str | None = None
        self._watched: list[str] = []
        self._claiming = threading.Lock()
        self._pause = _FIRST_PAUSE
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="directory", daemon=True)

    @property
    def name(self) -> str | None:
        """The name that the rendezvous has given us, None while it has not."""
        wanted, token = self._wanted, self._token
        return wanted[0] if wanted is not None and token is not None else None

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._tell("connecting", f"Connecting to the rendezvous at {self._wire.url}.")
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye, where there is someone to say it to, and end."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(2 * CONNECT_SECONDS)

    def sign_up(self, name: str, port: int) -> None:
        """Claim a name, or renew it, for the peer port of this agent.

        UsageError `name_taken` or `bad_request`: nothing has changed. `rendezvous_down`: it will be
        done by itself once the rendezvous is there, which `on_status` then tells.
        """
        try:
            name = canonical(name)
        except ValueError as error:
            raise UsageError("bad_request", str(error)) from None
        try:
            self._claim(name, port)
        except UsageError as error:
            if error.code == "rendezvous_down":
                self._token, self._wanted = None, (name, port)
            raise
        finally:
            self._wake.set()

    def list_people(
        self, query: str = "", after: str | None = None, limit: int = 100
    ) -> tuple[list[Person], str | None]:
        """Return people whose names begin with `query`, and the `after` of the next page, if
        there is one.
        """
        fields = {"query": query, "after": after or "", "limit": str(limit)}
        try:
            answer = self._wire.get("/users", **fields)
        except Refused as refused:
            raise UsageError("bad_request", refused.message) from None
        people, more = answer.get("people"), answer.get("next")
        if not isinstance(people, list) or not (more is None or isinstance(more, str)):
            raise self._wire.down("gave an answer that makes no sense")
        return _readable(people[:limit]), more

    def get_person(self, name: str) -> Person:
        """Return what the rendezvous says of one person; UsageError `unknown_person` for nobody."""
        try:
            person = read_person(self._wire.get("/user", id=name))
        except Refused as refused:
            code = "unknown_person" if refused.code == "unknown_person" else "bad_request"
            raise UsageError(code, refused.message) from None
        except ValueError as error:
            raise self._wire.down(f"cannot be believed: {error}") from None
        if skeleton(person.name) != skeleton(name):
            raise self._wire.down("answered about someone else")
        return person

    def watch(self, names: list[str]) -> None:
        """Hear of these people from now on, and of no others; `on_presence` tells where each
        stands now.
        """
        self._watched = names[:MAX_WATCHED]
        self._wake.set()

    def _claim(self, name: str, port: int) -> None:
        """Sign up with a signature over everything, and keep the session."""
        with self._claiming:
            try:
                fields = self._signed(name, port)
                answer = self._wire.post("/signup", fields, self._token)
            except Refused as refused:
                code = "name_taken" if refused.code == "name_taken" else "bad_request"
                raise UsageError(code, refused.message) from None
            token = answer.get("token")
            if not _is_token(token) or answer.get("username") != name:
                raise self._wire.down("gave an answer that makes no sense")
            self._token, self._wanted = token, (name, port)

    def _signed(self, name: str, port: int) -> Json:
        fields: Json = {
            "username": name,
            "port": port,
            "key": to_text(self._identity.key),
            "box_key": to_text(self._identity.box_key),
            "box_signature": to_text(self._identity.box_signature(name)),
            "audience": self._audience(),
            "seq": self._next_seq(),
            "time": int(time.time()),
        }
        return fields | {"signature": to_text(self._identity.sign(signup_message(fields)))}

    def _audience(self) -> str:
        """Return the key of the rendezvous, which every sign-up there must name."""
        try:
            key = self._wire.get("/identity").get("key")
            if not isinstance(key, str):
                raise ValueError("no key")
            return to_text(from_text(key, 32))
        except (ValueError, Refused):
            raise self._wire.down("is not a TMGE rendezvous") from None

    def _run(self) -> None:
        """Stay connected. Whatever goes wrong is told and tried again."""
        while not self._stopping:
            try:
                self._attend()
                continue
            except UsageError as error:
                self._cope(error)
            except SessionLost:
                self._token = None
            except Exception:
                log.exception("the directory client failed, and goes on")
                self._tell("down", "The connection to the rendezvous failed; see the agent's log.")
            self._sleep(self._pause * random.uniform(0.8, 1.2))  # not all agents at once
            self._pause = min(_LONGEST_PAUSE, self._pause * 1.5)

    def _attend(self) -> None:
        """Look whether the rendezvous is there; or sign up, where needed, and live on a
        connection.
        """
        if self._wanted is None:
            self._audience()
            self._tell("up", f"The rendezvous at {self._wire.url} is there.")
            self._sleep(HEARTBEAT)
            return
        if self._token is None:
            self._claim(*self._wanted)
        token = self._token
        if token is None:
            return
        live = LiveConnection(self._wire, token, self._heard, self._wake.set)
        try:
            self._live(live, token)
            if self._stopping:
                live.call("goodbye", {})
        finally:
            live.close()

    def _live(self, live: LiveConnection, token: str) -> None:
        """Send heartbeats and the names to watch, until there is another session, or the end."""
        self._pause = _FIRST_PAUSE
        watched: list[str] = []
        next_beat = time.monotonic() + HEARTBEAT
        self._tell_signed_up()
        while not self._stopping and token == self._token:
            if not live.is_open:
                raise self._wire.down("closed the connection")
            try:
                if watched != self._watched:
                    watched = self._watched
                    people = live.call("watch", {"names": watched}).get("people")
                    for person in _readable(people if isinstance(people, list) else []):
                        _call(self._on_presence, person)
                if time.monotonic() >= next_beat:
                    live.call("heartbeat", {})
                    next_beat = time.monotonic() + HEARTBEAT
                    self._tell_signed_up()
            except Refused as refused:
                self._tell("down", refused.message)
                watched = []
                next_beat = time.monotonic() + _ANXIOUS
            self._sleep(next_beat - time.monotonic())

    def _heard(self, value: object) -> None:
        for person in _readable([value]):
            _call(self._on_presence, person)

    def _cope(self, error: UsageError) -> None:
        if error.code not in ("name_taken", "bad_request"):
            self._tell("down", error.message)
            return
        name = self._wanted[0] if self._wanted is not None else ""
        self._token, self._wanted = None, None
        self._tell("up", f"The rendezvous did not sign up {name}. {error.message}")

    def _sleep(self, seconds: float) -> None:
        """Wait, unless there is something to do or something to end."""
        self._wake.wait(seconds)
        self._wake.clear()

    def _tell_signed_up(self) -> None:
        self._tell("up", f"Signed up as {self.name} at {self._wire.url}.")

    def _tell(self, status: str, sentence: str) -> None:
        if self._status != (status, sentence):
            self._status = (status, sentence)
            _call(self._on_status, status, sentence)


def _is_token(value: object) -> TypeGuard[str]:
    """Say whether a value can stand in a header."""
    return isinstance(value, str) and len(value) <= 512 and value.isascii() and value.isprintable()


def _readable(values: list[object]) -> list[Person]:
    """Return the people that can be believed; the others are logged and left out."""
    people = []
    for value in values:
        try:
            people.append(read_person(value))
        except ValueError as error:
            log.warning("the rendezvous said what does not hold: %s", error)
    return people


def _call(callback: Callable[..., None], *values: object) -> None:
    """Call somebody else's code: what goes wrong there does not end the directory."""
    try:
        callback(*values)
    except Exception:
        log.exception("a listener of the directory failed")
