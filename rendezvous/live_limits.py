"""How much a live connection may ask: each has a bucket of its own. Used by `app.py`.

Owns the price of each event; what an event does is `events.py`'s. A connection belongs to one process, and a name to
one connection at a time, so nothing is shared here; how often an address may connect is counted in Redis
(`limits.py`).
"""

import time
from collections.abc import Callable
from typing import Any, Final

from flask_socketio import ConnectionRefusedError

from rendezvous import answers
from rendezvous.limits import Limited, Limits, network_of
from rendezvous.sockets import LeanSocketIO
from rendezvous.sockets import sid as _sid

CAPACITY: Final = 120.0
PER_SECOND: Final = 6.0
PRICES: Final = {"watch": 4.0, "allow": 4.0, "introduce": 10.0, "ticket": 10.0}
"""Of one event; every other costs 1."""
PATIENCE: Final = 200
"""Refusals, without half a bucket saved in between, after which a connection is closed."""


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
        super().__init__(*arguments, **options)

    def on_event(self, message: str, handler: Callable[..., Any], namespace: str | None = None) -> None:
        """Register a handler, behind the limits."""
        if message == "connect":
            super().on_event(message, self._connecting(handler), namespace)
        elif message == "disconnect":
            super().on_event(message, self._disconnecting(handler), namespace)
        else:
            super().on_event(message, self._asking(PRICES.get(message, 1.0), handler), namespace)

    def _connecting(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        def connect(auth: object = None) -> Any:
            try:
                self._limits.hit("connect", network_of(self._observed_host()))
            except Limited as error:
                raise ConnectionRefusedError(error.message, {"code": error.code}) from None
            return handler(auth)

        return connect

    def _disconnecting(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        def disconnect(*reason: object) -> Any:
            self._buckets.pop(_sid(), None)
            return handler(*reason)

        return disconnect

    def _asking(self, price: float, handler: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*arguments: object) -> Any:
            sid = _sid()
            bucket = self._buckets.get(sid)
            if bucket is None:
                bucket = self._buckets[sid] = Bucket()
            wait = bucket.take(price)
            if not wait:
                return handler(*arguments)
            if bucket.refused > PATIENCE:
                self.server.disconnect(sid)
            limited = Limited(wait)
            return {"ok": False, "retry_after": limited.seconds, **answers.error(limited.code, limited.message)}

        return ask
