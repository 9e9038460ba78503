"""Datagrams of the peer protocol inside those of a relay, and out again: whole batches, one copy each."""

from collections.abc import Iterator
from typing import Final

from rendezvous.contract.relay import HEADER_SIZE, Kind

LARGEST_BATCH: Final = 65_507  # UDP's own limit over IPv4


def header_of(binding: bytes) -> bytes:
    """Return what stands before each datagram of a binding."""
    return bytes([Kind.DATA]) + binding


def wrap(header: bytes, data: memoryview | bytes, size: int) -> Iterator[tuple[bytes, int]]:
    """Yield a batch of datagrams of `size` bytes each, but the last, with a header before each; and their new size.

    It is two batches where one would be too large to be sent at once.
    """
    view, outer = memoryview(data), size + HEADER_SIZE
    step = LARGEST_BATCH // outer * size
    for begin in range(0, len(view), step):
        parts: list[bytes | memoryview] = []
        for at in range(begin, min(begin + step, len(view)), size):
            parts += header, view[at : min(at + size, begin + step)]
        yield b"".join(parts), outer


def unwrap(view: memoryview, size: int) -> tuple[bytes, bytes, int]:
    """Read the datagrams at the front of a batch that have one header: return it, what is inside, and the bytes read.

    Inside each but the last are `size - HEADER_SIZE` bytes. The first must be one of DATA.
    """
    header = bytes(view[:HEADER_SIZE])
    end = size
    while len(view) - end > HEADER_SIZE and view[end : end + HEADER_SIZE] == header:
        end += size
    inner = b"".join([view[at + HEADER_SIZE : at + size] for at in range(0, end, size)])
    return header, inner, min(end, len(view))
