"""Frames: what a sealed packet holds. Parsers take untrusted (though authenticated) bytes and raise PeerError.

| type | frame          | fields after the type byte                                        |
|------|----------------|-------------------------------------------------------------------|
| 0    | PADDING        | none; the rest of the packet is ignored                           |
| 1    | PING           | none                                                              |
| 2    | ACK            | delay u32 µs, count u8, count × (first u32, last u32), highest first |
| 3    | CONTROL        | offset u32, length u16, bytes of the control stream               |
| 4    | PIECE          | transfer u24, offset u64, bytes of the transfer to the packet's end |
| 5    | CLOSE          | code u8, length u16, reason in UTF-8                              |
| 6    | PATH_CHALLENGE | 8 bytes                                                           |
| 7    | PATH_RESPONSE  | the same 8 bytes                                                  |
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from agent.protocol.errors import PeerError

PADDING, PING, ACK, CONTROL, PIECE, CLOSE, PATH_CHALLENGE, PATH_RESPONSE = range(8)

PIECE_HEADER: Final = Struct(">IQ")  # type and transfer, offset
PIECE_HEADER_SIZE: Final = PIECE_HEADER.size
MAX_TRANSFER: Final = 1 << 24
MAX_ACK_RANGES: Final = 64
CONTROL_HEADER_SIZE: Final = 7
MAX_REASON: Final = 400  # bytes

_ACK = Struct(">BIB")
_RANGE = Struct(">II")
_CONTROL = Struct(">BIH")
_CLOSE = Struct(">BBH")
_PATH = Struct(">B8s")


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for nothing but an acknowledgement."""


@dataclass(frozen=True, slots=True)
class Ack:
    """Packets that arrived: `delay` seconds since the highest did, half-open `ranges` highest first."""

    delay: float
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Control:
    """Bytes of the control stream from `offset` on."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The session ends: a code of `CLOSE_CODES` and a sentence."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class PathChallenge:
    """Wants the same eight bytes back over the path it came by (RFC 9000 section 8.2)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PathResponse:
    """Answers a challenge."""

    data: bytes


Frame = Ping | Ack | Control | Close | PathChallenge | PathResponse


def encode_ping() -> bytes:
    """Encode a PING frame."""
    return bytes([PING])


def encode_ack(delay: float, ranges: Sequence[tuple[int, int]]) -> bytes:
    """Encode an ACK frame of half-open ranges, highest first; the delay is capped at 67 minutes."""
    head = _ACK.pack(ACK, min(int(delay * 1e6), 0xFFFFFFFF), len(ranges))
    return head + b"".join(_RANGE.pack(start, stop - 1) for start, stop in ranges)


def encode_control(offset: int, data: bytes) -> bytes:
    """Encode a CONTROL frame."""
    return _CONTROL.pack(CONTROL, offset, len(data)) + data


def encode_close(code: int, reason: str) -> bytes:
    """Encode a CLOSE frame; a long reason is cut."""
    text = reason.encode("utf-8")[:MAX_REASON]
    return _CLOSE.pack(CLOSE, code, len(text)) + text


def encode_path(kind: int, data: bytes, size: int = 0) -> bytes:
    """Encode a PATH_CHALLENGE or PATH_RESPONSE frame, padded to `size` bytes."""
    return _PATH.pack(kind, data).ljust(size, b"\0")


def piece_word(transfer: int) -> int:
    """Return the first four bytes of a PIECE frame as an integer."""
    return PIECE << 24 | transfer


def parse(data: bytes) -> Iterator[Frame]:
    """Yield the frames of a packet that does not begin with PIECE.

    Raises PeerError on anything that is not exactly as the table says.
    """
    at = 0
    while at < len(data) and data[at] != PADDING:
        reader = _READERS.get(data[at])
        if reader is None:
            raise PeerError("frame", f"frame type {data[at]} is unknown or not allowed here")
        frame, at = reader(data, at)
        if at > len(data):
            raise PeerError("frame", "a frame is longer than its packet")
        yield frame


def _read_ping(data: bytes, at: int) -> tuple[Frame, int]:
    return Ping(), at + 1


def _read_ack(data: bytes, at: int) -> tuple[Frame, int]:
    _, delay, count = _unpack(_ACK, data, at)
    at += _ACK.size
    if not 0 < count <= MAX_ACK_RANGES or at + count * _RANGE.size > len(data):
        raise PeerError("frame", "an ACK frame has no, too many or incomplete ranges")
    ranges = []
    below = 1 << 33
    for first, last in _RANGE.iter_unpack(data[at : at + count * _RANGE.size]):
        if first > last or last + 1 >= below:
            raise PeerError("frame", "the ranges of an ACK frame are not descending")
        ranges.append((first, last + 1))
        below = first
    return Ack(delay / 1e6, tuple(ranges)), at + count * _RANGE.size


def _read_control(data: bytes, at: int) -> tuple[Frame, int]:
    _, offset, length = _unpack(_CONTROL, data, at)
    at += _CONTROL.size
    return Control(offset, data[at : at + length]), at + length


def _read_close(data: bytes, at: int) -> tuple[Frame, int]:
    _, code, length = _unpack(_CLOSE, data, at)
    at += _CLOSE.size
    if length > MAX_REASON:
        raise PeerError("frame", "the reason of a CLOSE frame is too long")
    return Close(code, data[at : at + length].decode("utf-8", "replace")), at + length


def _read_challenge(data: bytes, at: int) -> tuple[Frame, int]:
    return PathChallenge(_unpack(_PATH, data, at)[1]), at + _PATH.size


def _read_response(data: bytes, at: int) -> tuple[Frame, int]:
    return PathResponse(_unpack(_PATH, data, at)[1]), at + _PATH.size


def _unpack(layout: Struct, data: bytes, at: int) -> tuple:  # type: ignore[type-arg]
    if at + layout.size > len(data):
        raise PeerError("frame", "a frame is longer than its packet")
    return layout.unpack_from(data, at)


_READERS = {
    PING: _read_ping,
    ACK: _read_ack,
    CONTROL: _read_control,
    CLOSE: _read_close,
    PATH_CHALLENGE: _read_challenge,
    PATH_RESPONSE: _read_response,
}
