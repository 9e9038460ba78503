"""How often somebody may ask: rates by address and by identity, which hold across all processes that share a Redis.

Owns the rules and the counting; connections and slow clients are `serving.py`'s, live events `live_limits.py`'s. Used
by `app.py` and `flags.py`. Counts are of fixed windows that begin with the first call; of IPv6, a /64 counts as one
address.

- What costs the store a write or a search, and connecting, is counted in Redis at once, by the package `limits`: one
  round trip more.
- A lookup has one round trip in all. So it is counted here, and what all processes have counted is added up in Redis
  once a second: a flood that comes over N processes may get N times its rate, for a second.

Whoever is over a limit is refused from memory until the window ends: a flood costs Redis nothing. While Redis does not
answer, what is counted there is not limited (such calls fail anyway).
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Final

import limits as limiting
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from limits.errors import StorageError
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from rendezvous import answers
from rendezvous.answers import Refused
from rendezvous.metrics import REFUSED
from rendezvous.proxies import network_of
from rendezvous.redis_client import Client, Unavailable

SHARE_SECONDS: Final = 1.0
"""Between two sums of what all processes have counted."""
_OFF: Final = "off"
_KEY: Final = "tmge:limit:"
_MOST_BLOCKED: Final = 100_000

# KEYS: counter. ARGV: amount, seconds. Answers the count, and the seconds until it ends.
_COUNT: Final = """
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
local left = redis.call('TTL', KEYS[1])
if left < 0 then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  left = tonumber(ARGV[2])
end
return {count, left}
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """Rates, as the package `limits` reads them, or `off`. By address, except `identity`.

    The defaults let a school of 500 behind one address sign up within a minute.
    """

    signup: str = "1200/minute"
    """Sign-ups, and all else that changes something."""
    identity: str = "30/minute"
    """Sign-ups by one key, from wherever."""
    search: str = "3000/minute"
    """Pages of the list."""
    lookup: str = "12000/minute"
    """Everything else that is asked over HTTP."""
    connect: str = "3000/minute"
    """Live connections."""
    guess: str = "30/minute"
    """Wrong invitation codes."""


def read_rules(text: str) -> Rules:
    """Read `NAME=RATE,NAME=RATE`, `all` being every name; ValueError with a sentence for a person."""
    rules = Rules()
    names = [field.name for field in fields(Rules)]
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, rate = (piece.strip() for piece in part.partition("="))
        if name not in (*names, "all"):
            raise ValueError(f"{name!r} is no limit: there are {', '.join(names)}, and all")
        if rate != _OFF:
            _read_rate(rate)
        rules = replace(rules, **{one: rate for one in (names if name == "all" else [name])})
    return rules


def _read_rate(rate: str) -> None:
    try:
        limiting.parse(rate)
    except ValueError:
        raise ValueError(f"{rate!r} is no rate: write one as 20/minute, or off") from None


class Limited(Refused):
    """A call that came too soon; `seconds` until it may come again."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        super().__init__(429, "limit", f"That is too often: try again in {self.seconds} s.")


class Limits:
    """The counts of one process, and their sums in Redis."""

    def __init__(self, rules: Rules, client: Client) -> None:
        rates = {field.name: getattr(rules, field.name) for field in fields(Rules)}
        self._items = {name: limiting.parse(rate) for name, rate in rates.items() if rate != _OFF}
        self._counters = _Counters(client)
        self._strategy = FixedWindowRateLimiter(self._counters)
        self._blocked: dict[str, float] = {}
        self._tallies: dict[tuple[str, str], _Tally] = {}

    def hit(self, rule: str, who: str) -> None:
        """Count a call in Redis; Limited where it is one too many. One round trip, or none for who was over before."""
        item = self._items.get(rule)
        if item is None:
            return
        key = item.key_for(rule, who)
        self._refuse_blocked(key)
        try:
            if not self._strategy.hit(item, rule, who):
                self._block(key, self._strategy.get_window_stats(item, rule, who).reset_time)
        except StorageError as error:
            log.warning("a call was not counted: %s", error)

    def count(self, rule: str, who: str) -> None:
        """Count a call here, to be added up later; Limited where it is one too many. No round trip."""
        item = self._items.get(rule)
        if item is None:
            return
        now = time.time()
        tally = self._tallies.get((rule, who))
        if tally is None or tally.until <= now:
            window = item.get_expiry()
            tally = self._tallies[rule, who] = _Tally(item.key_for(rule, who), window, now + window)
        tally.new += 1
        if tally.shared + tally.new > item.amount:
            raise Limited(tally.until - now)

    def share(self) -> None:
        """Add up what all processes have counted; to be called every SHARE_SECONDS. Raises Unavailable."""
        now = time.time()
        self._tallies = {who: tally for who, tally in self._tallies.items() if tally.until > now}
        self._blocked = {key: until for key, until in self._blocked.items() if until > now}
        shared = [(tally, tally.new) for tally in self._tallies.values() if tally.new]
        sums = self._counters.add([(tally.key, new, tally.window) for tally, new in shared])
        for (tally, new), (total, left) in zip(shared, sums, strict=True):
            tally.shared, tally.new, tally.until = total, tally.new - new, time.time() + left

    def share_for_ever(self, sleep: Callable[[float], object]) -> None:
        """Go on adding up, whatever happens."""
        while True:
            sleep(SHARE_SECONDS)
            try:
                self.share()
            except Unavailable as error:
                log.debug("counts are not added up: %s", error)

    def _refuse_blocked(self, key: str) -> None:
        until = self._blocked.get(key, 0.0)
        if until > time.time():
            raise Limited(until - time.time())

    def _block(self, key: str, until: float) -> None:
        if len(self._blocked) < _MOST_BLOCKED:
            self._blocked[key] = until
        raise Limited(until - time.time())


@dataclass(slots=True)
class _Tally:
    """What one process knows of one count: the sum of all when it was last asked, and what is new since."""

    key: str
    window: int
    until: float
    shared: int = 0
    new: int = 0


class _Counters(Storage):
    """Counts in Redis, for the package `limits`: over our own client, which knows one server and clusters."""

    STORAGE_SCHEME = None

    def __init__(self, client: Client) -> None:
        super().__init__(None, wrap_exceptions=True)
        self._client = client
        self._count = client.script(_COUNT)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the package turns into StorageError."""
        return Unavailable

    def add(self, counts: list[tuple[str, int, int]]) -> list[tuple[int, int]]:
        """Add (key, amount, seconds) and return the counts and how many seconds are left, in one round trip."""
        commands = [self._count.command([_KEY + key], [amount, seconds]) for key, amount, seconds in counts]
        return [(int(count), int(left)) for count, left in self._client.batch(commands)] if commands else []

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return self.add([(key, amount, expiry)])[0][0]

    def get(self, key: str) -> int:
        return int(self._client.call("GET", _KEY + key) or 0)

    def get_expiry(self, key: str) -> float:
        return time.time() + max(0, int(self._client.call("TTL", _KEY + key)))

    def check(self) -> bool:
        return True

    def reset(self) -> int | None:
        raise NotImplementedError

    def clear(self, key: str) -> None:
        self._client.call("DEL", _KEY + key)


def register(app: Flask, limits: Limits, observed_host: Callable[[], str]) -> None:
    """Let an application count what it is asked over HTTP, and refuse what is too much; health is always answered."""
    app.extensions["limits"] = limits

    def count() -> None:
        if request.path in ("/healthz", "/readyz"):
            return
        who = network_of(observed_host())
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            limits.hit("signup", who)
        elif request.path == "/users":
            limits.hit("search", who)
        else:
            limits.count("lookup", who)

    def refused(error: Limited) -> ResponseReturnValue:
        REFUSED.labels("limit").inc()
        headers = {"Retry-After": str(error.seconds)}
        return jsonify(answers.error(error.code, error.message)), error.status, headers

    app.before_request(count)
    app.register_error_handler(Limited, refused)
