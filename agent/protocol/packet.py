"""Datagrams as they cross the core's doors, and the header of a sealed packet.

    0        1                              8            12
    +--------+------------------------------+------------+------------------+-----+
    | 0xE4   | receiver's connection id, 7  | number, 4  | sealed frames …  | tag |
    +--------+------------------------------+------------+------------------+-----+

All integers are big-endian. The header is the associated data and the nonce of AES-256-GCM. The first byte keeps
clear of the ranges that RFC 7983 gives to STUN, ZRTP, DTLS, TURN and RTP, so one port can carry them all.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final

Address = tuple[str, int]

DATA: Final = 0xE4
HEADER: Final = Struct(">QI")  # kind and connection id, packet number
HEADER_SIZE: Final = HEADER.size
TAG_SIZE: Final = 16
CONNECTION_ID_SIZE: Final = 7
OVERHEAD: Final = HEADER_SIZE + TAG_SIZE
SMALLEST_DATAGRAM: Final = 1200  # what every path must carry (RFC 9000 section 14)
LARGEST_DATAGRAM: Final = 1452  # 1500 less IPv6 and UDP headers
BATCH_BYTES: Final = 65_000  # most bytes of one UDP_SEGMENT send; UDP's own limit is 65,507
BATCH_PACKETS: Final = 64  # most segments that kernels take in one send


@dataclass(frozen=True, slots=True)
class Datagrams:
    """One or several datagrams of one address, back to back in `data`, each of `size` bytes but the last."""

    address: Address
    data: memoryview | bytes
    size: int


def header_word(connection_id: bytes) -> int:
    """Return the first eight bytes of a sealed packet's header as an integer."""
    return DATA << 56 | int.from_bytes(connection_id, "big")
