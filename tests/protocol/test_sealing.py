"""Sealing and opening in batches: what was sealed comes out once, and nothing else does."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.protocol.acks import Received
from agent.protocol.errors import Drop
from agent.protocol.frames import PIECE_HEADER, PIECE_HEADER_SIZE, piece_word
from agent.protocol.keys import EPOCH_SHIFT, PACKET_NUMBER_LIMIT, NeedsHandshake, PacketKeys
from agent.protocol.packet import (
    BATCH_BYTES,
    HEADER,
    HEADER_SIZE,
    LARGEST_DATAGRAM,
    OVERHEAD,
    SMALLEST_DATAGRAM,
    header_word,
)
from agent.protocol.sealing import PIECE_OVERHEAD, Opener, Sealer, batch_limit
from agent.protocol.transfer import SendTransfer
from tests.support.pair import Memory, picture

EPOCH = 1 << EPOCH_SHIFT
WORD, OTHER = header_word(b"session"), header_word(b"another")
NAME = 7


def transfer(size: int) -> tuple[SendTransfer, bytes]:
    gift = picture(size)
    assert isinstance(gift.source, Memory)
    made = SendTransfer(gift.source, size, gift.digests)
    stream = gift.digests + bytes(gift.source.data)
    made.want([(0, len(stream))])
    return made, stream


class Wire:
    """Keys of one direction at both ends, and what the receiver has seen."""

    def __init__(self, epoch: int = 0, secret: bytes = bytes(32)) -> None:
        self.sealer, self.opener = Sealer(), Opener()
        self.send, self.receive = PacketKeys(secret), PacketKeys(secret)
        for step in range(epoch):
            self.send.commit(step + 1)
            self.receive.commit(step + 1)
        self.received = Received()

    def packet(self, number: int, plain: bytes = b"frames", word: int = WORD) -> bytes:
        return self.sealer.packet(self.send, word, number, plain)

    def open(self, data: bytes, size: int) -> list[tuple[int, bytes]]:
        found, read = self.open_some(data, size)
        assert read == len(data)
        return found

    def open_some(self, data: bytes, size: int, word: int = WORD) -> tuple[list[tuple[int, bytes]], int]:
        """Open what is of this session; return it in the order it came, and how many bytes that was."""
        opened = self.opener.open(memoryview(data), size, word, self.receive, self.received)
        assert all(bytes(plain[PIECE_HEADER_SIZE:]) == piece for plain, piece in opened.run)
        found = [(opened.first + index, bytes(plain)) for index, (plain, _) in enumerate(opened.run)]
        found += [(number, bytes(plain)) for number, plain in opened.others]
        for number, _ in found:
            self.received.add(number, 1, 1, 0.0)
        return found, opened.read

    def pieces(self, source: SendTransfer, number: int, size: int = SMALLEST_DATAGRAM, most: int = 64) -> bytes:
        most = min(most, batch_limit(size))
        return bytes(self.sealer.pieces(self.send, WORD, number, size, NAME, source, most).data)


def parts(found: Sequence[tuple[int, bytes]]) -> bytes:
    """What pieces carry, put together at their offsets."""
    out = b""
    for _, plain in found:
        word, offset = PIECE_HEADER.unpack_from(plain)
        assert word == piece_word(NAME)
        assert offset == len(out)
        out += plain[PIECE_HEADER_SIZE:]
    return out


def test_a_batch_of_one_packet_is_opened() -> None:
    wire = Wire()
    packet = wire.packet(0, b"one frame")
    assert wire.open(packet, len(packet)) == [(0, b"one frame")]


@settings(max_examples=30)
@given(st.integers(1, 200_000), st.sampled_from([SMALLEST_DATAGRAM, 1326, LARGEST_DATAGRAM]), st.integers(1, 64))
def test_a_transfer_in_batches_of_any_size_comes_out_whole(size: int, datagram: int, most: int) -> None:
    wire, (source, stream) = Wire(), transfer(size)
    found: list[tuple[int, bytes]] = []
    while source.waiting():
        data = wire.pieces(source, len(found), datagram, most)
        assert len(data) <= BATCH_BYTES
        found += wire.open(data, datagram)
    assert [number for number, _ in found] == list(range(len(found)))
    assert parts(found) == stream


def test_a_batch_is_as_long_as_it_says() -> None:
    wire, (source, _) = Wire(), transfer(5000)
    listed = wire.sealer.pieces(wire.send, WORD, 0, SMALLEST_DATAGRAM, NAME, source, 10)
    assert (listed.packets, listed.offset, listed.length, len(listed.data)) == (1, 0, 32, PIECE_OVERHEAD + 32)
    batch = wire.sealer.pieces(wire.send, WORD, 1, SMALLEST_DATAGRAM, NAME, source, 3)
    assert (batch.packets, batch.offset, batch.length) == (3, 32, 3 * (SMALLEST_DATAGRAM - PIECE_OVERHEAD))
    assert len(batch.data) == 3 * SMALLEST_DATAGRAM


def test_a_replayed_batch_gives_nothing() -> None:
    wire, (source, _) = Wire(), transfer(5000)
    data = wire.pieces(source, 0)
    assert wire.open(data, SMALLEST_DATAGRAM)
    assert wire.open(data, SMALLEST_DATAGRAM) == []
    assert wire.opener.drops[Drop.DUPLICATE] == 1


def test_a_packet_that_stands_twice_in_one_batch_is_opened_once() -> None:
    wire = Wire()
    one, two, three = (wire.packet(number) for number in (5, 6, 9))
    found = wire.open(one + one + three + two + two + one + three, len(one))
    assert [number for number, _ in found] == [5, 9, 6]
    assert wire.opener.drops[Drop.DUPLICATE] == 4


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=20), max_size=5))
def test_numbers_in_any_order_come_out_once(batches: list[list[int]]) -> None:
    wire = Wire()
    packets = [wire.packet(number, bytes([number])) for number in range(31)]
    seen: set[int] = set()
    for batch in batches:
        found = wire.open(b"".join(packets[number] for number in batch), len(packets[0]))
        fresh = list(dict.fromkeys(number for number in batch if number not in seen))
        assert found == [(number, bytes([number])) for number in fresh]
        seen |= set(fresh)


def test_a_forged_packet_in_a_batch_leaves_the_others_alone() -> None:
    wire = Wire()
    packets = [wire.packet(number, bytes([number] * 9)) for number in range(4)]
    for at in range(len(packets[0])):
        broken = bytearray(packets[1])
        broken[at] ^= 1
        if at < 8:
            continue  # another kind or session: not opened at all
        fresh = Wire()
        found = fresh.open(packets[0] + broken + packets[1] + packets[3], len(broken))
        assert found == [(number, bytes([number] * 9)) for number in (0, 1, 3)]
        assert fresh.opener.drops.total() == 1


def test_a_batch_is_read_up_to_the_first_packet_of_another_session() -> None:
    wire, other = Wire(), Wire(secret=b"x" * 32)
    ours, theirs = wire.packet(0), other.packet(0, word=OTHER)
    data = ours + theirs + ours
    assert wire.open_some(data, len(ours)) == ([(0, b"frames")], len(ours))
    assert other.open_some(data[len(ours) :], len(ours), OTHER) == ([(0, b"frames")], len(ours))


def test_small_packets_cost_no_more_room_than_there_are_of_them() -> None:
    wire = Wire()
    for number in range(100):
        packet = wire.packet(number, bytes(1 + number))
        assert wire.open(packet, len(packet)) == [(number, bytes(1 + number))]
    assert sum(map(len, wire.opener._slots.values())) <= 8


def test_of_more_packets_than_there_is_room_for_the_rest_is_left() -> None:
    wire = Wire()
    for size in (100, LARGEST_DATAGRAM):
        first = wire.received.largest + 1
        packets = [wire.packet(first + number, bytes(size - OVERHEAD)) for number in range(2000)]
        data = b"".join(packets[::-1])
        found: list[int] = []
        while data:
            opened, read = wire.open_some(data, size)
            found += [number - first for number, _ in opened]
            data = data[read:]
        assert found == list(range(2000))[::-1]


def test_a_packet_under_the_word_of_another_session_does_not_open() -> None:
    wire, other = Wire(), Wire(secret=b"x" * 32)
    packet = other.packet(0)
    assert wire.open(packet, len(packet)) == []
    assert wire.opener.drops[Drop.NOT_AUTHENTIC] == 1


@pytest.mark.parametrize("before", [0, 1], ids=["first", "later"])
def test_what_is_too_short_for_any_packet_is_dropped(before: int) -> None:
    wire = Wire()
    for number in range(before):
        assert wire.open(wire.packet(number), OVERHEAD + 6)
    packet = wire.packet(9, b"x")
    for end in range(HEADER_SIZE + 1, OVERHEAD + 1):
        assert wire.open(packet[:end], end) == []
        assert wire.open(packet[:end] * 3, end) == []
    assert wire.opener.drops[Drop.SHORT] == 4 * (OVERHEAD - HEADER_SIZE)
    assert wire.open(packet + packet[:5], len(packet)) == [(9, b"x")]


# --- where the keys change ---


def test_packets_on_both_sides_of_an_epoch_come_out_in_any_order() -> None:
    wire = Wire()
    packets = {number: wire.packet(number, b"12345678") for number in range(EPOCH - 2, EPOCH + 3)}
    order = [EPOCH - 2, EPOCH, EPOCH - 1, EPOCH + 2, EPOCH + 1]
    found = wire.open(b"".join(packets[number] for number in order), len(packets[EPOCH]))
    assert [number for number, _ in found] == order
    assert wire.receive.epoch == 1


def test_batches_of_pieces_up_to_the_end_of_an_epoch_and_from_the_next_come_out() -> None:
    wire, (source, stream) = Wire(), transfer(20_000)
    number, found = EPOCH - 5, list[tuple[int, bytes]]()
    while source.waiting():
        most = min(64, EPOCH - number % EPOCH)
        found += wire.open(wire.pieces(source, number, most=most), SMALLEST_DATAGRAM)
        number = found[-1][0] + 1
    assert parts(found) == stream
    assert (wire.send.epoch, wire.receive.epoch) == (1, 1)


def test_a_forged_number_of_a_later_epoch_moves_no_keys() -> None:
    wire = Wire()
    packet = wire.packet(3)
    for epoch in (1, 2, 100, 1023):
        forged = bytearray(packet)
        HEADER.pack_into(forged, 0, WORD, epoch << EPOCH_SHIFT)
        assert wire.open(bytes(forged), len(forged)) == []
    assert wire.receive.epoch == 0
    assert wire.open(packet, len(packet)) == [(3, b"frames")]


def test_late_packets_of_the_epoch_before_open_and_of_older_ones_do_not() -> None:
    wire = Wire()
    old, late = wire.packet(1), wire.packet(2)
    between, new = wire.packet(EPOCH), wire.packet(2 * EPOCH)
    size = len(new)
    assert wire.open(between + late, size) == [(EPOCH, b"frames"), (2, b"frames")]
    assert wire.open(new + old, size) == [(2 * EPOCH, b"frames")]
    assert wire.opener.drops[Drop.NOT_AUTHENTIC] == 1


def test_nothing_is_sealed_beyond_the_last_number() -> None:
    wire, (source, _) = Wire(epoch=(PACKET_NUMBER_LIMIT >> EPOCH_SHIFT) - 1), transfer(50_000)
    source.take(100)
    assert wire.pieces(source, PACKET_NUMBER_LIMIT - 2, most=2)
    with pytest.raises(NeedsHandshake):
        wire.pieces(source, PACKET_NUMBER_LIMIT - 1, most=2)
    with pytest.raises(NeedsHandshake):
        wire.packet(PACKET_NUMBER_LIMIT)
