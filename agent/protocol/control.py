"""The control stream of a session: messages, in order, each once, over packets that may be lost.

It has no clock: when to send again is said by `recovery`, through `lost`. Both directions are bounded, so a peer
can neither make us hold more than `WINDOW` bytes out of order nor queue without end.
"""

from collections.abc import Iterator
from typing import Final

from agent.protocol.acks import Ranges
from agent.protocol.errors import PeerError
from agent.protocol.messages import Message, encode, split

WINDOW: Final = 256 * 1024  # bytes ahead of what was read in order
MAX_EARLY: Final = 4096  # pieces kept that came before their turn
MAX_STREAM: Final = 1 << 32  # offsets are u32; a session ends before


class ControlOut:
    """The sending direction: bytes queued, in flight, and acknowledged."""

    __slots__ = ("_base", "_data", "_done", "_pending")

    def __init__(self) -> None:
        self._data = bytearray()  # from offset _base on
        self._base = 0
        self._pending = Ranges()  # to be sent, for the first time or again
        self._done = Ranges()  # acknowledged

    def queue(self, message: Message) -> None:
        """Append a message to the stream."""
        end = self._base + len(self._data)
        data = encode(message)
        if end + len(data) > MAX_STREAM:
            raise PeerError("exhausted", "the control stream of this session is used up")
        self._data += data
        self._pending.add(end, end + len(data))

    def waiting(self) -> bool:
        """Tell whether `take` would give something now."""
        return len(self._pending) > 0 and self._pending.first()[0] < self._base + WINDOW

    def take(self, most: int) -> tuple[int, bytes]:
        """Return (offset, at most `most` bytes) to send now; only call while `waiting()`."""
        start, stop = self._pending.first()
        stop = min(stop, start + most, self._base + WINDOW)
        self._pending.remove(start, stop)
        return start, bytes(self._data[start - self._base : stop - self._base])

    def acknowledged(self, start: int, stop: int) -> None:
        """Let go of bytes that arrived."""
        self._done.add(start, stop)
        self._pending.remove(start, stop)
        first, last = self._done.first()
        if first == 0 and last > self._base:
            del self._data[: last - self._base]
            self._base = last

    def lost(self, start: int, stop: int) -> None:
        """Send bytes again, unless they arrived meanwhile."""
        self._pending.add(start, stop)
        for a, b in self._done:
            self._pending.remove(a, b)

    def backlog(self) -> int:
        """Count the bytes that are queued or on their way."""
        return len(self._data)

    def empty(self) -> bool:
        """Tell whether everything queued has arrived."""
        return not self._data


class ControlIn:
    """The receiving direction: puts bytes in order and cuts them into messages."""

    __slots__ = ("_early", "_early_bytes", "_next", "_ready")

    def __init__(self) -> None:
        self._next = 0
        self._early: dict[int, bytes] = {}
        self._early_bytes = 0
        self._ready = bytearray()

    def receive(self, offset: int, data: bytes) -> Iterator[Message]:
        """Take a CONTROL frame and yield the messages it completes; raises PeerError."""
        if offset + len(data) > self._next + WINDOW:
            raise PeerError("flow_control", "the control stream runs ahead of its window")
        if offset > self._next:
            self._keep(offset, data)
            return
        self._append(offset, data)
        for start in sorted(self._early):
            if start > self._next:
                break
            early = self._early.pop(start)
            self._early_bytes -= len(early)
            self._append(start, early)
        yield from split(self._ready)

    def _append(self, offset: int, data: bytes) -> None:
        fresh = data[self._next - offset :]
        self._ready += fresh
        self._next += len(fresh)

    def _keep(self, offset: int, data: bytes) -> None:
        more = len(data) - len(self._early.get(offset, b""))
        if more <= 0:
            return
        self._early[offset] = data
        self._early_bytes += more
        if self._early_bytes > 2 * WINDOW or len(self._early) > MAX_EARLY:
            raise PeerError("flow_control", "the control stream overlaps itself without end")
