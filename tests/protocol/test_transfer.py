"""A picture on its way: whatever comes in whatever order, only what was announced is ever kept."""

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.protocol.acks import Ranges
from agent.protocol.book import ImageGift
from agent.protocol.errors import PeerError
from agent.protocol.transfer import (
    CHUNK,
    DIGEST,
    MAX_IMAGE,
    MAX_REFUSED,
    MAX_SIDE,
    Image,
    ReceiveTransfer,
    SendTransfer,
)
from tests.support.pair import Memory, picture

SIZES = (1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 777)


class Exchange:
    """A gift, its bytes as they travel, and a transfer that receives them."""

    def __init__(self, size: int, gift: ImageGift | None = None, have: tuple[int, ...] = ()) -> None:
        self.gift = gift or picture(size)
        assert isinstance(self.gift.source, Memory)
        self.file = bytes(self.gift.source.data)
        self.stream = self.gift.digests + self.file
        self.sink = Memory(size)
        for index in have:
            self.sink.data[index * CHUNK : (index + 1) * CHUNK] = self.file[index * CHUNK : (index + 1) * CHUNK]
        self.sink.verified = set(have)
        self.transfer = ReceiveTransfer(self.gift.image, self.sink, have)
        self.border = len(self.gift.digests)

    def give(self, start: int, stop: int, flip: bool = False) -> None:
        data = bytearray(self.stream[start:stop])
        if flip:
            data[0] ^= 1
        self.transfer.receive(start, [memoryview(data)])

    def give_all(self) -> None:
        self.give(0, len(self.stream))

    def whole(self) -> bool:
        return self.transfer.complete and bytes(self.sink.data) == self.file


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_in_one_piece_is_complete(size: int) -> None:
    exchange = Exchange(size)
    exchange.give_all()
    assert exchange.whole()
    assert exchange.transfer.verified_bytes() == size
    assert exchange.transfer.missing() == []
    assert exchange.sink.verified == set(range(exchange.gift.image.chunks))


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_complete_before_the_last_byte(size: int) -> None:
    exchange = Exchange(size)
    exchange.give(0, len(exchange.stream) - 1)
    assert not exchange.transfer.complete
    assert exchange.transfer.missing() == [(len(exchange.stream) - 1, len(exchange.stream))]


@settings(max_examples=40)
@given(st.sampled_from(SIZES), st.integers(1, 40_000), st.randoms(use_true_random=False))
def test_pieces_in_any_order_and_overlap_make_the_same_picture(size: int, step: int, chance: random.Random) -> None:
    exchange = Exchange(size)
    length = len(exchange.stream)
    step = max(step, length // 100)
    starts = list(range(0, length, step))
    chance.shuffle(starts)
    for start in starts:
        low, high = max(0, start - chance.randrange(100)), min(length, start + step + chance.randrange(100))
        exchange.give(low, high)
    assert exchange.whole()
    assert exchange.transfer.refused == 0


def test_a_run_of_several_views_is_stored_like_one() -> None:
    exchange = Exchange(2 * CHUNK)
    views = [memoryview(exchange.stream)[at : at + 1000] for at in range(0, len(exchange.stream), 1000)]
    exchange.transfer.receive(0, views)
    assert exchange.whole()


def test_bytes_beyond_the_end_are_refused() -> None:
    exchange = Exchange(1000)
    with pytest.raises(PeerError):
        exchange.transfer.receive(len(exchange.stream) - 1, [memoryview(b"xx")])
    with pytest.raises(PeerError):
        exchange.transfer.receive((1 << 64) - 1, [memoryview(b"x")])


@pytest.mark.parametrize("list_first", [True, False])
def test_a_wrong_chunk_is_not_kept_and_is_fetched_again(list_first: bool) -> None:
    exchange = Exchange(3 * CHUNK)
    border, end = exchange.border, len(exchange.stream)
    parts = [(0, border, False), (border, border + CHUNK, True), (border + CHUNK, end, False)]
    for start, stop, flip in parts if list_first else reversed(parts):
        exchange.give(start, stop, flip)
    assert exchange.sink.verified == {1, 2}
    assert exchange.transfer.take_again() == [(border, border + CHUNK)]
    assert exchange.transfer.take_again() == []
    assert exchange.transfer.missing() == [(border, border + CHUNK)]
    exchange.give(border, border + CHUNK)
    assert exchange.whole()


def test_what_is_verified_is_never_written_again() -> None:
    exchange = Exchange(2 * CHUNK)
    exchange.give(0, exchange.border + CHUNK)
    exchange.give(exchange.border, exchange.border + CHUNK, flip=True)  # Memory would not allow it
    exchange.give(exchange.border + CHUNK, len(exchange.stream))
    assert exchange.whole()


def test_a_transfer_with_too_many_wrong_chunks_has_failed() -> None:
    exchange = Exchange(2 * CHUNK)
    exchange.give(0, exchange.border)
    for _ in range(MAX_REFUSED + 1):
        assert exchange.transfer.failure is None
        exchange.give(exchange.border, exchange.border + CHUNK, flip=True)
    assert exchange.transfer.failure is not None
    exchange.give(exchange.border, len(exchange.stream))
    assert not exchange.transfer.complete


@pytest.mark.parametrize("chunks_first", [True, False])
def test_a_list_that_was_not_announced_fails_the_transfer(chunks_first: bool) -> None:
    exchange = Exchange(2 * CHUNK)
    parts = [(0, exchange.border, True), (exchange.border, len(exchange.stream), False)]
    for start, stop, flip in reversed(parts) if chunks_first else parts:
        exchange.give(start, stop, flip)
    assert "list" in (exchange.transfer.failure or "")
    assert not exchange.transfer.complete
    assert exchange.sink.verified == set()


def test_right_chunks_of_a_whole_that_was_not_announced_fail_the_transfer() -> None:
    gift = picture(2 * CHUNK)
    image = gift.image
    other = Image(image.size, image.format, 8, 8, bytes(32), image.digests_sha256, b"")
    exchange = Exchange(2 * CHUNK, ImageGift(other, gift.source, gift.digests))
    exchange.give_all()
    assert "whole" in (exchange.transfer.failure or "")
    assert not exchange.transfer.complete


@pytest.mark.parametrize("have", [(), (0,), (1, 3), (0, 1, 2, 3)])
def test_a_picture_goes_on_with_the_chunks_that_are_there(have: tuple[int, ...]) -> None:
    exchange = Exchange(3 * CHUNK + 777, have=have)
    wanted = exchange.transfer.missing()
    missing = sum(stop - start for start, stop in wanted)
    assert exchange.transfer.verified_bytes() == len(exchange.stream) - missing
    for start, stop in wanted:
        exchange.give(start, stop)
    assert exchange.whole()
    assert exchange.transfer.verified_bytes() == 3 * CHUNK + 777


def test_a_picture_goes_on_although_its_list_comes_last() -> None:
    exchange = Exchange(4 * CHUNK, have=(0, 2, 3))
    exchange.give(exchange.border + CHUNK, exchange.border + 2 * CHUNK)
    exchange.give(0, exchange.border)
    assert exchange.transfer.failure is None
    assert exchange.whole()


@pytest.mark.parametrize("size", [0, -1, MAX_IMAGE + 1, (1 << 63) - 1])
def test_a_picture_of_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(PeerError, match="size"):
        Image(size, "PNG", 1, 1, bytes(32), bytes(32), b"").check()


@pytest.mark.parametrize("sides", [(0, 1), (1, 0), (MAX_SIDE + 1, 1), (1, 1 << 31)])
def test_a_picture_of_impossible_dimensions_is_refused(sides: tuple[int, int]) -> None:
    with pytest.raises(PeerError, match="dimensions"):
        Image(1, "PNG", *sides, bytes(32), bytes(32), b"").check()


# --- the owner's side ---


def sending(size: int = 2 * CHUNK) -> tuple[SendTransfer, bytes]:
    gift = picture(size)
    assert isinstance(gift.source, Memory)
    return SendTransfer(gift.source, size, gift.digests), gift.digests + bytes(gift.source.data)


def test_nothing_is_sent_that_nobody_asked_for() -> None:
    transfer, _ = sending()
    assert not transfer.waiting()
    transfer.lost(5, 5)
    assert not transfer.waiting()


def test_a_batch_does_not_mix_the_list_with_the_file() -> None:
    transfer, stream = sending()
    transfer.want([(10, len(stream))])
    assert transfer.take(1 << 20) == (10, 2 * DIGEST - 10)
    assert transfer.take(1000) == (2 * DIGEST, 1000)


def test_views_are_filled_with_the_list_and_with_the_file() -> None:
    transfer, stream = sending()
    for offset in (0, 7, 2 * DIGEST, 2 * DIGEST + 70_000):
        views = [bytearray(20), bytearray(20), bytearray(3)]
        transfer.fill([memoryview(view) for view in views], offset)
        assert b"".join(views) == stream[offset : offset + 43]


def test_asking_beyond_the_end_ends_the_session() -> None:
    transfer, stream = sending()
    for ranges in [(0, len(stream) + 1)], [(0, 5), (9, 1 << 63)]:
        with pytest.raises(PeerError) as caught:
            transfer.want(ranges)
        assert caught.value.code == "fetch"
    assert not transfer.waiting()


def test_what_is_asked_for_twice_is_sent_twice() -> None:
    transfer, _ = sending()
    transfer.want([(0, 40)])
    assert transfer.take(100) == (0, 40)
    transfer.arrived(0, 40)
    transfer.want([(10, 20)])
    assert transfer.arrived_bytes == 30
    assert transfer.take(100) == (10, 10)


def test_the_end_of_what_is_on_its_way_is_sent_twice_and_not_thrice() -> None:
    transfer, _ = sending()
    transfer.want([(0, 30), (50, 90)])
    for _ in range(2):
        transfer.take(100)
    transfer.arrived(60, 70)
    assert transfer.repeat(35)
    assert [transfer.take(100) for _ in range(3)] == [(25, 5), (50, 10), (70, 20)]
    assert not transfer.waiting()
    assert not transfer.repeat(35)


def test_what_has_arrived_is_not_sent_twice() -> None:
    transfer, _ = sending()
    transfer.want([(0, 40)])
    transfer.take(100)
    transfer.arrived(0, 40)
    assert not transfer.repeat(40)


class Delivery(RuleBasedStateMachine):
    """A transfer between both sides: pieces are lost, repeated, out of order, and the source is at times wrong."""

    @initialize(size=st.sampled_from(SIZES), have=st.sets(st.integers(0, 3)))
    def begin(self, size: int, have: set[int]) -> None:
        chunks = -(-size // CHUNK)
        self.exchange = Exchange(size, have=tuple(sorted(index for index in have if index < chunks)))
        gift = self.exchange.gift
        self.out = SendTransfer(gift.source, size, gift.digests)
        self.out.want(self.exchange.transfer.missing())
        self.flying: list[tuple[int, bytes]] = []
        self.late: list[tuple[int, bytes]] = []

    @rule(most=st.sampled_from([100, 66_000]))
    def send_the_end_twice(self, most: int) -> None:
        self.out.repeat(most)

    @precondition(lambda self: self.out.waiting())
    @rule(most=st.sampled_from([100, 20_000, 66_000]), wrong=st.integers(0, 9).map(lambda chance: chance == 0))
    def send(self, most: int, wrong: bool) -> None:
        offset, length = self.out.take(most)
        assert 0 < length <= most
        data = bytearray(length)
        self.out.fill([memoryview(data)], offset)
        assert data == self.exchange.stream[offset : offset + length]
        if wrong and offset >= self.exchange.border:
            data[length // 2] ^= 1
        self.flying.append((offset, bytes(data)))

    def arrive(self, piece: tuple[int, bytes]) -> None:
        offset, data = piece
        self.exchange.transfer.receive(offset, [memoryview(data)])
        self.out.arrived(offset, offset + len(data))
        self.out.want(self.exchange.transfer.take_again())

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), twice=st.booleans())
    def deliver(self, data: st.DataObject, twice: bool) -> None:
        piece = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        self.arrive(piece)
        if twice:
            self.late.append(piece)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), mistaken=st.booleans())
    def lose(self, data: st.DataObject, mistaken: bool) -> None:
        offset, piece = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        self.out.lost(offset, offset + len(piece))
        if mistaken:
            self.late.append((offset, piece))

    @precondition(lambda self: self.late)
    @rule()
    def repeat(self) -> None:
        offset, data = self.late.pop(0)  # the session would drop a duplicate: only its bytes come again
        self.exchange.transfer.receive(offset, [memoryview(data)])
        self.out.want(self.exchange.transfer.take_again())

    @rule()
    def nothing(self) -> None:
        """There is always something that can happen, also once all has arrived."""

    @invariant()
    def only_right_chunks_are_verified(self) -> None:
        file = self.exchange.file
        for index in self.exchange.sink.verified:
            at = slice(index * CHUNK, (index + 1) * CHUNK)
            assert self.exchange.sink.data[at] == file[at]
        verified = {index for start, stop in self.exchange.transfer.verified for index in range(start, stop)}
        assert verified == self.exchange.sink.verified

    @invariant()
    def what_is_missing_is_wanted_or_on_its_way(self) -> None:
        if self.exchange.transfer.failure is None:
            coming = Ranges(*self.out._wanted, *((at, at + len(data)) for at, data in self.flying))
            assert all(coming.covers(*span) for span in self.exchange.transfer.missing())

    def teardown(self) -> None:
        if not hasattr(self, "exchange"):
            return
        while self.flying or self.out.waiting():
            if not self.flying:
                self.send(66_000, wrong=False)
            self.arrive(self.flying.pop())
        assert self.exchange.whole() or self.exchange.transfer.refused > MAX_REFUSED
        assert hashlib.sha256(self.exchange.sink.data).digest() == self.exchange.gift.image.sha256


Delivery.TestCase.settings = settings(max_examples=30, stateful_step_count=30)
TestDelivery = Delivery.TestCase
