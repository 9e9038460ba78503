"""Thousands of agents in one process, each a live connection from an address of its own, little more than a socket.

Speaks just enough WebSocket, Engine.IO and Socket.IO: text frames of the sizes that a rendezvous sends. Every agent
answers pings, sends heartbeats in turn and notes what it is told.
"""

import json
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from rendezvous.contract.presence import HEARTBEAT
from tests.bench.support.contest import BenchError

_MASK: Final = bytes(4)  # a mask of zeros changes nothing, and is a mask
_UPGRADE: Final = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_AT_ONCE: Final = 64
"""Connections that are being opened at a time."""


def frame(text: bytes, opcode: int = 1) -> bytes:
    """Return a masked frame."""
    length = len(text)
    head = bytes((0x80 | opcode, 0x80 | (length if length < 126 else 126)))
    return head + (struct.pack("!H", length) if length >= 126 else b"") + _MASK + text


_PONG: Final = frame(b"3")
_BEAT: Final = frame(b'421["heartbeat",{}]')


class Agent:
    """One connection. `phase`: "" until it is upgraded, "open" until it is attached, "on" from then, "gone" at last."""

    __slots__ = ("asked", "name", "number", "phase", "read", "socket", "token")

    def __init__(self, number: int, name: str, token: str) -> None:
        self.number = number
        self.name = name
        self.token = token
        self.asked = 0.0
        self.begin()

    def begin(self) -> None:
        """Take a new socket."""
        number = self.number
        self.phase = ""
        self.read = b""
        self.socket = socket.socket()
        self.socket.bind((f"127.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", 0))

    def frames(self) -> list[bytes]:
        """Take the complete frames out of what was read: the texts, an empty one for a close."""
        found, read, at = [], self.read, 0
        while len(read) - at >= 2:
            length, start = read[at + 1], at + 2
            if length >= 126:
                size = 2 if length == 126 else 8
                if len(read) < start + size:
                    break
                length, start = int.from_bytes(read[start : start + size], "big"), start + size
            if len(read) < start + length:
                break
            found.append(b"" if read[at] & 15 == 8 else read[start : start + length])
            at = start + length
        self.read = read[at:]
        return found


class Crowd:
    """Agents of one process, and what they notice. Nothing happens but in `run`."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._selector = selectors.DefaultSelector()
        self._waiting: deque[Agent] = deque()
        self._opening = 0
        self._acknowledged: Callable[[], None] = lambda: None
        self.agents: list[Agent] = []
        self.on = 0
        self.lost: list[str] = []
        self.beats = 0
        self.beat_seconds: list[float] = []
        self.told: list[tuple[float, str, dict[str, Any]]] = []
        self.answers = 0

    def attach(self, people: Sequence[tuple[int, str, str]], seconds: float) -> None:
        """Attach people (a number, a name, a session token) and wait until all are; BenchError when that takes too
        long.
        """
        wanted = self.on + len(people)
        agents = [Agent(*person) for person in people]
        self.agents += agents
        self._waiting += agents
        self.run(seconds, lambda: self.on >= wanted or bool(self.lost))
        if self.on < wanted:
            raise BenchError(f"Only {self.on} of {wanted} agents could attach; {self.lost[:1]}")

    def watch(self, watched: Callable[[int], list[str]], seconds: float) -> None:
        """Let each agent watch some names, and wait until all have been answered."""
        wanted = self.answers + len(self.agents)
        for agent in self.agents:
            text = json.dumps(["watch", {"names": watched(agent.number)}]).encode()
            agent.socket.setblocking(True)
            agent.socket.sendall(frame(b"422" + text))
            agent.socket.setblocking(False)
            self.run(0.0)
        self.run(seconds, lambda: self.answers >= wanted)
        if self.answers < wanted:
            raise BenchError("Not everyone could watch.")

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False, *, beating: bool = False) -> None:
        """Live for some seconds, or until something is so; with heartbeats in turn, all within one period."""
        began = time.monotonic()
        deadline, beaten = began + seconds, 0
        while not until():
            while self._waiting and self._opening < _AT_ONCE:
                self._open(self._waiting.popleft())
            now = time.monotonic()
            if beating:
                while beaten < (now - began) / HEARTBEAT * len(self.agents):
                    self.beat(self.agents[beaten % len(self.agents)])
                    beaten += 1
            for key, events in self._selector.select(0.005 if seconds else 0):
                self._serve(key.data, events)
            if now >= deadline:
                return

    def now(self) -> float:
        """Return the time on the clock of `told`."""
        return time.monotonic()

    def beat(self, agent: Agent) -> None:
        """Let an agent send a heartbeat."""
        if agent.phase == "on":
            agent.asked = time.monotonic()
            self.beats += 1
            agent.socket.send(_BEAT)

    def leave(self, agent: Agent) -> None:
        """Close a connection without a word."""
        self._selector.unregister(agent.socket)
        agent.socket.close()
        agent.phase = "gone"
        self.on -= 1

    def close(self) -> None:
        """Close all."""
        for agent in self.agents:
            agent.socket.close()
        self._selector.close()

    def _open(self, agent: Agent) -> None:
        agent.socket.setblocking(False)
        agent.socket.connect_ex(("127.0.0.1", self._ports[agent.number % len(self._ports)]))
        self._selector.register(agent.socket, selectors.EVENT_WRITE, agent)
        self._opening += 1

    def _serve(self, agent: Agent, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:  # connected
                agent.socket.send(_UPGRADE)
                self._selector.modify(agent.socket, selectors.EVENT_READ, agent)
                return None
            piece = agent.socket.recv(65536)
        except OSError as error:
            return self._lose(agent, str(error))
        if not piece:
            return self._lose(agent, "closed")
        agent.read += piece
        if not agent.phase:
            head, end, rest = agent.read.partition(b"\r\n\r\n")
            if not end:
                return None
            if b" 101 " not in head.splitlines()[0]:
                return self._lose(agent, head.splitlines()[0].decode())
            agent.phase, agent.read = "open", rest
        for text in agent.frames():
            self._hear(agent, text)
        return None

    def _hear(self, agent: Agent, text: bytes) -> None:
        if text == b"2":
            agent.socket.send(_PONG)
        elif text[:1] == b"0":
            agent.socket.send(frame(b"40" + json.dumps({"token": agent.token}).encode()))
        elif text[:2] == b"44" and b'"unavailable"' in text:  # as agents do, it tries again
            self._lose(agent, "")
            agent.begin()
            self._waiting.append(agent)
        elif text[:2] == b"40":
            agent.phase = "on"
            self._opening -= 1
            self.on += 1
        elif text[:3] == b"431":
            if b'"ok":true' in text:
                self.beat_seconds.append(time.monotonic() - agent.asked)
        elif text[:3] == b"432":
            self.answers += 1
        elif text[:2] == b"42":
            event, value = json.loads(text[2:])
            if event == "presence":
                self.told.append((time.monotonic(), agent.name, value))
        else:
            self._lose(agent, text.decode() or "closed by a frame")

    def _lose(self, agent: Agent, why: str) -> None:
        self.lost += [why] if why else []
        self._opening -= agent.phase in ("", "open")
        self.on -= agent.phase == "on"
        agent.phase = "gone"
        self._selector.unregister(agent.socket)
        agent.socket.close()
