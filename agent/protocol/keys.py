"""Packet keys of one direction: AES-256-GCM, changed every 2^22 packets without a word on the wire.

A sealed packet is

    0        1                8               12
    | 0xE4 1 | connection 7   | packet num. 4 | ciphertext | tag 16 |
    |<------------ header ------------------->|

and its header is both the associated data and the nonce. That is safe because a nonce must only
differ from every other under the same key, and headers of one direction differ in their packet
number: a sender never uses a number twice, not even to send the same frames again. The connection
id is chosen by the receiver in the handshake and stays for the life of the keys, but nothing
depends on it: were it to change, two headers would still differ. The two directions, and every
handshake, have keys of their own.

The epoch of a packet is its number >> 22, so both sides know from the number which key seals it:

    secret(0)    from the handshake
    key(e)       HKDF-Expand(secret(e), "tmge-packet-key-v1\\0", 32)
    secret(e+1)  HKDF-Expand(secret(e), "tmge-next-epoch-v1\\0", 32)

RFC 9001 section 6.6 allows 2^23 packets under one AES-GCM key: half of that are used. It also
allows 2^52 forgeries, which no path can carry, so they are not counted here. Numbers end at 2^31
(three terabytes): `NeedsHandshake`.

Not here: which numbers were received already (the session keeps ranges, and must drop duplicates
after opening), and the packing of headers (`packet`).
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from agent.protocol.errors import Drop
from agent.protocol.packet import HEADER_SIZE, TAG_SIZE

EPOCH_SHIFT: Final = 22
PACKET_NUMBER_LIMIT: Final = 1 << 31

Buffer = bytes | bytearray | memoryview

_KEY_LABEL: Final = b"tmge-packet-key-v1\0"
_NEXT_LABEL: Final = b"tmge-next-epoch-v1\0"


class NeedsHandshake(Exception):
    """The packet numbers are used up: nothing more may be sent before a new handshake."""


class PacketKeys:
    """Seal the packets of one direction, or open them: never both with one object.

    It holds three ciphers at most: the current epoch's, the previous one's for packets that come
    late, and the next one's once somebody asked for it. A loop over many packets may take
    `cipher(number >> EPOCH_SHIFT)` once and call its `encrypt_into(header, plaintext, header, out)`
    or `decrypt_into(header, sealed, header, out)` itself. It then owes what `seal_into` and
    `open_into` do beyond that: no number twice and none from PACKET_NUMBER_LIMIT on, and `commit`.
    """

    __slots__ = ("_current", "_next", "_next_secret", "_previous", "_unsealed", "epoch")

    def __init__(self, secret: bytes) -> None:
        self.epoch = 0
        self._previous: AESGCM | None = None
        self._current = _cipher(secret)
        self._next: AESGCM | None = None
        self._next_secret = _expand(secret, _NEXT_LABEL)
        self._unsealed = 0  # the lowest number that `seal_into` may still use

    def cipher(self, epoch: int) -> AESGCM | None:
        """Return the cipher of the current, previous or next epoch, or None; moves nothing."""
        step = epoch - self.epoch
        if step == 0:
            return self._current
        if step == -1:
            return self._previous
        if step == 1 and epoch <= (PACKET_NUMBER_LIMIT - 1) >> EPOCH_SHIFT:
            if self._next is None:
                self._next = _cipher(self._next_secret)
            return self._next
        return None

    def commit(self, epoch: int) -> None:
        """Make `epoch` the current one, as a packet of it was sealed, or opened and is authentic.

        Does nothing for an epoch that is not ahead. The key before the previous one is forgotten.
        ValueError for an epoch that `cipher` would not give.
        """
        if epoch <= self.epoch:
            return
        following = self.cipher(epoch)
        if following is None:
            raise ValueError(f"epoch {epoch} does not follow {self.epoch}")
        self._previous, self._current, self._next = self._current, following, None
        self._next_secret = _expand(self._next_secret, _NEXT_LABEL)
        self.epoch = epoch

    def seal_into(self, header: Buffer, plaintext: Buffer, out: Buffer) -> int:
        """Write ciphertext and tag to `out`, exactly len(plaintext) + 16 bytes; return that length.

        NeedsHandshake at the end of the numbers; ValueError for a number that does not rise, or
        passes over a whole epoch.
        """
        number = _number(header)
        if number >= PACKET_NUMBER_LIMIT:
            raise NeedsHandshake
        if number < self._unsealed:
            raise ValueError(f"packet number {number} was used, or passed over")
        epoch = number >> EPOCH_SHIFT
        cipher = self.cipher(epoch)
        if cipher is None:
            raise ValueError(f"packet number {number} passes over a whole epoch")
        written = cipher.encrypt_into(header, plaintext, header, out)
        self._unsealed = number + 1
        self.commit(epoch)
        return written

    def open_into(self, header: Buffer, sealed: Buffer, out: Buffer) -> int | Drop:
        """Write the plaintext to `out`, exactly len(sealed) - 16 bytes; return its length, or why
        there is none.

        What `out` holds after a Drop means nothing. A forged packet costs one decryption and
        changes no epoch. A replayed one opens again: the session drops numbers that it has seen.
        """
        if len(memoryview(sealed)) < TAG_SIZE:
            return Drop.SHORT
        epoch = _number(header) >> EPOCH_SHIFT
        cipher = self.cipher(epoch)
        if cipher is None:
            return Drop.NOT_AUTHENTIC
        try:
            written = cipher.decrypt_into(header, sealed, header, out)
        except InvalidTag:
            return Drop.NOT_AUTHENTIC
        self.commit(epoch)
        return written


def _number(header: Buffer) -> int:
    view = memoryview(header)
    if len(view) != HEADER_SIZE:
        raise ValueError(f"a packet header has {HEADER_SIZE} bytes")
    return int.from_bytes(view[8:], "big")


def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(_expand(secret, _KEY_LABEL))


def _expand(secret: bytes, label: bytes) -> bytes:
    return HKDFExpand(SHA256(), length=32, info=label).derive(secret)
