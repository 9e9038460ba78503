"""The fields that messages are made of: how each is written, and read from bytes of a peer that may be hostile.

All integers are big-endian. Readers raise PeerError, and take no memory before they have looked at a length. Used by
`messages`, which says what is made of them.
"""

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from itertools import pairwise
from struct import Struct
from typing import Any, Final, NamedTuple

from agent.protocol.candidates import MOST_CANDIDATES, Candidate, Found
from agent.protocol.errors import PeerError
from agent.protocol.packet import Address
from agent.protocol.report import Outcome, Tried

MAX_FETCH_RANGES: Final = 1024

_U32 = Struct(">I")


class Field(NamedTuple):
    """One kind of field: its name in PROTOCOL.md, its writer, and its reader `(data, at) -> (value, at)`."""

    name: str
    write: Callable[[Any], bytes]
    read: Callable[[bytes, int], tuple[Any, int]]


def integer(name: str, layout: Struct) -> Field:
    """Return an integer field."""

    def read(data: bytes, at: int) -> tuple[Any, int]:
        return layout.unpack_from(data, _need(data, at, layout.size))[0], at + layout.size

    return Field(name, layout.pack, read)


def fixed(size: int) -> Field:
    """Return a field of so many bytes."""

    def read(data: bytes, at: int) -> tuple[Any, int]:
        return data[_need(data, at, size) : at + size], at + size

    return Field(f"{size} bytes", bytes, read)


def blob(most: int) -> Field:
    """Return a field of bytes with their length in front."""

    def read(data: bytes, at: int) -> tuple[Any, int]:
        (length,) = _U32.unpack_from(data, _need(data, at, 4))
        if length > most:
            raise PeerError("message", "a field is longer than it may be")
        return data[_need(data, at + 4, length) : at + 4 + length], at + 4 + length

    return Field(f"blob, at most {most}", lambda value: _U32.pack(len(value)) + value, read)


def text(most: int) -> Field:
    """Return a field of UTF-8 with its length in bytes in front."""
    bytes_of = blob(most)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        value, at = bytes_of.read(data, at)
        try:
            return value.decode("utf-8"), at
        except UnicodeDecodeError:
            raise PeerError("message", "a text is not UTF-8") from None

    return Field(f"text, at most {most} bytes", lambda value: bytes_of.write(value.encode("utf-8")), read)


def _read_ranges(data: bytes, at: int) -> tuple[Any, int]:
    (count,) = _U32.unpack_from(data, _need(data, at, 4))
    if count > MAX_FETCH_RANGES:
        raise PeerError("message", "too many ranges")
    pairs = data[_need(data, at + 4, count * 16) : at + 4 + count * 16]
    ranges = tuple(_RANGE.iter_unpack(pairs))
    if any(a >= b for a, b in ranges) or any(b >= c for (_, b), (c, _) in pairwise(ranges)):
        raise PeerError("message", "ranges are not rising")
    return ranges, at + 4 + count * 16


def _write_ranges(ranges: Sequence[tuple[int, int]]) -> bytes:
    return _U32.pack(len(ranges)) + b"".join(_RANGE.pack(a, b) for a, b in ranges)


def _need(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise PeerError("message", "a message ends too early")
    return at


def _write_address(address: Address) -> bytes:
    ip = ip_address(address[0])
    return bytes([ip.version]) + ip.packed + _PORT.pack(address[1])


def _read_address(data: bytes, at: int) -> tuple[Address, int]:
    size = _ADDRESS_BYTES.get(data[_need(data, at, 1)])
    if size is None:
        raise PeerError("message", "an address is of no known family")
    packed = data[_need(data, at + 1, size) : at + 1 + size]
    at += 1 + size
    (port,) = _PORT.unpack_from(data, _need(data, at, 2))
    return (str(ip_address(packed)), port), at + 2


def counted(name: str, write: Callable[[Any], bytes], read: Callable[[bytes, int], tuple[Any, int]]) -> Field:
    """Return a field of at most `MOST_CANDIDATES` values with a u8 count in front."""

    def read_all(data: bytes, at: int) -> tuple[Any, int]:
        count = data[_need(data, at, 1)]
        if count > MOST_CANDIDATES:
            raise PeerError("message", "too many addresses")
        at += 1
        values = []
        for _ in range(count):
            value, at = read(data, at)
            values.append(value)
        return tuple(values), at

    return Field(name, lambda values: bytes([len(values)]) + b"".join(map(write, values)), read_all)


def _read_found(data: bytes, at: int) -> tuple[Found, int]:
    return _one_of(tuple(Found), data[_need(data, at, 1)]), at + 1


def _one_of(values: tuple[Any, ...], index: int) -> Any:
    if index >= len(values):
        raise PeerError("message", "a value is not of those that there are")
    return values[index]


def _write_candidate(candidate: Candidate) -> bytes:
    return bytes([candidate.found]) + _write_address(candidate.address)


def _read_candidate(data: bytes, at: int) -> tuple[Candidate, int]:
    found, at = _read_found(data, at)
    address, at = _read_address(data, at)
    return Candidate(found, address), at


def _write_tried(tried: Tried) -> bytes:
    rtt = NO_RTT if tried.rtt is None else min(int(tried.rtt * 1e6), NO_RTT - 1)
    found = _write_candidate(Candidate(tried.found, tried.address))
    return found + bytes([tuple(Outcome).index(tried.outcome)]) + _U32.pack(rtt)


def _read_tried(data: bytes, at: int) -> tuple[Tried, int]:
    candidate, at = _read_candidate(data, at)
    outcome = _one_of(tuple(Outcome), data[_need(data, at, 1)])
    (rtt,) = _U32.unpack_from(data, _need(data, at + 1, 4))
    return Tried(candidate.found, candidate.address, outcome, None if rtt == NO_RTT else rtt / 1e6), at + 5


_RANGE = Struct(">QQ")
_PORT = Struct(">H")
_ADDRESS_BYTES: Final = {4: 4, 6: 16}
NO_RTT: Final = 0xFFFFFFFF
U8: Final = integer("u8", Struct(">B"))
U32: Final = integer("u32", _U32)
U64: Final = integer("u64", Struct(">Q"))
ADDRESS: Final = "family u8 (4 or 6), address 4 or 16, port u16"
CANDIDATES: Final = counted(f"u8 count, then (found u8, {ADDRESS}) each", _write_candidate, _read_candidate)
TRIED: Final = counted(f"u8 count, then (found u8, {ADDRESS}, outcome u8, rtt u32 µs) each", _write_tried, _read_tried)
RANGES: Final = Field("u32 count, then (start u64, stop u64) each", _write_ranges, _read_ranges)
