"""Asks an agent for its state, one question after the other, and notes how long each answer took.

Speaks Socket.IO by hand over one WebSocket: a library's threads, which share our interpreter, would be measured too.
Used by the measurement of the page.
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import websocket

from tests.bench.support.contest import BenchError
from tests.support.local_client import LocalClient

_SECONDS: Final = 30.0
_PING, _PONG = "2", "3"
_CONNECT, _CONNECTED, _ACKNOWLEDGED = "40", "40{", "43"
_QUESTION: Final = '420["get_state",{}]'


@dataclass(slots=True)
class Asked:
    """When each question was asked, and when its answer had come."""

    times: list[tuple[float, float]] = field(default_factory=list)

    def waits(self, begin: float, end: float) -> list[float]:
        """Return, in order of size, how many seconds those answers took whose wait lies partly between two times."""
        return sorted(answer - question for question, answer in self.times if answer > begin and question < end)


@contextlib.contextmanager
def asking(page: LocalClient) -> Iterator[Asked]:
    """Ask the agent of a page for the length of a block."""
    address = page.base.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
    asked, ended, problems = Asked(), threading.Event(), []
    with contextlib.closing(
        websocket.create_connection(address, _SECONDS, http_no_proxy=["*"], skip_utf8_validation=True)
    ) as socket:
        socket.send(_CONNECT + json.dumps({"token": page.token}))
        _until(socket, _CONNECTED)

        def go_on() -> None:
            try:
                while not ended.is_set():
                    asked.times.append(_ask(socket))
            except (OSError, websocket.WebSocketException, BenchError) as problem:
                problems.append(problem)

        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        try:
            yield asked
        finally:
            ended.set()
            thread.join(_SECONDS)
    if problems or thread.is_alive():
        raise BenchError(f"The agent of {page.me} stopped answering: {problems or 'nothing came'}.")


def _ask(socket: websocket.WebSocket) -> tuple[float, float]:
    question = time.monotonic()
    socket.send(_QUESTION)
    answer = _until(socket, _ACKNOWLEDGED)
    answered = time.monotonic()
    if '"ok":true' not in answer:
        raise BenchError(f"get_state was refused: {answer[:100]}")
    return question, answered


def _until(socket: websocket.WebSocket, start: str) -> str:
    """Read until a packet begins so; answer the server's pings meanwhile."""
    while not (packet := str(socket.recv())).startswith(start):
        if packet == _PING:
            socket.send(_PONG)
    return packet
