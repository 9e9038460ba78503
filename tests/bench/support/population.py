"""People for measurements: claims of names without end, loaded through the store's own claim, many at a time.

Nobody signs for them (the store checks no signature), and nobody of them is here.
"""

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any, Final, cast

from rendezvous.layout import SHARDS, online_key
from rendezvous.people import Claim
from rendezvous.redis_client import Client
from rendezvous.redis_line import Command
from rendezvous.store import Store
from tests.bench.support.contest import BenchError

STEMS: Final = "anna boris chidi daria emeka farid gul hana ines jamal".split()
"""What names begin with, each as often as the next."""
_TOGETHER: Final = 500
_salt = itertools.count()


def name(number: int) -> str:
    """Return the name of one person."""
    return f"{STEMS[number % len(STEMS)]} {number // len(STEMS):06d}"


def claims(count: int, first: int = 0) -> Iterator[Claim]:
    """Return the claims of people, each with bytes of its own, as signed ones have."""
    for number in range(first, first + count):
        key = hashlib.sha256(number.to_bytes(8, "big")).digest()
        yield Claim(name(number), key, key, key + key, 1, f"192.0.2.{number % 256}", 5001)


class _Recorder:
    """Stands in for the store's client: keeps the commands of claims until they are sent, many at once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.commands: list[Command] = []

    def replicated(self, command: Command) -> list[bytes]:
        """Keep a command, and reply as if it had been carried out on a new name."""
        self.commands.append(command)
        return [b"new", b"0"]

    def batch(self, commands: list[Command]) -> list[Any]:
        """Reply to the reading of a person as if there were none."""
        return [[None] * (len(command) - 2) if command[0] == "HMGET" else None for command in commands]

    def call(self, *command: str | bytes | int | float) -> None:
        """Tell nobody."""

    def send(self) -> None:
        """Carry out what was kept; BenchError where a name was not new."""
        replies = self._client.batch(self.commands)
        if not all(reply == 1 or reply[0] == b"new" for reply in replies):
            raise BenchError("A name of the load is not new: the store was not empty.")
        self.commands.clear()


def _prove(claimed: int, at: int) -> bytes:
    """Return bytes as many as a signature has, and as few that are like another's."""
    return hashlib.sha512(claimed.to_bytes(8, "big") + next(_salt).to_bytes(8, "big")).digest()


def load(url: str, count: int, first: int = 0) -> list[str]:
    """Fill a store with people who are new to it; return their session tokens."""
    store = Store(url)
    client = store._redis
    recorder = _Recorder(client)
    store._redis = cast(Any, recorder)
    tokens = []
    pending = claims(count, first)
    while batch := list(itertools.islice(pending, _TOGETHER)):
        tokens += [store.claim(claim, _prove)[1] for claim in batch]
        recorder.send()
    client.batch([("UNLINK", online_key(shard)) for shard in range(SHARDS)])
    return tokens
