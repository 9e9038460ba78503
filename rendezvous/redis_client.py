"""Redis as the store speaks to it: one server or a cluster, which of them is found out at the first command.

Owns the way to the right server: which slots are where (learnt from any node, and anew when one says MOVED or does not
answer), retries within bounds, scripts by their digest, and the wait for a replica. Knows no key. Used by `store.py`.

redis-py's own cluster client would do most of this, but sends WAIT over another connection than the write that it is
about, waits as long as it likes while a master is being replaced, and costs as much as the rest of a lookup.

A command may be carried out twice, where the answer to the first was lost: what is sent must bear that.
"""

import contextlib
import hashlib
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from rendezvous.redis_line import BROKEN, Command, Line, Reply, read_url

PATIENCE: Final = 1.0
"""Seconds of retries while a cluster heals; a takeover takes longer, and whoever called asks again."""
_PAUSE: Final = 0.05
_REPLICA_SECONDS: Final = 1.0
_PASSING: Final = (MovedError, ClusterDownError, TryAgainError, ReadOnlyError)
"""Errors of a server that another one, or the same a moment later, does not give."""


class Unavailable(Exception):
    """Redis does not answer as it should; the text says what it was, for the log."""


@dataclass(frozen=True, slots=True)
class _Map:
    """Where the slots of a cluster are; of a single server, no slots at all."""

    lines: Sequence[Line]
    slots: Sequence[Line | None] = ()

    def line(self, command: Command) -> Line | None:
        """Return who serves a command; None while nobody does."""
        return self.slots[key_slot(_key(command))] if self.slots else self.lines[0]


class Script:
    """A Lua script, sent by its digest; the text only to a server that has not seen it."""

    def __init__(self, client: "Client", text: str) -> None:
        self._client = client
        self._digest = hashlib.sha1(text.encode()).hexdigest()
        client.remember(self._digest, text)

    def __call__(self, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Reply:
        """Run it on keys of one slot."""
        return self._client.call(*self.command(keys, arguments))

    def command(self, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Command:
        """Return the command that runs it, for a batch."""
        return ("EVALSHA", self._digest, len(keys), *keys, *arguments)


class Client:
    """One Redis, or one cluster. Every method raises Unavailable when it cannot be carried out in time.

    Replies are as RESP 2 has them: bytes, integers, lists, None.
    """

    def __init__(self, url: str) -> None:
        """Take the URL of one server, or of some nodes of a cluster; ValueError where it is none."""
        self._options = read_url(url)
        self._seeds = [Line(options) for options in self._options]
        self._known: dict[tuple[str, int], Line] = {}
        self._map: _Map | None = None
        self.version = 0
        self._learning = threading.Lock()
        self._texts: dict[str, str] = {}

    def script(self, text: str) -> Script:
        """Return a script that runs here."""
        return Script(self, text)

    def remember(self, digest: str, text: str) -> None:
        """Keep the text of a script, for servers that ask for it."""
        self._texts[digest] = text

    def call(self, *command: str | bytes | int | float) -> Reply:
        """Carry out one command."""
        return self.batch([command])[0]

    def batch(self, commands: Sequence[Command]) -> list[Reply]:
        """Carry out commands, each on one slot, in one round trip to each server that they concern."""
        replies: list[Reply] = [None] * len(commands)
        left = list(range(len(commands)))
        tries = _Tries(self)
        while left:
            failed: list[int] = []
            for line, numbers in self._by_line(commands, left):
                try:
                    found = self._say(line, [commands[number] for number in numbers])
                except BROKEN as error:
                    tries.trouble = error
                    failed += numbers
                    continue
                for number, reply in zip(numbers, found, strict=True):
                    replies[number] = reply
                    if isinstance(reply, _PASSING):
                        tries.trouble = reply
                        failed.append(number)
            left = failed
            if left:
                tries.again()
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise Unavailable(str(reply))
        return replies

    def replicated(self, command: Command) -> Reply:
        """Carry out a command, and wait until a replica has it, where there is one; Unavailable where none says so in
        time: then it may be done, or not.
        """
        tries = _Tries(self)
        while True:
            line = self._where().line(command)
            try:
                if line is not None:
                    return self._replicated(line, command)
                tries.trouble = ClusterDownError("no master serves this slot")
            except (*BROKEN, *_PASSING) as error:
                tries.trouble = error
            tries.again()

    def listen(self, channel: str) -> Iterator[bytes | None]:
        """Yield the messages of a channel, for ever; None whenever some may have been missed before: the line is
        (again) open, or the cluster has changed.
        """
        while True:
            with contextlib.suppress(*BROKEN, RedisError, Unavailable):
                line = random.choice(self._where().lines)
                with line.client() as client, client.pubsub() as subscription:
                    subscription.subscribe(channel)
                    yield from self._messages(subscription)
            time.sleep(0.2)
            self.forget(self.version)

    def _messages(self, subscription: Any) -> Iterator[bytes | None]:
        version = self.version
        while True:
            message = subscription.get_message(timeout=1.0)
            if version != self.version or (message is not None and message["type"] == "subscribe"):
                version = self.version
                yield None
            if message is not None and message["type"] == "message":
                yield message["data"]

    def _say(self, line: Line | None, commands: list[Command]) -> list[Reply]:
        """Say commands to one server; what it lacks or has moved elsewhere is said once more, as it asks."""
        if line is None:
            return [ClusterDownError("no master serves this slot")] * len(commands)
        replies = line.say(commands)
        for number, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):
                replies[number] = line.say([self._with_text(commands[number])])[0]
            elif isinstance(reply, AskError) and not isinstance(reply, MovedError):
                there = self._line(reply.host, reply.port)
                replies[number] = there.say([("ASKING",), self._with_text(commands[number])])[1]
        return replies

    def _replicated(self, line: Line, command: Command) -> Reply:
        with line.talk() as talk:
            reply, role = talk([command, ("ROLE",)])
            if isinstance(reply, NoScriptError):
                reply, role = talk([self._with_text(command), ("ROLE",)])
            if isinstance(reply, (ResponseError, *BROKEN)):
                if isinstance(reply, _PASSING):
                    raise reply
                raise Unavailable(str(reply))
            has_replica = isinstance(role, list) and role[0] == b"master" and bool(role[2])
            if has_replica and talk([("WAIT", 1, int(_REPLICA_SECONDS * 1000))]) == [0]:
                raise Unavailable("no replica has confirmed in time")
        return reply

    def _with_text(self, command: Command) -> Command:
        if command[0] != "EVALSHA":
            return command
        return ("EVAL", self._texts[str(command[1])], *command[2:])

    def _by_line(self, commands: Sequence[Command], numbers: list[int]) -> list[tuple[Line | None, list[int]]]:
        where = self._where()
        if not where.slots:
            return [(where.lines[0], numbers)]
        found: dict[Line | None, list[int]] = {}
        for number in numbers:
            found.setdefault(where.line(commands[number]), []).append(number)
        return list(found.items())

    # Where everything is

    def _where(self) -> _Map:
        found = self._map
        return found if found is not None else self._learn()

    def forget(self, version: int) -> None:
        """Learn the map of a cluster anew at the next command, unless somebody has since."""
        where = self._map
        if where is not None and where.slots and version == self.version:
            self._map = None

    def _learn(self) -> _Map:
        """Ask anybody where the slots are."""
        with self._learning:
            if self._map is not None:
                return self._map
            trouble: Exception | None = None
            for line in [*random.sample(list(self._known.values()), len(self._known)), *self._seeds]:
                try:
                    (answer,) = line.say([("CLUSTER", "SLOTS")])
                except BROKEN as error:
                    trouble = error
                    continue
                self._map = self._read_map(line, answer)
                self.version += 1
                return self._map
        raise Unavailable(str(trouble))

    def _read_map(self, asked: Line, answer: Reply) -> _Map:
        if isinstance(answer, ResponseError):  # no cluster, or one that we may not ask
            return _Map([asked])
        slots: list[Line | None] = [None] * 16384
        seen: dict[tuple[str, int], Line] = {}
        for first, last, *nodes in answer:
            lines = []
            for host, port, *_ in nodes:
                address = (host.decode() if host else asked.host, port)
                seen[address] = self._line(*address)
                lines.append(seen[address])
            slots[first : last + 1] = [lines[0]] * (last - first + 1)
        self._known = seen or self._known
        return _Map(list(seen.values()) or [asked], slots)

    def _line(self, host: str, port: int) -> Line:
        """Return the line to a node: our own where we have one."""
        known = self._known.get((host, port))
        return known if known is not None else Line({**self._options[0], "host": host, "port": port})


class _Tries:
    """Tries of one call: again after a pause, with a new map, until its time is up."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._version = client.version
        self._deadline = time.monotonic() + PATIENCE
        self.trouble: Exception | None = None

    def again(self) -> None:
        """Prepare for another try; Unavailable where it was the last."""
        if time.monotonic() > self._deadline:
            raise Unavailable(str(self.trouble))
        self._client.forget(self._version)
        time.sleep(_PAUSE)
        self._version = self._client.version


def _key(command: Command) -> bytes:
    """Return the key that decides where a command goes."""
    key = command[3] if command[0] == "EVALSHA" else command[1]
    return key if isinstance(key, bytes) else str(key).encode()
