"""What the rendezvous remembers, in Redis: names and the keys they are bound to, presence, this
server's own identity.

Owns the layout of the keys and what must happen at once (with `scripts.py`); how Redis is reached is
`redis_client.py`'s. Knows nothing of HTTP, Socket.IO or signatures. Used by `routes.py` and `events.py`;
every process of every machine shares one store.

| key | holds |
|---|---|
| `tmge:{N}:person:FOLD` | a hash: one person; N is the shard, by a hash of the fold |
| `tmge:{N}:online` | a sorted set: folds of those who are here, by the second when that ends |
| `tmge:{names}:all` | a sorted set, scores 0: `FOLD \\0 NAME`, for pages and searches |
| `tmge:{server}:identity` | the seed of this server's Ed25519 key |
| `tmge:presence` | a channel: the fold of whoever came, went or moved |

A script touches one shard only, so a cluster serves it as well. Online is who stands in the sorted
set; `sweep` takes out those whose time has passed, by Redis's own clock, and says so: expiry events
of a cluster are per node and not reliable.
"""

import hashlib
import secrets
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from rendezvous import scripts
from rendezvous.contract.names import fold
from rendezvous.contract.presence import PRESENCE
from rendezvous.redis_client import Client, Unavailable, as_fields
from rendezvous.redis_line import Command

__all__ = ["Claim", "Claimed", "Person", "Store", "Unavailable"]

SHARDS: Final = 64
"""Hash tags that people are spread over; part of the layout: it can never change on a store that
holds people.
"""

_CHANNEL: Final = "tmge:presence"
_NAMES: Final = "tmge:{names}:all"
_IDENTITY: Final = "tmge:{server}:identity"


class Claimed(Enum):
    """What became of a claim of a name."""

    NEW = "new"
    RENEWED = "renewed"
    TAKEN = "taken"
    OLD_SEQ = "old_seq"
    SPELLING = "spelling"


@dataclass(frozen=True, slots=True)
class Claim:
    """A name and what is bound to it; `key`, `box_key` and `box_signature` are empty where
    nothing was signed.
    """

    name: str
    key: bytes
    box_key: bytes
    box_signature: bytes
    seq: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Person:
    """One person as kept: a claim, and whether this person is here. `last_seen` in Unix seconds."""

    name: str
    key: bytes
    box_key: bytes
    box_signature: bytes
    seq: int
    host: str
    port: int
    online: bool
    last_seen: int


class Store:
    """The directory in Redis. Every method raises Unavailable while Redis does not answer."""

    def __init__(self, url: str, ttl: int = PRESENCE) -> None:
        """Take the URL of a Redis, or of nodes of a cluster (ValueError otherwise), and the seconds of presence that a
        heartbeat buys.
        """
        self._ttl = ttl
        self._redis = Client(url)
        self._claim = self._redis.script(scripts.CLAIM)
        self._attach = self._redis.script(scripts.ATTACH)
        self._beat = self._redis.script(scripts.BEAT)
        self._detach = self._redis.script(scripts.DETACH)
        self._sweep = self._redis.script(scripts.SWEEP)

    def identity(self) -> bytes:
        """Return the 32-byte seed of this server's key; whoever comes first makes it, for all processes and for
        good.
        """
        seed = self._redis.call("GET", _IDENTITY)
        if seed is None:
            self._redis.replicated(("SET", _IDENTITY, secrets.token_bytes(32), "NX"))
            seed = self._redis.call("GET", _IDENTITY)
        if not isinstance(seed, bytes) or len(seed) != 32:
            raise Unavailable(f"{_IDENTITY} does not hold a key")
        return seed

    def claim(self, claim: Claim, proof: str | None) -> tuple[Claimed, str]:
        """Claim or renew a name at once or not at all; `proof` is an earlier session token, if
        there is one.

        With NEW and RENEWED comes the session token, with OLD_SEQ the number that must be passed,
        with SPELLING the name as it is kept. Whoever claims is here for the time of one heartbeat.
        """
        folded = fold(claim.name)
        token = new_token(claim.name)
        fields = (claim.name, claim.key, claim.box_key, claim.box_signature, claim.seq)
        sessions = (_digest(token), _digest(proof) if proof else b"\0")
        arguments: list[str | bytes | int] = [folded, self._ttl, *fields, claim.host, claim.port, *sessions]
        outcome, detail = self._redis.replicated(self._claim.command(_keys(folded), arguments))
        claimed = Claimed(outcome.decode())
        if claimed not in (Claimed.NEW, Claimed.RENEWED):
            return claimed, detail.decode()
        # Not in the script: it is another slot. Done at each renewal too, should we die between the two.
        self._redis.replicated(("ZADD", _NAMES, 0, f"{folded}\0{claim.name}"))
        self._tell(folded)
        return claimed, token

    def find(self, name: str) -> Person | None:
        """Return the person of that name, in one round trip."""
        return self._people([fold(name)])[0]

    def page(self, query: str, after: str, limit: int) -> tuple[list[Person], str | None]:
        """Return people whose names begin with `query`, after a name, in order; and where the
        next page starts.
        """
        prefix = fold(query).encode()
        low = b"[" + prefix
        if after and fold(after).encode() >= prefix:
            low = b"(" + fold(after).encode() + b"\0\xff"
        high = b"(" + prefix + b"\xff"
        found = self._redis.call("ZRANGEBYLEX", _NAMES, low, high, "LIMIT", 0, limit + 1)
        members = [member.decode().split("\0", 1) for member in found]
        people = self._people([folded for folded, _ in members[:limit]])
        more = members[limit - 1][1] if len(members) > limit else None
        return [person for person in people if person is not None], more

    def find_many(self, names: list[str]) -> list[Person | None]:
        """Return people by their names, None for nobody, in one round trip."""
        return self._people([fold(name) for name in names])

    def attach(self, token: str, attachment: str, host: str) -> str | None:
        """Let a live connection speak for a session; return the person's name, None where the
        token is not valid.
        """
        folded = fold(_name_of(token))
        name = self._attach(_keys(folded), [folded, self._ttl, _digest(token), attachment, host])
        if name is None:
            return None
        self._tell(folded)
        return bytes(name).decode()

    def beat(self, name: str, attachment: str) -> bool:
        """Renew presence; False where this connection no longer speaks for the name, or the name
        is gone.
        """
        folded = fold(name)
        came = int(self._beat(_keys(folded), [folded, self._ttl, attachment]))
        if came > 0:
            self._tell(folded)
        return came >= 0

    def detach(self, name: str, attachment: str) -> None:
        """End presence, unless a newer connection has taken over."""
        folded = fold(name)
        if self._detach(_keys(folded), [folded, attachment]):
            self._tell(folded)

    def sweep(self) -> None:
        """Put offline everyone whose time has passed. Any process may do it at any time; each
        departure is told once.
        """
        gone = self._redis.batch([self._sweep.command([_online(shard)], []) for shard in range(SHARDS)])
        for folded in (folded for folds in gone for folded in folds):
            self._tell(folded)

    def changes(self) -> Iterator[str | None]:
        """Yield the fold of whoever came, went or moved, for ever; None where changes may have been missed before.

        Raises nothing: it goes on when Redis is back.
        """
        for message in self._redis.listen(_CHANNEL):
            yield None if message is None else message.decode()

    def _tell(self, folded: str | bytes) -> None:
        self._redis.call("PUBLISH", _CHANNEL, folded)

    def _people(self, folds: list[str]) -> list[Person | None]:
        """Read people by their folds: one pipeline of single-slot commands."""
        commands: list[Command] = []
        for folded in folds:
            person, online = _keys(folded)
            commands += [("HGETALL", person), ("ZSCORE", online, folded)]
        replies = self._redis.batch(commands)
        pairs = zip(replies[::2], replies[1::2], strict=True)
        return [_person(as_fields(fields), score is not None) if fields else None for fields, score in pairs]


def new_token(name: str) -> str:
    """Return a session token: a secret, and in front of it the name, so that it leads to its
    person by itself.
    """
    return f"{name.encode().hex()}.{secrets.token_urlsafe(32)}"


def _name_of(token: str) -> str:
    """Return the name that a token claims to be of; empty where it cannot be a token."""
    try:
        return bytes.fromhex(token.partition(".")[0]).decode()
    except ValueError:
        return ""


def _digest(token: str) -> bytes:
    """Return what is kept of a token: a store that leaks gives no session away."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _keys(folded: str) -> tuple[str, str]:
    """Return the keys of a person and of the presence of that shard."""
    shard = zlib.crc32(folded.encode()) % SHARDS
    return f"tmge:{{{shard}}}:person:{folded}", _online(shard)


def _online(shard: int) -> str:
    return f"tmge:{{{shard}}}:online"


def _person(fields: Mapping[bytes, bytes], online: bool) -> Person:
    return Person(
        name=fields[b"name"].decode(),
        key=fields[b"key"],
        box_key=fields[b"box_key"],
        box_signature=fields[b"box_signature"],
        seq=int(fields[b"seq"]),
        host=fields[b"host"].decode(),
        port=int(fields[b"port"]),
        online=online,
        last_seen=int(fields[b"last_seen"]),
    )
