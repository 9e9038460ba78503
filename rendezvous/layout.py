"""How people stand in Redis: which keys there are, and values from what is read there. Used by `store.py` alone.

| key | holds |
|---|---|
| `tmge:{N}:person:SKELETON` | a hash: one person, until 180 days after they were last here; N is the shard |
| `tmge:{N}:allowed:SKELETON` | a set: digests of those who may find a person that is not listed |
| `tmge:{N}:gone:SKELETON` | a hash, for 22 minutes after a release: the last `seq` by digest of a key, and `time` |
| `tmge:{N}:online` | a sorted set: skeletons of those who are here, by the second when that ends |
| `tmge:{names}:all` | a sorted set, scores 0: `FOLD \\0 NAME` of everyone listed, for pages and searches |
| `tmge:{server}:identity` | the seed of this server's Ed25519 key |
| `tmge:presence` | a channel: the skeleton of whoever came, went or moved; or `\\0` and a delivery in JSON |

The skeleton and the fold of a name are in `contract/names.py`. What concerns one person is in one shard, so in one slot
of a cluster.
"""

import hashlib
import secrets
import zlib
from itertools import pairwise
from typing import Final, NamedTuple

from rendezvous.contract.names import skeleton
from rendezvous.contract.presence import Reach, looker
from rendezvous.people import Person

SHARDS: Final = 64
"""Hash tags that people are spread over; part of the layout: it can never change on a store that holds people."""
CHANNEL: Final = "tmge:presence"
NAMES: Final = "tmge:{names}:all"
IDENTITY: Final = "tmge:{server}:identity"
_BYTES: Final = (0, 32, 64, 128, 192)  # where key, box_key, box_signature and proof begin, and where they end


class Keys(NamedTuple):
    """The keys of one person, all in one slot."""

    skeleton: str
    person: str
    online: str
    gone: str
    allowed: str


def keys_of(name: str) -> Keys:
    """Return the keys of whoever has a name."""
    data = skeleton(name).encode(errors="replace")
    folded, shard = data.decode(), zlib.crc32(data) % SHARDS
    of = [f"tmge:{{{shard}}}:{kind}:{folded}" for kind in ("person", "gone", "allowed")]
    return Keys(folded, of[0], online_key(shard), of[1], of[2])


def online_key(shard: int) -> str:
    """Return the key of those of a shard who are here."""
    return f"tmge:{{{shard}}}:online"


def new_token(name: str, key: bytes) -> str:
    """Return a session token: a secret, and in front of it the name and the key's digest, so that it leads to its
    person by itself.
    """
    return f"{name.encode().hex()}.{looker(key).hex()}.{secrets.token_urlsafe(32)}"


def name_of(token: str) -> str:
    """Return the name that a token claims to be of; empty where it cannot be a token."""
    try:
        return bytes.fromhex(token.partition(".")[0]).decode()
    except ValueError:
        return ""


def looker_of(token: str) -> bytes | None:
    """Return the digest of the key that a token claims to be of; it is so where the token is valid."""
    try:
        return bytes.fromhex(token.split(".")[1])
    except (ValueError, IndexError):
        return None


def digest(token: str) -> bytes:
    """Return what is kept of a token: a store that leaks gives no session away."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def name_in(member: bytes) -> str:
    """Return the name in a member of the list."""
    return member.decode().split("\0", 1)[1]


def person_in(reply: bytes | None) -> Person | None:
    """Return the person whom the script READ answers, None for nobody."""
    if reply is None:
        return None
    key, box_key, box_signature, proof = (reply[at:end] for at, end in pairwise(_BYTES))
    name, seq, host, port, visibility, claimed, time, last_seen, attachment, direct, relay, reach, online = (
        reply[_BYTES[-1] + 1 :].decode().split("\0")
    )
    return Person(
        name,
        key,
        box_key,
        box_signature,
        int(seq),
        host,
        int(port),
        visibility,
        int(claimed),
        int(time),
        proof,
        attachment,
        bool(online),
        int(last_seen),
        bool(direct),
        relay,
        Reach.of_text(reach),
    )
