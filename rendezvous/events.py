"""The live side: agents keep a Socket.IO connection, and hear when someone whom they watch comes,
goes or moves.

Owns who is attached to this process and who watches whom; presence itself is in the store, and
changes come from there, whichever process made them. Used by `app.py`.

Each process listens to the store's channel and tells its own connections. python-socketio's
RedisManager would do that too, but waits up to a minute before it looks for a Redis that was away.

| event | argument | answer |
|---|---|---|
| connect | auth `{token}` | refused: `unauthorized` (sign up again) or `unavailable` (try again) |
| heartbeat | – | `{ok: true}`, or `{ok: false, error}` with those codes; buys 45 s |
| watch | `{names: […]}` | `{ok: true, people: […]}`: from now on these names, and no others |
| goodbye | – | `{ok: true}`; offline at once |
| presence (to the agent) | – | one person, as `GET /user` says it |
"""

import logging
from typing import Final

from flask import request
from flask_socketio import ConnectionRefusedError, SocketIO

from rendezvous import answers
from rendezvous.answers import Refused
from rendezvous.contract.names import MAX_NAME_LENGTH, fold
from rendezvous.contract.presence import MAX_WATCHED
from rendezvous.routes import observed_host
from rendezvous.store import Store, Unavailable

SWEEP: Final = 5
"""Seconds between two looks for people whose presence has ended."""
MAX_TOKEN: Final = 512

_UNAUTHORIZED: Final = "This session is not valid here any more: sign up again."
_UNAVAILABLE: Final = "The rendezvous cannot reach its store right now."

log = logging.getLogger(__name__)
Answer = dict[str, object]


class Watchers:
    """Who watches whom: connections by the fold of a name, and back."""

    def __init__(self) -> None:
        self._by_sid: dict[str, set[str]] = {}
        self._by_fold: dict[str, set[str]] = {}

    def set(self, sid: str, folds: set[str]) -> None:
        """Let a connection watch these and no others; none at all forgets it."""
        for folded in self._by_sid.pop(sid, set()):
            self._by_fold[folded].discard(sid)
            if not self._by_fold[folded]:
                del self._by_fold[folded]
        if folds:
            self._by_sid[sid] = folds
        for folded in folds:
            self._by_fold.setdefault(folded, set()).add(sid)

    def of(self, folded: str) -> list[str]:
        """Return the connections that watch a name."""
        return list(self._by_fold.get(folded, ()))

    def watched(self) -> list[str]:
        """Return the folds of all names that somebody here watches."""
        return list(self._by_fold)


class Live:
    """The connections of this process."""

    def __init__(self, socketio: SocketIO, store: Store) -> None:
        self._socketio = socketio
        self._store = store
        self._names: dict[str, str] = {}
        self._watchers = Watchers()

    def start(self) -> None:
        """Take the events, and begin to listen to the store and to look for those who are gone."""
        self._socketio.on_event("connect", self._connect)
        self._socketio.on_event("disconnect", self._disconnect)
        self._socketio.on_event("heartbeat", self._heartbeat)
        self._socketio.on_event("goodbye", self._goodbye)
        self._socketio.on_event("watch", self._watch)
        self._socketio.start_background_task(self._tell_changes)
        self._socketio.start_background_task(self._sweep)

    def _connect(self, auth: object = None) -> None:
        token = auth.get("token") if isinstance(auth, dict) else None
        if not isinstance(token, str) or len(token) > MAX_TOKEN:
            raise ConnectionRefusedError(_UNAUTHORIZED, {"code": "unauthorized"})
        sid = _sid()
        self._names[sid] = ""  # known, so that a connection that closes meanwhile is noticed
        try:
            name = self._store.attach(token, sid, observed_host())
        except Unavailable:
            self._forget(sid)
            raise ConnectionRefusedError(_UNAVAILABLE, {"code": "unavailable"}) from None
        if name is None:
            self._forget(sid)
            raise ConnectionRefusedError(_UNAUTHORIZED, {"code": "unauthorized"})
        if sid not in self._names:
            self._detach(name, sid)
            return
        self._names[sid] = name

    def _disconnect(self, *_: object) -> None:
        name = self._forget(_sid())
        if name:
            self._detach(name, _sid())

    def _detach(self, name: str, sid: str) -> None:
        try:
            self._store.detach(name, sid)
        except Unavailable as error:
            log.warning("%s goes offline by time alone: %s", name, error)

    def _heartbeat(self, *_: object) -> Answer:
        name = self._names.get(_sid())
        try:
            if name is None or not self._store.beat(name, _sid()):
                return _no("unauthorized", _UNAUTHORIZED)
        except Unavailable:
            return _no("unavailable", _UNAVAILABLE)
        return {"ok": True}

    def _goodbye(self, *_: object) -> Answer:
        self._disconnect()
        return {"ok": True}

    def _watch(self, argument: object = None, *_: object) -> Answer:
        try:
            names = _names(argument)
            folds = {fold(name) for name in names}
            self._watchers.set(_sid(), folds)
            people = self._store.find_many(sorted(folds))
        except Refused as error:
            return _no(error.code, error.message)
        except Unavailable:
            return _no("unavailable", _UNAVAILABLE)
        return {"ok": True, "people": [answers.card(person) for person in people if person]}

    def _forget(self, sid: str) -> str | None:
        self._watchers.set(sid, set())
        return self._names.pop(sid, None)

    def _tell_changes(self) -> None:
        for folded in self._store.changes():
            try:
                if folded is None:
                    self._catch_up()
                else:
                    self._tell([folded])
            except Unavailable as error:
                log.warning("a change of presence was not told: %s", error)

    def _catch_up(self) -> None:
        """Renew everyone here and tell every watcher anew: the store was away, and time went on."""
        for sid, name in list(self._names.items()):
            self._store.beat(name, sid)
        self._tell(self._watchers.watched())

    def _tell(self, folds: list[str]) -> None:
        """Tell the watchers of these people where they stand now."""
        watched = [folded for folded in folds if self._watchers.of(folded)]
        for folded, person in zip(watched, self._store.find_many(watched), strict=True):
            if person is None:
                continue
            for sid in self._watchers.of(folded):
                self._socketio.emit("presence", answers.card(person), to=sid)

    def _sweep(self) -> None:
        while True:
            self._socketio.sleep(SWEEP)
            try:
                self._store.sweep()
            except Unavailable as error:
                log.debug("no sweep: %s", error)


def _sid() -> str:
    """Return the id of the connection that this event came from."""
    sid = request.sid  # type: ignore[attr-defined]  # Flask-SocketIO adds it
    assert isinstance(sid, str)
    return sid


def _names(argument: object) -> list[str]:
    names = argument.get("names") if isinstance(argument, dict) else None
    if not isinstance(names, list) or len(names) > MAX_WATCHED:
        raise Refused(400, "bad_request", f"names must be a list of at most {MAX_WATCHED} names.")
    if not all(isinstance(name, str) and len(name) <= 4 * MAX_NAME_LENGTH for name in names):
        raise Refused(400, "bad_request", "names must hold names.")
    return names


def _no(code: str, message: str) -> Answer:
    return {"ok": False, **answers.error(code, message)}
