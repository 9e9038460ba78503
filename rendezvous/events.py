"""The live side: agents keep a Socket.IO connection, hear when someone whom they watch comes, goes or moves, and reach
each other through it.

Owns who is attached to this process; presence itself is in the store, and changes come from there, whichever process
made them. Used by `app.py`.

Each process listens to the store's channel and tells its own connections. python-socketio's RedisManager would do that
too, but waits up to a minute before it looks for a Redis that was away.

| event | argument | answer |
|---|---|---|
| connect | auth `{token}` | refused: `unauthorized` (sign up again) or `unavailable` (try again) |
| heartbeat | `{reach?}` (`contract/presence.py`) | `{ok: true}`, or `{ok: false, error}` with those codes; buys 45 s |
| watch | `{names: […]}` | `{ok: true, people: […]}`: from now on these names, and no others |
| allow | `{lookers: […]}` | `{ok: true}`: who may find a person that is not listed (`contract/presence.py`) |
| introduce | as `contract/introduction.py` has it | `{ok: true}`: handed on, not answered |
| ticket | `{peer, look?}` | `{ok: true, ticket, secret}` for the peer's home relay; the peer is told its own |
| goodbye | – | `{ok: true}`; offline at once |
| presence (to the agent) | – | one person, as `GET /user` says it; `key` null: nobody any more, for this watcher |
| introduction (to the agent) | – | what `introduce` was given |
| ticket (to the agent) | – | `{peer, ticket, secret}`: the name of who asked, and what is for this side |

Whom an agent may not see is answered as nobody: `unknown_person`. `not_online`: seen, but not here. `no_relay`: there
is none, neither where the peer is nor here. Tickets are as `contract/ticket.py` has them.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flask_socketio import ConnectionRefusedError, SocketIO

from rendezvous import answers
from rendezvous.answers import Refused
from rendezvous.authority import Authority
from rendezvous.batches import MOST, Batches
from rendezvous.contract.encoding import from_text, to_text
from rendezvous.contract.introduction import read_introduction
from rendezvous.contract.names import MAX_NAME_LENGTH, skeleton
from rendezvous.contract.presence import LOOK_SIZE, LOOKER_SIZE, MAX_WATCHED, Reach, looker, read_reach
from rendezvous.people import Delivery, Person
from rendezvous.routes import observed_host
from rendezvous.sockets import sid as _sid
from rendezvous.store import Store, Unavailable
from rendezvous.watchers import Watchers

SWEEP: Final = 5
"""Seconds between two looks for people whose presence has ended."""
MAX_TOKEN: Final = 512

_UNAUTHORIZED: Final = "This session is not valid here any more: sign up again."
_UNAVAILABLE: Final = "The rendezvous cannot reach its store right now."

log = logging.getLogger(__name__)
Answer = dict[str, object]


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a connection speaks for."""

    name: str = ""
    key: bytes = b""
    host: str = ""
    """The address that it comes from."""

    @property
    def looker(self) -> bytes:
        """Return by what the store knows who looks."""
        return looker(self.key)


class Live:
    """The connections of this process."""

    def __init__(self, socketio: SocketIO, store: Store, authority: Authority) -> None:
        self._socketio = socketio
        self._store = store
        self._authority = authority
        self._peers: dict[str, Peer] = {}
        self._watchers = Watchers()
        self._leaving = Batches[tuple[str, str]](self._see_off)
        self._changed = Batches[str](self._tell)

    def start(self) -> None:
        """Take the events, and begin to listen to the store and to look for those who are gone."""
        self._socketio.on_event("connect", self._connect)
        self._socketio.on_event("disconnect", self._disconnect)
        self._socketio.on_event("heartbeat", self._heartbeat)
        self._socketio.on_event("goodbye", self._goodbye)
        self._socketio.on_event("watch", self._watch)
        self._socketio.on_event("allow", self._allow)
        self._socketio.on_event("introduce", self._introduce)
        self._socketio.on_event("ticket", self._ticket)
        self._socketio.start_background_task(self._tell_changes)
        self._socketio.start_background_task(self._leaving.run)
        self._socketio.start_background_task(self._changed.run)
        self._socketio.start_background_task(self._sweep)

    def _connect(self, auth: object = None) -> None:
        token = auth.get("token") if isinstance(auth, dict) else None
        if not isinstance(token, str) or len(token) > MAX_TOKEN:
            raise ConnectionRefusedError(_UNAUTHORIZED, {"code": "unauthorized"})
        sid, host = _sid(), observed_host()
        self._peers[sid] = Peer()  # known, so that a connection that closes meanwhile is noticed
        try:
            found = self._store.attach(token, sid, host, self._authority.relay)
        except Unavailable:
            self._forget(sid)
            raise ConnectionRefusedError(_UNAVAILABLE, {"code": "unavailable"}) from None
        if found is None:
            self._forget(sid)
            raise ConnectionRefusedError(_UNAUTHORIZED, {"code": "unauthorized"})
        peer = Peer(*found, host)
        if sid not in self._peers:
            self._leaving.add((peer.name, sid))
            return
        self._peers[sid] = peer

    def _disconnect(self, *_: object) -> None:
        peer = self._forget(_sid())
        if peer is not None and peer.name:
            self._leaving.add((peer.name, _sid()))

    def _see_off(self, leaving: list[tuple[str, str]]) -> None:
        """End the presence of people (names, and the connections that they had)."""
        try:
            self._store.detach_many(leaving)
        except Unavailable as error:
            log.warning("%d people go offline by time alone: %s", len(leaving), error)

    def _heartbeat(self, argument: object = None, *_: object) -> Answer:
        peer = self._peers.get(_sid())
        try:
            if peer is None or not self._store.beat(peer.name, _sid(), _reach(argument)):
                return _no("unauthorized", _UNAUTHORIZED)
        except Refused as error:
            return _no(error.code, error.message)
        except Unavailable:
            return _no("unavailable", _UNAVAILABLE)
        return {"ok": True}

    def _goodbye(self, *_: object) -> Answer:
        peer = self._forget(_sid())
        if peer is not None and peer.name:
            self._see_off([(peer.name, _sid())])
        return {"ok": True}

    def _watch(self, argument: object = None, *_: object) -> Answer:
        return self._answer(self._watched, argument)

    def _allow(self, argument: object = None, *_: object) -> Answer:
        return self._answer(self._allowed, argument)

    def _introduce(self, argument: object = None, *_: object) -> Answer:
        return self._answer(self._introduced, argument)

    def _ticket(self, argument: object = None, *_: object) -> Answer:
        return self._answer(self._ticketed, argument)

    def _answer(self, carry_out: Callable[[Peer, object], Answer], argument: object) -> Answer:
        """Carry out a call of somebody who is attached, and say how it went."""
        peer = self._peers.get(_sid())
        if peer is None or not peer.name:
            return _no("unauthorized", _UNAUTHORIZED)
        try:
            return {"ok": True} | carry_out(peer, argument)
        except Refused as error:
            return _no(error.code, error.message)
        except Unavailable:
            return _no("unavailable", _UNAVAILABLE)

    def _watched(self, peer: Peer, argument: object) -> Answer:
        watched = {skeleton(name): name for name in _names(argument)}
        self._watchers.set(_sid(), watched)
        server, people = self._authority.key, []
        for name, person in zip(watched, self._store.find_many(list(watched), peer.looker), strict=True):
            if person is not None:
                self._watchers.sees(_sid(), name)
                people.append(answers.card(person, server, peer.host))
        return {"people": people}

    def _allowed(self, peer: Peer, argument: object) -> Answer:
        if not self._store.allow(peer.name, _sid(), _lookers(argument)):
            raise Refused(401, "unauthorized", _UNAUTHORIZED)
        return {}

    def _introduced(self, peer: Peer, argument: object) -> Answer:
        try:
            said = read_introduction(argument, self._authority.key, time.time())
        except ValueError as error:
            raise Refused(400, "bad_request", str(error)) from None
        if (said.sender, said.key) != (peer.name, peer.key):
            raise Refused(401, "unauthorized", "An introduction comes from whoever signed up on this connection.")
        self._hand(self._reach(said.to, peer), "introduction", argument)
        return {}

    def _ticketed(self, peer: Peer, argument: object) -> Answer:
        name = argument.get("peer") if isinstance(argument, dict) else None
        other = self._reach(_names({"names": [name]})[0], peer, _look(argument))
        if other.key == peer.key:
            raise Refused(400, "bad_request", "A ticket is for two.")
        relay = other.relay or self._authority.relay
        if not relay:
            raise Refused(503, "no_relay", "There is no relay at this rendezvous.")
        ours, theirs = (
            {"ticket": to_text(ticket.encode()), "secret": to_text(secret)}
            for ticket, secret in self._authority.tickets(peer.key, other.key, relay)
        )
        self._hand(other, "ticket", {"peer": peer.name, **theirs})
        return {**ours}

    def _reach(self, name: str, peer: Peer, look: bytes | None = None) -> Person:
        """Return somebody whom this peer sees, or the holder of an invite's secret, and who is here."""
        (person,) = self._store.find_many([name], peer.looker)
        if person is None and look is not None:
            (person,) = self._store.find_many([name], looker(look))
        if person is None:
            raise Refused(404, "unknown_person", "Nobody has that name here.")
        if not person.online or not person.attachment:
            raise Refused(404, "not_online", f"{person.name} is not online.")
        return person

    def _hand(self, person: Person, event: str, value: object) -> None:
        """Give something to a person's connection, here or in another process; nothing is kept."""
        self._store.deliver(Delivery(person.attachment, event, value))

    def _forget(self, sid: str) -> Peer | None:
        self._watchers.set(sid, {})
        return self._peers.pop(sid, None)

    def _tell_changes(self) -> None:
        for change in self._store.changes():
            try:
                if change is None:
                    self._catch_up()
                elif isinstance(change, Delivery):
                    if change.attachment in self._peers:
                        self._socketio.emit(change.event, change.value, to=change.attachment)
                else:
                    self._changed.add(change)
            except Unavailable as error:
                log.warning("not everyone here was renewed: %s", error)

    def _catch_up(self) -> None:
        """Renew everyone here and tell every watcher anew: the store was away, and time went on."""
        for name in self._watchers.watched():
            self._changed.add(name)
        here = [(peer.name, sid) for sid, peer in self._peers.items() if peer.name]
        for first in range(0, len(here), MOST):
            self._store.beat_many(here[first : first + MOST])

    def _tell(self, names: list[str]) -> None:
        """Tell the watchers of these people where they stand now, each as far as they may see it."""
        watched = [name for name in names if self._watchers.of(name)]
        try:
            found = self._store.find_with_allowed(watched)
        except Unavailable as error:
            log.warning("%d changes of presence were not told: %s", len(watched), error)
            return
        for name, (person, allowed) in zip(watched, found, strict=True):
            self._tell_of(name, person, allowed)

    def _tell_of(self, name: str, person: Person | None, allowed: frozenset[bytes]) -> None:
        card = answers.card(person, self._authority.key) if person is not None else {}
        for sid in self._watchers.of(name):
            peer = self._peers.get(sid, Peer())
            if person is not None and person.is_seen_by(peer.looker, peer.looker in allowed):
                self._watchers.sees(sid, name)
                near = {"same_network": answers.same_network(person, peer.host)}
                self._socketio.emit("presence", card | near, to=sid)
            elif (written := self._watchers.loses(sid, name)) is not None:
                self._socketio.emit("presence", answers.gone(written), to=sid)

    def _sweep(self) -> None:
        reached = b""
        while True:
            self._socketio.sleep(SWEEP)
            try:
                self._store.sweep()
                reached = self._store.sweep_names(reached)
            except Unavailable as error:
                log.debug("no sweep: %s", error)


def _names(argument: object) -> list[str]:
    names = argument.get("names") if isinstance(argument, dict) else None
    if not isinstance(names, list) or len(names) > MAX_WATCHED:
        raise Refused(400, "bad_request", f"names must be a list of at most {MAX_WATCHED} names.")
    if not all(isinstance(name, str) and len(name) <= 4 * MAX_NAME_LENGTH for name in names):
        raise Refused(400, "bad_request", "names must hold names.")
    return names


def _reach(argument: object) -> Reach | None:
    """Return what a heartbeat says of the network, None where it says nothing."""
    said = argument.get("reach") if isinstance(argument, dict) else None
    try:
        return read_reach(said) if said is not None else None
    except ValueError as error:
        raise Refused(400, "bad_request", str(error)) from None


def _look(argument: object) -> bytes | None:
    look = argument.get("look") if isinstance(argument, dict) else None
    try:
        return from_text(look, LOOK_SIZE) if isinstance(look, str) else None
    except ValueError:
        return None


def _lookers(argument: object) -> list[bytes]:
    lookers = argument.get("lookers") if isinstance(argument, dict) else None
    try:
        if not isinstance(lookers, list) or len(lookers) > MAX_WATCHED:
            raise ValueError("not a list, or too long a one")
        return [from_text(str(one), LOOKER_SIZE) for one in lookers]
    except ValueError:
        raise Refused(400, "bad_request", f"lookers must be at most {MAX_WATCHED} digests.") from None


def _no(code: str, message: str) -> Answer:
    return {"ok": False, **answers.error(code, message)}
