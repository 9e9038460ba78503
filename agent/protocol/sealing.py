"""Sealing and opening of packets, in batches, on buffers that are made once.

The hot path of a transfer is here: what is done for every packet is a header, a copy-free slice and one call of
AES-256-GCM. Nothing here decides anything: `session` says what goes where.
"""

from collections import Counter
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag

from agent.protocol.acks import Received
from agent.protocol.errors import Drop
from agent.protocol.frames import PIECE_HEADER, PIECE_HEADER_SIZE, piece_word
from agent.protocol.keys import EPOCH_SHIFT, PACKET_NUMBER_LIMIT, NeedsHandshake, PacketKeys
from agent.protocol.packet import BATCH_BYTES, BATCH_PACKETS, HEADER, HEADER_SIZE, OVERHEAD, TAG_SIZE
from agent.protocol.transfer import SendTransfer

PIECE_OVERHEAD: Final = OVERHEAD + PIECE_HEADER_SIZE


def batch_limit(datagram_size: int) -> int:
    """Return how many datagrams of this size fit one batch."""
    return min(BATCH_PACKETS, BATCH_BYTES // datagram_size)


class _Slot(NamedTuple):
    """Where one datagram of a batch is put together, and at which positions of the two buffers."""

    data: memoryview
    plain: memoryview
    header: memoryview
    sealed: memoryview
    at: int
    plain_at: int

    def shortened(self, length: int) -> "_Slot":
        """Return the slot for a last datagram with `length` bytes of the file."""
        plain = self.plain[: PIECE_HEADER_SIZE + length]
        return self._replace(data=self.data[:length], plain=plain, sealed=self.sealed[: len(plain) + TAG_SIZE])


class Batch(NamedTuple):
    """`packets` sealed datagrams back to back; they carry `length` bytes of the transfer from `offset` on."""

    data: memoryview
    packets: int
    offset: int
    length: int


class Sealer:
    """Builds sealed datagrams of one agent; `pieces` reuses its buffers at every call."""

    def __init__(self) -> None:
        self._size = 0
        self._plain = memoryview(bytearray(BATCH_BYTES))
        self._sealed = memoryview(bytearray(BATCH_BYTES))
        self._slots: list[_Slot] = []

    def packet(self, keys: PacketKeys, word: int, number: int, plain: bytes) -> bytes:
        """Seal one packet of control frames."""
        out = bytearray(OVERHEAD + len(plain))
        HEADER.pack_into(out, 0, word, number)
        view = memoryview(out)
        keys.seal_into(view[:HEADER_SIZE], plain, view[HEADER_SIZE:])
        return bytes(out)

    def pieces(
        self, keys: PacketKeys, word: int, number: int, size: int, name: int, transfer: SendTransfer, most: int
    ) -> Batch:
        """Seal at most `most` datagrams of `size` bytes of one transfer, numbered from `number` on.

        The numbers must lie in one epoch. The batch is good until the next call. OSError where the source cannot
        be read.
        """
        if size != self._size:
            self._lay_out(size)
        payload = size - PIECE_OVERHEAD
        offset, length = transfer.take(most * payload)
        full, rest = divmod(length, payload)
        slots = self._slots[:full]
        if rest:
            slots.append(self._slots[full].shortened(rest))
        transfer.fill([slot.data for slot in slots], offset)
        cipher = keys.cipher(number >> EPOCH_SHIFT)
        if cipher is None or number + len(slots) > PACKET_NUMBER_LIMIT:
            raise NeedsHandshake
        word_of_piece, position = piece_word(name), offset
        encrypt_into, put_header, put_piece = cipher.encrypt_into, HEADER.pack_into, PIECE_HEADER.pack_into
        whole, plain_whole = self._sealed, self._plain
        for _, plain, header, sealed, at, plain_at in slots:
            put_header(whole, at, word, number)
            put_piece(plain_whole, plain_at, word_of_piece, position)
            encrypt_into(header, plain, header, sealed)
            number += 1
            position += payload
        keys.commit((number - 1) >> EPOCH_SHIFT)
        end = full * size + (PIECE_OVERHEAD + rest if rest else 0)
        return Batch(self._sealed[:end], len(slots), offset, length)

    def _lay_out(self, size: int) -> None:
        self._size = size
        self._slots = []
        for index in range(batch_limit(size)):
            at, plain_at = index * size, index * (size - OVERHEAD)
            plain = self._plain[plain_at : plain_at + size - OVERHEAD]
            header = self._sealed[at : at + HEADER_SIZE]
            sealed = self._sealed[at + HEADER_SIZE : at + size]
            self._slots.append(_Slot(plain[PIECE_HEADER_SIZE:], plain, header, sealed, at, plain_at))


class Opener:
    """Opens received datagrams of one agent; what `open` returns is good until its next call."""

    def __init__(self) -> None:
        self._plain = memoryview(bytearray(1 << 16))
        self.drops: Counter[Drop] = Counter()

    def open(
        self, data: memoryview, size: int, word: int, keys: PacketKeys, received: Received
    ) -> tuple[list[tuple[int, memoryview]], int]:
        """Return (number, frames) of each authentic, new packet of a batch, in the order they came, and the bytes read.

        Stops at a datagram whose header does not begin with `word`: it is not of this session. The caller adds the
        numbers to `received`; a number that stands twice in one batch is returned once.
        """
        opened: list[tuple[int, memoryview]] = []
        largest, plain_at, epoch, cipher = received.largest, 0, -1, None
        fresh: set[int] | None = None  # numbers of this batch, kept once one came out of order
        for at in range(0, len(data), size):
            end = min(at + size, len(data))
            if end - at <= OVERHEAD:
                self.drops[Drop.SHORT] += 1
                continue
            begins, number = HEADER.unpack_from(data, at)
            if begins != word:
                return opened, at
            if number <= largest:
                if fresh is None:
                    fresh = {seen for seen, _ in opened}
                if number in fresh or received.seen(number):
                    self.drops[Drop.DUPLICATE] += 1
                    continue
            if number >> EPOCH_SHIFT != epoch:
                epoch = number >> EPOCH_SHIFT
                cipher = keys.cipher(epoch)
            plain_end = plain_at + end - at - OVERHEAD
            plain = self._plain[plain_at:plain_end]
            header = data[at : at + HEADER_SIZE]
            try:
                if cipher is None:
                    raise InvalidTag
                cipher.decrypt_into(header, data[at + HEADER_SIZE : end], header, plain)
            except InvalidTag:
                self.drops[Drop.NOT_AUTHENTIC] += 1
                continue
            keys.commit(epoch)
            if fresh is not None:
                fresh.add(number)
            largest = max(largest, number)
            opened.append((number, plain))
            plain_at = plain_end
        return opened, len(data)
