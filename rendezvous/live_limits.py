"""How much a live connection may ask (each has a bucket of its own), and how all of them are sent elsewhere. Used by
`app.py`.

Owns the price of each event; what an event does is `events.py`'s. A connection belongs to one process, and a name to
one connection at a time, so nothing is shared here; how often an address may connect is counted in Redis
(`limits.py`).
"""

import time
from collections.abc import Callable
from typing import Any, Final

from flask_socketio import ConnectionRefusedError

from rendezvous import answers
from rendezvous.limits import Limited, Limits
from rendezvous.metrics import EVENTS, LIVE, REFUSED
from rendezvous.proxies import network_of
from rendezvous.sockets import LeanSocketIO
from rendezvous.sockets import sid as _sid

CAPACITY: Final = 120.0
PER_SECOND: Final = 6.0
PRICES: Final = {"watch": 4.0, "allow": 4.0, "introduce": 10.0, "ticket": 10.0}
"""Of one event; every other costs 1."""
NEWS: Final = 4.0
"""Of a heartbeat that says something: those who watch may have to be told."""
PATIENCE: Final = 200
"""Refusals, without half a bucket saved in between, after which a connection is closed."""

BATCHES: Final = 20
"""In which connections are sent away when a process stops, so that they do not come elsewhere all at once."""
SMALLEST_BATCH: Final = 50
BATCH_SECONDS: Final = 0.1


class Bucket:
    """Tokens that come back by time."""

    __slots__ = ("_at", "_left", "refused")

    def __init__(self) -> None:
        self._left, self._at = CAPACITY, time.monotonic()
        self.refused = 0

    def take(self, price: float) -> float:
        """Pay, and return 0; or return the seconds until there is enough."""
        now = time.monotonic()
        self._left = min(CAPACITY, self._left + (now - self._at) * PER_SECOND)
        self._at = now
        if self._left < price:
            self.refused += 1
            return (price - self._left) / PER_SECOND
        self._left -= price
        if self._left > CAPACITY / 2:
            self.refused = 0
        return 0.0


class LimitedSocketIO(LeanSocketIO):
    """Socket.IO whose handlers are called only for those who do not ask too much."""

    def __init__(self, limits: Limits, observed_host: Callable[[], str], *arguments: Any, **options: Any) -> None:
        self._limits = limits
        self._observed_host = observed_host
        self._buckets: dict[str, Bucket] = {}
        self._moving = False
        super().__init__(*arguments, **options)

    def on_event(self, message: str, handler: Callable[..., Any], namespace: str | None = None) -> None:
        """Register a handler, behind the limits."""
        if message == "connect":
            super().on_event(message, self._connecting(handler), namespace)
        elif message == "disconnect":
            super().on_event(message, self._disconnecting(handler), namespace)
        else:
            super().on_event(message, self._asking(message, handler), namespace)

    def move_all(self) -> None:
        """Tell everyone here to connect anew, which leads to another process, batch by batch; then close. Their names
        stay online meanwhile: whoever does not come back elsewhere is offline when the time of the last heartbeat ends.
        """
        self._moving = True
        sids = [sid for sid, _ in self.server.manager.get_participants("/", None)]
        size = max(SMALLEST_BATCH, -(-len(sids) // BATCHES))
        for start in range(0, len(sids), size):
            for sid in sids[start : start + size]:
                self.emit("move", {}, to=sid)
            self.sleep(BATCH_SECONDS)
        self.sleep(BATCH_SECONDS)
        for sid in sids:
            if self.server.manager.is_connected(sid, "/"):
                self.cut(sid)

    def _connecting(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        def connect(auth: object = None) -> None:
            try:
                self._limits.hit("connect", network_of(self._observed_host()))
            except Limited as error:
                REFUSED.labels("limit").inc()
                raise ConnectionRefusedError(error.message, {"code": error.code}) from None
            self._buckets[_sid()] = Bucket()
            LIVE.inc()
            try:
                handler(auth)
            except ConnectionRefusedError:
                self._forget(_sid())
                raise

        return connect

    def _disconnecting(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        def disconnect(*reason: object) -> None:
            self._forget(_sid())
            if not self._moving:
                handler(*reason)

        return disconnect

    def _forget(self, sid: str) -> None:
        if self._buckets.pop(sid, None) is not None:
            LIVE.dec()

    def _asking(self, event: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        price = PRICES.get(event, 1.0)
        done, refused = EVENTS.labels(event, "ok"), EVENTS.labels(event, "refused")

        def ask(*arguments: object) -> Any:
            bucket = self._buckets.get(_sid())
            if bucket is None:
                return None  # not let in yet, or gone
            wait = bucket.take(NEWS if event == "heartbeat" and arguments and arguments[0] else price)
            if not wait:
                answer = handler(*arguments)
                done.inc() if isinstance(answer, dict) and answer.get("ok") else refused.inc()
                return answer
            REFUSED.labels("limit").inc()
            if bucket.refused > PATIENCE:
                self.cut(_sid())
            limited = Limited(wait)
            return {"ok": False, "retry_after": limited.seconds, **answers.error(limited.code, limited.message)}

        return ask
