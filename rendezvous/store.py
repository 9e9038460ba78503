"""What the rendezvous remembers, in Redis: names and the keys they are bound to, presence, this server's own identity.

Owns what must happen at once (with `scripts.py`); the layout of the keys is `layout.py`'s, how Redis is reached
`redis_client.py`'s. Knows nothing of HTTP, Socket.IO or signatures. Used by `routes.py` and `events.py`; every process
of every machine shares one store.

A script touches one shard only, so a cluster serves it as well. Online is who stands in the sorted set; `sweep` takes
out those whose time has passed, by Redis's own clock, and says so: expiry events of a cluster are per node and not
reliable. Names that nobody holds any more leave the list by `sweep_names`, and no page shows them meanwhile.

After a release its `seq` is kept for as long as a clock may be off in both directions: a sign-up that was signed before
the release, and is sent again, is old. A new owner's span (`claimed`) begins after the last one's.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Final

from rendezvous import scripts
from rendezvous.contract.identity import CLOCK_TOLERANCE
from rendezvous.contract.names import fold
from rendezvous.contract.presence import PRESENCE, UNUSED, Reach, looker
from rendezvous.contract.statement import Statement
from rendezvous.layout import (
    CHANNEL,
    IDENTITY,
    NAMES,
    SHARDS,
    Keys,
    digest,
    keys_of,
    looker_of,
    name_in,
    name_of,
    new_token,
    online_key,
    person_in,
)
from rendezvous.people import Claim, Claimed, Delivery, Person
from rendezvous.redis_client import Client, Unavailable
from rendezvous.redis_line import Command

__all__ = ["Claim", "Claimed", "Person", "Store", "Unavailable"]

Arguments = list[str | bytes | int]

KEPT: Final = 2 * CLOCK_TOLERANCE + 120
"""Seconds that the `seq` of a release is kept."""
_SWEPT_AT_ONCE: Final = 100
_TRIES: Final = 8


class Store:
    """The directory in Redis. Every method raises Unavailable while Redis does not answer."""

    def __init__(self, url: str, ttl: int = PRESENCE, unused: int = UNUSED) -> None:
        """Take the URL of a Redis, or of nodes of a cluster (ValueError otherwise), the seconds of presence that a
        heartbeat buys, and those after which a name that nobody uses is free.
        """
        self._ttl, self._unused = ttl, unused
        self._redis = Client(url)
        self._person = self._redis.script(scripts.READ)
        self._claim = self._redis.script(scripts.CLAIM)
        self._forget = self._redis.script(scripts.FORGET)
        self._attach = self._redis.script(scripts.ATTACH)
        self._beat = self._redis.script(scripts.BEAT)
        self._detach = self._redis.script(scripts.DETACH)
        self._allow = self._redis.script(scripts.ALLOW)
        self._sweep = self._redis.script(scripts.SWEEP)

    def identity(self) -> bytes:
        """Return the 32-byte seed of this server's key; whoever comes first makes it, for all processes and for
        good.
        """
        seed = self._redis.call("GET", IDENTITY)
        if seed is None:
            self._redis.replicated(("SET", IDENTITY, secrets.token_bytes(32), "NX"))
            seed = self._redis.call("GET", IDENTITY)
        if not isinstance(seed, bytes) or len(seed) != 32:
            raise Unavailable(f"{IDENTITY} does not hold a key")
        return seed

    # --- names ---

    def claim(self, claim: Claim, prove: Callable[[int, int], bytes]) -> tuple[Claimed, str]:
        """Claim or renew a name at once or not at all; `prove` signs for the times `claimed` and `time`: the last ones
        that it is given are those that count.

        With NEW and RENEWED comes the session token, with OLD_SEQ the number that must be passed, with SPELLING the
        name as it is kept. Whoever claims is here for the time of one heartbeat.
        """
        keys, who, token = keys_of(claim.name), looker(claim.key), new_token(claim.name, claim.key)
        fields = (claim.name, claim.key, claim.box_key, claim.box_signature, claim.seq, claim.host, claim.port)
        for _ in range(_TRIES):
            claimed, at = self._span(keys)
            arguments: Arguments = [
                keys.skeleton,
                self._ttl,
                self._unused,
                who,
                *fields,
                digest(token),
                claim.visibility,
            ]
            arguments += [claimed, at, prove(claimed, at), "1" if claim.direct else ""]
            command = self._claim.command([keys.person, keys.online, keys.gone], arguments)
            outcome, detail = self._redis.replicated(command)
            if outcome != b"again":
                break
        else:
            raise Unavailable("the name changes too fast")
        result = Claimed(outcome.decode())
        if result not in (Claimed.NEW, Claimed.RENEWED):
            return result, detail.decode()
        # Not in the script: it is another slot. Done at each renewal too, should we die between the two.
        self._list(claim.name, claim.visibility == "listed")
        self._tell(keys.skeleton)
        return result, token

    def forget(self, name: str, key: bytes, seq: int) -> Statement | int | None:
        """Remove everything about a person; return what is to be signed about it (without a server), the number that
        `seq` must pass, or None where this key has no such name.
        """
        keys = keys_of(name)
        arguments: Arguments = [keys.skeleton, key, seq, looker(key), int(time.time()), KEPT]
        command = self._forget.command([keys.person, keys.online, keys.gone, keys.allowed], arguments)
        outcome, *details = self._redis.replicated(command)
        if outcome == b"old_seq":
            return int(details[0])
        if outcome != b"released":
            return None
        kept, claimed, at, box_key = details
        self._list(kept.decode(), False)
        self._tell(keys.skeleton)
        return Statement(kept.decode(), key, box_key, seq, int(claimed), int(at), b"", released=True)

    def sweep_names(self, after: bytes = b"") -> bytes:
        """Take names that nobody holds out of a hundred entries of the list; return where to go on, empty at the
        end. Any process may do it at any time.
        """
        low = b"(" + after if after else b"-"
        found = self._redis.call("ZRANGEBYLEX", NAMES, low, "+", "LIMIT", 0, _SWEPT_AT_ONCE)
        for member in self._dangling(found):
            self._redis.replicated(("ZREM", NAMES, member))
            if not self._dangling([member]):  # claimed while we looked
                self._list(name_in(member), True)
        return found[-1] if len(found) == _SWEPT_AT_ONCE else b""

    def _dangling(self, members: list[bytes]) -> list[bytes]:
        """Return the entries of the list that nobody stands behind."""
        names = [name_in(member) for member in members]
        kept = self._redis.batch([("HMGET", keys_of(name).person, "name", "visibility") for name in names])
        there = [fields == [name.encode(), b"listed"] for name, fields in zip(names, kept, strict=True)]
        return [member for member, stands in zip(members, there, strict=True) if not stands]

    def _span(self, keys: Keys) -> tuple[int, int]:
        """Return since when a claim now would hold the name, and the time of that claim."""
        kept, gone = self._redis.batch(
            [("HMGET", keys.person, "claimed", "time"), ("HGET", keys.gone, "time")],
        )
        now = int(time.time())
        if kept[0] is not None:
            return int(kept[0]), max(now, int(kept[1]))
        claimed = max(now, int(gone or 0) + 1)
        return claimed, claimed

    def _list(self, name: str, listed: bool) -> None:
        member = f"{fold(name)}\0{name}"
        self._redis.replicated(("ZADD", NAMES, 0, member) if listed else ("ZREM", NAMES, member))

    # --- people ---

    def find(self, name: str, token: str | None = None, invite: bytes | None = None) -> Person | None:
        """Return the person of that name if whoever asks may see them, in one round trip; they may show a session, or
        the secret of an invite.
        """
        keys = keys_of(name)
        who = looker_of(token) if token else None
        commands: list[Command] = [self._reading(keys)]
        if token and who:
            commands += [("HGET", keys_of(name_of(token)).person, "session"), ("SISMEMBER", keys.allowed, who)]
        if invite:
            commands.append(("SISMEMBER", keys.allowed, looker(invite)))
        found, *more = self._redis.batch(commands)
        if token and who and more.pop(0) != digest(token):
            who = None
            more.pop(0)
        person = person_in(found)
        return person if person is not None and person.is_seen_by(who, any(more)) else None

    def find_many(self, names: list[str], who: bytes) -> list[Person | None]:
        """Return people by their names, None for nobody and for those whom this looker may not see, in one round
        trip.
        """
        commands: list[Command] = []
        for name in names:
            keys = keys_of(name)
            commands += [self._reading(keys), ("SISMEMBER", keys.allowed, who)]
        replies = iter(self._redis.batch(commands))
        found = [(person_in(next(replies)), bool(next(replies))) for _ in names]
        return [person if person and person.is_seen_by(who, allowed) else None for person, allowed in found]

    def find_with_allowed(self, names: list[str]) -> list[tuple[Person | None, frozenset[bytes]]]:
        """Return people by their names whoever may see them, each with those who may where not everybody does."""
        people = self._read(names)
        private = [person.name for person in people if person is not None and not person.listed]
        members = self._redis.batch([("SMEMBERS", keys_of(name).allowed) for name in private])
        allowed = dict(zip(private, map(frozenset, members), strict=True))
        return [(person, allowed.get(person.name, frozenset()) if person else frozenset()) for person in people]

    def page(self, query: str, after: str, limit: int) -> tuple[list[Person], str | None]:
        """Return listed people whose names begin with `query`, after a name, in order; and where the next page
        starts.
        """
        prefix = fold(query).encode()
        low = b"[" + prefix
        if after and fold(after).encode() >= prefix:
            low = b"(" + fold(after).encode() + b"\0\xff"
        high = b"(" + prefix + b"\xff"
        found = self._redis.call("ZRANGEBYLEX", NAMES, low, high, "LIMIT", 0, limit + 1)
        names = [name_in(member) for member in found[:limit]]
        more = names[-1] if len(found) > limit else None
        people = zip(names, self._read(names), strict=True)
        return [person for name, person in people if person is not None and person.listed and person.name == name], more

    def allow(self, name: str, attachment: str, lookers: list[bytes]) -> bool:
        """Let these find a person who is not listed, and no others; False where this connection does not speak for
        the name.
        """
        keys = keys_of(name)
        done = self._allow([keys.person, keys.allowed], [attachment, self._unused, *lookers])
        self._tell(keys.skeleton)
        return bool(done)

    # --- presence ---

    def attach(self, token: str, attachment: str, host: str, relay: str = "") -> tuple[str, bytes] | None:
        """Let a live connection, beside which there is this relay, speak for a session; return the person's name and
        key, None where the token is not valid.
        """
        keys = keys_of(name_of(token))
        arguments: Arguments = [keys.skeleton, self._ttl, self._unused, digest(token), attachment, host, relay]
        found = self._attach([keys.person, keys.online], arguments)
        if found is None:
            return None
        self._tell(keys.skeleton)
        return found[0].decode(), found[1]

    def beat(self, name: str, attachment: str, reach: Reach | None = None) -> bool:
        """Renew presence, and what is known of the person's network where that is said; False where this connection no
        longer speaks for the name, or the name is gone.
        """
        keys, said = keys_of(name), reach.text if reach is not None else ""
        came = int(self._beat([keys.person, keys.online], [keys.skeleton, self._ttl, self._unused, attachment, said]))
        if came > 0:
            self._tell(keys.skeleton)
        return came >= 0

    def beat_many(self, people: list[tuple[str, str]]) -> None:
        """Renew presence of people, each with a connection; those who are not its any more are left alone."""
        beats = [(keys_of(name), attachment) for name, attachment in people]
        came = self._redis.batch(
            [
                self._beat.command([keys.person, keys.online], [keys.skeleton, self._ttl, self._unused, attachment, ""])
                for keys, attachment in beats
            ]
        )
        self._tell(*(keys.skeleton for (keys, _), news in zip(beats, came, strict=True) if int(news) > 0))

    def detach(self, name: str, attachment: str) -> None:
        """End presence, unless a newer connection has taken over."""
        self.detach_many([(name, attachment)])

    def detach_many(self, people: list[tuple[str, str]]) -> None:
        """End presence of people, each with a connection, in two round trips."""
        ends = [(keys_of(name), attachment) for name, attachment in people]
        went = self._redis.batch(
            [self._detach.command([keys.person, keys.online], [keys.skeleton, attachment]) for keys, attachment in ends]
        )
        self._tell(*(keys.skeleton for (keys, _), news in zip(ends, went, strict=True) if news))

    def sweep(self) -> None:
        """Put offline everyone whose time has passed. Any process may do it at any time; each departure is told
        once.
        """
        gone = self._redis.batch([self._sweep.command([online_key(shard)], []) for shard in range(SHARDS)])
        self._tell(*(folded for folds in gone for folded in folds))

    def count(self) -> tuple[int, int]:
        """Return how many people are online, and how many names are listed."""
        *online, listed = self._redis.batch(
            [*(("ZCARD", online_key(shard)) for shard in range(SHARDS)), ("ZCARD", NAMES)]
        )
        return sum(online), int(listed)

    # --- between processes ---

    @property
    def client(self) -> Client:
        """Return the way to this Redis, for what is counted there but is no part of the directory."""
        return self._redis

    def deliver(self, delivery: Delivery) -> None:
        """Hand something to the process that has a connection; it is lost where none has it any more."""
        value = json.dumps([delivery.attachment, delivery.event, delivery.value])
        self._redis.call("PUBLISH", CHANNEL, "\0" + value)

    def changes(self) -> Iterator[str | Delivery | None]:
        """Yield the skeleton of whoever came, went or moved, and every delivery, for ever; None where some may have
        been missed before.

        Raises nothing: it goes on when Redis is back.
        """
        for message in self._redis.listen(CHANNEL):
            if message is not None and message.startswith(b"\0"):
                yield Delivery(*json.loads(message[1:]))
            else:
                yield None if message is None else message.decode()

    def _tell(self, *changed: str | bytes) -> None:
        if changed:
            self._redis.batch([("PUBLISH", CHANNEL, one) for one in changed])

    def _read(self, names: list[str]) -> list[Person | None]:
        """Read people whoever may see them: one batch of single-slot commands."""
        return [person_in(found) for found in self._redis.batch([self._reading(keys_of(name)) for name in names])]

    def _reading(self, keys: Keys) -> Command:
        return self._person.command([keys.person, keys.online], [keys.skeleton])
