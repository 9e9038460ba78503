"""Connections to one Redis server, shared by everything that runs in this process.

Owns sockets, deadlines and how many there are; redis-py's connections do the talking (RESP, AUTH, TLS). Its pool asks
before each command whether the socket still stands, which costs as much as the command: here whoever finds a used
connection broken takes a new one. Used by `redis_client.py` alone.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import urlsplit, urlunsplit

import redis
import redis.connection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

Command = tuple[str | bytes | int | float, ...]
Reply = Any
Options = Mapping[str, Any]

SECONDS: Final = 5.0
"""For an answer, and for a connection to be free: more than a busy process may need to look at an answer."""
_SECONDS_TO_CONNECT: Final = 1.0
_CONNECTIONS: Final = 32
_OURS: Final[Options] = {
    "socket_timeout": SECONDS,
    "socket_connect_timeout": _SECONDS_TO_CONNECT,
    "retry": Retry(NoBackoff(), 0),
    "protocol": 2,
}

BROKEN: Final = (redis.ConnectionError, redis.TimeoutError, OSError)
"""What says that a server cannot be reached, is loading, or did not answer in time."""


class Line:
    """One server. Raises BROKEN, and gives a server's own errors as replies."""

    def __init__(self, options: Options) -> None:
        self._options = {key: value for key, value in options.items() if key != "connection_class"}
        self._kind: type[Any] = options.get("connection_class", redis.Connection)
        self._idle: list[Any] = []
        self._free = threading.BoundedSemaphore(_CONNECTIONS)

    @property
    def host(self) -> str:
        """Where it is; localhost for a socket of this machine."""
        return str(self._options.get("host", "localhost"))

    def say(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands and return their replies, in one round trip; twice, where a used connection was broken."""
        with self.talk() as talk:
            return talk(commands)

    @contextlib.contextmanager
    def talk(self) -> Iterator["Talk"]:
        """Lend a connection for several exchanges that must be on the same one."""
        if not self._free.acquire(timeout=SECONDS):
            raise redis.TimeoutError("all connections to Redis are busy")
        try:
            talk = Talk(self)
            try:
                yield talk
            except BaseException:
                talk.connection.disconnect()
                raise
            self._idle.append(talk.connection)
        finally:
            self._free.release()

    def take(self) -> Any:
        """Return a connection that was used before, or a new one."""
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return self.new()

    def new(self) -> Any:
        """Return a new connection, and forget the old ones: what broke one has broken all."""
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().disconnect()
        return self._kind(**self._options)

    def client(self) -> "redis.Redis":
        """Return a client of redis-py on connections of its own."""
        options = {**self._options, "health_check_interval": 10}
        return redis.Redis.from_pool(redis.ConnectionPool(connection_class=self._kind, **options))


class Talk:
    """Exchanges on one connection."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._reused = bool(line._idle)
        self.connection = line.take()

    def __call__(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands and return their replies."""
        try:
            return self._exchange(commands)
        except (redis.ConnectionError, OSError):
            if not self._reused:
                raise
            self.connection = self._line.new()
            return self._exchange(commands)
        finally:
            self._reused = False

    def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        connection = self.connection
        replies: list[Reply] = []
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except ResponseError as error:
                    replies.append(error)
        except BaseException:
            connection.disconnect()
            raise
        return replies


def read_url(url: str) -> list[dict[str, Any]]:
    """Read `redis://`, `rediss://` (both with several HOST:PORT, by commas) or `unix://`, as redis-py has them; return
    the options of each server. ValueError where it is none of them.
    """
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    found = []
    for host in hosts.split(","):
        one = url if host == hosts else urlunsplit(parts._replace(netloc=user + at + host))
        options = {**redis.connection.parse_url(one), **_OURS}  # type: ignore[no-untyped-call]
        options.pop("max_connections", None)
        try:
            Line(options).new()
        except (TypeError, RedisError) as error:
            raise ValueError(str(error)) from None
        found.append(options)
    return cast(list[dict[str, Any]], found)
