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
SIZES_KEPT: Final = 8


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


class Opened(NamedTuple):
    """What a batch held for one session, good until the opener's next call.

    First `run`: packets numbered from `first` on, each as (frames, the bytes behind the header of a PIECE frame). Then
    `others`: (number, frames), in the order they came. `read` counts the bytes of all of it, and of what was dropped.
    """

    first: int
    run: list[tuple[memoryview, memoryview]]
    others: list[tuple[int, memoryview]]
    read: int


class Opener:
    """Opens received datagrams of one agent."""

    def __init__(self) -> None:
        self._plain = memoryview(bytearray(1 << 16))
        self._slots: dict[int, list[tuple[memoryview, memoryview]]] = {}
        self.drops: Counter[Drop] = Counter()

    def open(self, data: memoryview, size: int, word: int, keys: PacketKeys, received: Received) -> Opened:
        """Open each authentic, new packet of a batch.

        Stops at a datagram whose header does not begin with `word`: it is not of this session; and after as many as
        there is room for. The caller adds the numbers to `received`; a number that stands twice is returned once.
        """
        if len(data) > len(self._plain):
            data = data[: len(self._plain) // size * size]
        first, run, at = self._open_run(data, size, word, keys, received)
        if at == len(data):
            return Opened(first, run, [], at)
        others, read = self._open_others(data, at, size, word, keys, received, range(first, first + len(run)))
        return Opened(first, run, others, read)

    def _open_run(
        self, data: memoryview, size: int, word: int, keys: PacketKeys, received: Received
    ) -> tuple[int, list[tuple[memoryview, memoryview]], int]:
        """Open what comes as it was sent: full datagrams of one epoch, with new numbers, one after the other."""
        if size <= OVERHEAD:
            return 0, [], 0
        number = first = HEADER.unpack_from(data)[1]
        count = len(data) // size
        cipher = keys.cipher(first >> EPOCH_SHIFT)
        if first <= received.largest or cipher is None or (first + count) >> EPOCH_SHIFT != first >> EPOCH_SHIFT:
            return 0, [], 0
        slots = self._laid_out(size, count)
        unpack, decrypt_into, at = HEADER.unpack_from, cipher.decrypt_into, 0
        try:
            for plain, _ in slots[:count]:
                if unpack(data, at) != (word, number):
                    break
                header = data[at : at + HEADER_SIZE]
                decrypt_into(header, data[at + HEADER_SIZE : at + size], header, plain)
                number += 1
                at += size
        except InvalidTag:
            pass  # counted when the others are opened
        if number > first:
            keys.commit(first >> EPOCH_SHIFT)
        return first, slots[: number - first], at

    def _open_others(
        self,
        data: memoryview,
        start: int,
        size: int,
        word: int,
        keys: PacketKeys,
        received: Received,
        run: range,
    ) -> tuple[list[tuple[int, memoryview]], int]:
        """Open what is lost in between, out of order, shorter or not authentic, from byte `start` on."""
        opened: list[tuple[int, memoryview]] = []
        seen: set[int] = set()
        plain_at = len(run) * (size - OVERHEAD)
        for at in range(start, len(data), size):
            end = min(at + size, len(data))
            if end - at <= OVERHEAD:
                self.drops[Drop.SHORT] += 1
                continue
            begins, number = HEADER.unpack_from(data, at)
            if begins != word:
                return opened, at
            if number in seen or number in run or received.seen(number):
                self.drops[Drop.DUPLICATE] += 1
                continue
            plain_end = plain_at + end - at - OVERHEAD
            plain = self._plain[plain_at:plain_end]
            drop = keys.open_into(data[at : at + HEADER_SIZE], data[at + HEADER_SIZE : end], plain)
            if isinstance(drop, Drop):
                self.drops[drop] += 1
                continue
            seen.add(number)
            opened.append((number, plain))
            plain_at = plain_end
        return opened, len(data)

    def _laid_out(self, size: int, count: int) -> list[tuple[memoryview, memoryview]]:
        """Cut the buffer for at least `count` datagrams of one size; the cuts for the last few sizes are kept."""
        slots = self._slots.get(size)
        if slots is None:
            if len(self._slots) >= SIZES_KEPT:
                self._slots.clear()
            slots = self._slots[size] = []
        step = size - OVERHEAD
        stop = min(count, len(self._plain) // step) * step
        for at in range(len(slots) * step, stop, step):
            plain = self._plain[at : at + step]
            slots.append((plain, plain[PIECE_HEADER_SIZE:]))
        return slots
