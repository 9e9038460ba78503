"""The client of the rendezvous: signs up, looks people up, keeps a live connection, and comes back
by itself.

Owns the session and the connection; knows no peer or page, and leaves what can be believed to `directory_belief.py`.
Made by the composition root. Blocks only whoever calls; its own loop runs on one thread (a green one, where the entry
point patched). It never gives up: while the rendezvous is away, or has another key than it had, it says so, once, and
is back within seconds of its return.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final, TypeGuard

from agent.directory_belief import Belief, tell
from agent.directory_live import LiveConnection, SessionLost
from agent.directory_servers import RelayTicket, Servers
from agent.directory_signing import Identity, signed_farewell, signed_signup
from agent.directory_wire import CONNECT_SECONDS, Json, Refused, Wire
from agent.ledger import Evidence, Ledger
from agent.person import Person
from agent.protocol.errors import UsageError
from rendezvous.contract.encoding import to_text
from rendezvous.contract.names import canonical, skeleton
from rendezvous.contract.presence import HEARTBEAT, MAX_WATCHED
from rendezvous.contract.statement import Statement

_ANXIOUS: Final = 2.0
"""Seconds between heartbeats while the rendezvous cannot reach its store."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 3.0
_SOON: Final = 2.0
"""Seconds that whoever asks for a ticket waits for a live connection that is being made."""
_TICKET_CODES: Final = {"unknown_person": "unknown_person", "limit": "limit", "unavailable": "rendezvous_down"}
_MOVE_SPREAD: Final = 0.3
"""Seconds over which agents come back that were sent elsewhere together."""

log = logging.getLogger(__name__)


class Directory:
    """One rendezvous, seen by one agent. `start` first, `stop` at the end; calls work in between
    and before.

    `on_status` hears `connecting`, `up` or `down` with a sentence whenever one of them changes; `on_presence` hears of
    people who are watched, `on_evidence` of what the rendezvous cannot have signed honestly, `on_ticket` of tickets
    that others have asked for. All are called from the directory's threads, and must not wait for it.
    """

    def __init__(
        self,
        url: str,
        identity: Identity,
        ledger: Ledger,
        *,
        next_seq: Callable[[], int],
        on_presence: Callable[[Person], None],
        on_status: Callable[[str, str], None],
        on_evidence: Callable[[Evidence], None],
        on_ticket: Callable[[RelayTicket], None] = lambda ticket: None,
        visibility: str = "listed",
        direct: bool = False,
    ) -> None:
        self._wire = Wire(url)
        self._identity = identity
        self._ledger = ledger
        self._belief = Belief(self._wire, ledger, on_evidence)
        self._next_seq = next_seq
        self._on_presence = on_presence
        self._on_status = on_status
        self._on_evidence = on_evidence
        self._on_ticket = on_ticket
        self._visibility = visibility
        self._direct = direct
        self._reach: Json = {}
        self.code = ""  # what the rendezvous wants of newcomers
        self._status: tuple[str, str] | None = None
        self._wanted: tuple[str, int] | None = None
        self._token: str | None = None
        self._watched: list[str] = []
        self._allowed: list[bytes] = []
        self._allowing = threading.Event()
        self._former: LiveConnection | None = None
        self._current: LiveConnection | None = None
        self._connected = threading.Event()
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

    @property
    def url(self) -> str:
        """Where the rendezvous is."""
        return self._wire.url

    @property
    def code_required(self) -> bool:
        """Say whether the rendezvous takes newcomers with a code only."""
        return self._belief.code_required

    @property
    def servers(self) -> Servers:
        """Return the STUN servers and relays of the rendezvous, as it said last."""
        return self._belief.servers

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
        self._leave_former()

    def sign_up(self, name: str, port: int) -> None:
        """Claim a name, or renew it, for the peer port of this agent.

        UsageError `name_taken` or `bad_request`: nothing has changed. `rendezvous_down`: it will be
        done by itself once the rendezvous is there, which `on_status` then tells; so too with `key_changed`.
        """
        try:
            name = canonical(name)
        except ValueError as error:
            raise UsageError("bad_request", str(error)) from None
        try:
            self._claim(name, port)
        except UsageError as error:
            if error.code in ("rendezvous_down", "key_changed"):
                self._token, self._wanted = None, (name, port)
            raise
        finally:
            self._wake.set()

    def forget(self) -> Statement | None:
        """Give the name back and be forgotten; return what the rendezvous states about it, None where it had nothing to
        forget. UsageError `rendezvous_down`: nothing has changed.
        """
        with self._claiming:
            if self._wanted is None:
                return None
            name, _ = self._wanted
            try:
                wish = signed_farewell(self._identity, name, self._next_seq(), self._belief.audience())
                statement = self._belief.statement(self._wire.post("/forget", wish).get("statement"))
            except Refused as refused:
                if refused.code != "unknown_person":
                    raise UsageError("bad_request", refused.message) from None
                statement = None
            self._token = self._wanted = None
        self._wake.set()
        return statement

    def set_visibility(self, visibility: str) -> None:
        """Choose who may find us, from the next sign-up on; where we are signed up, that is now."""
        self._visibility = visibility
        if self.name is not None and self._wanted is not None:
            self.sign_up(*self._wanted)

    def look_again(self) -> None:
        """Try again at once: the person has decided to believe the rendezvous."""
        self._pause = _FIRST_PAUSE
        self._wake.set()

    def move(self, url: str) -> None:
        """Turn to another rendezvous, where nobody is signed up yet; UsageError `bad_request` for what is none."""
        wire = Wire(url)
        with self._claiming:
            self._wire, self._token, self._wanted = wire, None, None
            self._belief = Belief(wire, self._ledger, self._on_evidence)
        self._tell("connecting", f"Connecting to the rendezvous at {wire.url}.")
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
        return self._belief.listed(people[:limit]), more

    def get_person(self, name: str, look: bytes = b"") -> Person:
        """Return what the rendezvous says of one person; UsageError `unknown_person` for nobody, and for somebody who
        may not be seen; `look` is the secret of an invitation.
        """
        try:
            person = self._belief.person(self._wire.get("/user", self._token, id=name, **_secret(look)))
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

    def allow(self, lookers: list[bytes], seconds: float = 0.0) -> None:
        """Let these find us from now on where not everybody may, and no others; wait for the rendezvous, if wished."""
        self._allowing.clear()
        self._allowed = lookers[:MAX_WATCHED]
        self._wake.set()
        if seconds and self.name is not None and self._visibility != "listed":
            self._allowing.wait(seconds)

    def publish_reach(self, reach: Json) -> None:
        """Let others know what stands in front of this agent: `{mapping, filtering, udp, ipv6}`."""
        self._reach = reach
        self._wake.set()

    def ticket(self, name: str, look: bytes = b"") -> RelayTicket:
        """Ask for a ticket to somebody who is online, as `get_person` would find them; they get theirs. UsageError
        `unreachable`, `unknown_person`, `rendezvous_down`.
        """
        self._connected.wait(_SOON)
        live = self._current
        if live is None:
            raise self._wire.down()
        try:
            return self._belief.ticket(live.call("ticket", {"peer": name, **_secret(look)}), name, self._identity.key)
        except SessionLost:
            raise self._wire.down("does not know this agent any more, which signs up again") from None
        except Refused as refused:
            raise UsageError(_TICKET_CODES.get(refused.code, "unreachable"), refused.message) from None
        except ValueError as error:
            raise self._wire.down(f"gave a ticket that cannot be used: {error}") from None

    def _claim(self, name: str, port: int) -> None:
        """Sign up with a signature over everything, and keep the session."""
        with self._claiming:
            try:
                audience = self._belief.audience()
                seq = self._next_seq()
                fields = signed_signup(
                    self._identity, name, port, self._visibility, self.code, self._direct, seq, audience
                )
                answer = self._wire.post("/signup", fields)
                statement = self._belief.statement(answer.get("statement"))
            except Refused as refused:
                code = "name_taken" if refused.code == "name_taken" else "bad_request"
                raise UsageError(code, refused.message) from None
            token = answer.get("token")
            if not _is_token(token) or (statement.name, statement.key) != (name, self._identity.key):
                raise self._wire.down("gave an answer that makes no sense")
            self._token, self._wanted = token, (name, port)

    # --- the loop ---

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
            self._belief.audience()
            self._tell("up", f"The rendezvous at {self._wire.url} is there.")
            self._sleep(HEARTBEAT)
            return
        if self._token is None:
            self._claim(*self._wanted)
        token = self._token
        if token is None:
            return
        wire = self._wire
        live = LiveConnection(wire, token, {"presence": self._heard, "ticket": self._handed}, self._wake.set)
        self._leave_former()
        try:
            self._current = live
            self._connected.set()
            self._live(live, token)
            if self._stopping:
                live.call("goodbye", {})
            elif self._token is not None and self._wire is wire:
                self._former = live  # closed when the next one stands, so that nobody sees us go
        finally:
            self._current = None
            self._connected.clear()
            if self._former is not live:
                live.close()

    def _leave_former(self) -> None:
        former, self._former = self._former, None
        if former is not None:
            former.close()

    def _live(self, live: LiveConnection, token: str) -> None:
        """Send heartbeats and the names to watch, until there is another session, or the end."""
        self._pause = _FIRST_PAUSE
        watched: list[str] = []
        allowed: list[bytes] | None = None if self._visibility != "listed" else []
        reach: Json = {}
        next_beat = time.monotonic() + HEARTBEAT
        self._tell_signed_up()
        while not self._stopping and token == self._token:
            if live.is_moving:
                self._sleep(random.uniform(0, _MOVE_SPREAD))
                return
            if not live.is_open:
                raise self._wire.down("closed the connection")
            try:
                if allowed != self._allowed and self._visibility != "listed":
                    allowed = self._allowed
                    live.call("allow", {"lookers": [to_text(looker) for looker in allowed]})
                self._allowing.set()
                if watched != self._watched:
                    watched = self._watched
                    for person in self._belief.people(live.call("watch", {"names": watched}).get("people")):
                        tell(self._on_presence, person)
                if time.monotonic() >= next_beat or reach != self._reach:
                    told, reach = reach, self._reach
                    live.call("heartbeat", {"reach": reach} if reach != told else {})
                    next_beat = time.monotonic() + HEARTBEAT
                    self._tell_signed_up()
            except Refused as refused:
                self._tell("down", refused.message)
                watched, allowed, reach = [], None, self._reach
                next_beat = time.monotonic() + _ANXIOUS
            self._sleep(next_beat - time.monotonic())

    def _heard(self, value: object) -> None:
        for person in self._belief.people([value]):
            tell(self._on_presence, person)

    def _handed(self, value: object) -> None:
        try:
            tell(self._on_ticket, self._belief.ticket(value, None, self._identity.key))
        except (ValueError, UsageError) as error:
            log.warning("the rendezvous handed over a ticket that cannot be used: %s", error)

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
            tell(self._on_status, status, sentence)


def _secret(look: bytes) -> dict[str, str]:
    return {"look": to_text(look)} if look else {}


def _is_token(value: object) -> TypeGuard[str]:
    """Say whether a value can stand in a header."""
    return isinstance(value, str) and len(value) <= 512 and value.isascii() and value.isprintable()
