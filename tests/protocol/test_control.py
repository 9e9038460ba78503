"""The control stream: messages come out in order and once, whatever the packets under it go through."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.protocol import messages as m
from agent.protocol.control import MAX_EARLY, WINDOW, ControlIn, ControlOut
from agent.protocol.errors import PeerError

ID = bytes(range(16))
WISHES = st.lists(st.text(max_size=20), min_size=1, max_size=8)


def stream(wishes: list[str]) -> tuple[list[m.Message], bytes]:
    messages: list[m.Message] = [m.AskQuote(ID, 60, wish) for wish in wishes]
    return messages, b"".join(map(m.encode, messages))


@given(WISHES, st.randoms(use_true_random=False))
def test_pieces_in_any_order_number_and_overlap_give_each_message_once(
    wishes: list[str], chance: random.Random
) -> None:
    messages, data = stream(wishes)
    pieces = []
    for start in range(0, len(data), 7):  # together they cover all of it
        low, high = max(0, start - chance.randrange(10)), start + 7 + chance.randrange(10)
        pieces += [(low, data[low:high])] * chance.randint(1, 3)
    chance.shuffle(pieces)
    control, found = ControlIn(), list[m.Message]()
    for offset, piece in pieces:
        found += control.receive(offset, piece)
    assert found == messages


def test_a_stream_byte_by_byte_from_behind_comes_out_at_the_first_byte() -> None:
    messages, data = stream(["one", "two"])
    control = ControlIn()
    for at in range(len(data) - 1, 0, -1):
        assert list(control.receive(at, data[at : at + 1])) == []
    assert list(control.receive(0, data[:1])) == messages


def test_a_piece_that_starts_early_may_be_said_again_and_longer() -> None:
    messages, data = stream(["a wish"])
    control = ControlIn()
    assert list(control.receive(10, data[10:12])) == []
    assert list(control.receive(10, data[10:])) == []
    assert list(control.receive(10, data[10:11])) == []
    assert list(control.receive(0, data[:10])) == messages


def test_a_stream_may_run_as_far_ahead_as_its_window_and_no_further() -> None:
    control = ControlIn()
    assert list(control.receive(WINDOW - 1, b"x")) == []
    with pytest.raises(PeerError) as caught:
        list(control.receive(WINDOW, b"x"))
    assert caught.value.code == "flow_control"


def test_the_window_moves_with_what_was_read() -> None:
    messages, data = stream(["a wish"])
    control = ControlIn()
    assert list(control.receive(0, data)) == messages
    assert list(control.receive(len(data) + WINDOW - 1, b"x")) == []


@pytest.mark.parametrize("size", [1000, 1], ids=["long", "of one byte"])
def test_pieces_without_end_are_refused_before_they_fill_the_memory(size: int) -> None:
    control = ControlIn()
    kept = 0

    def flood() -> None:
        nonlocal kept
        for offset in range(1, WINDOW, 2):
            list(control.receive(offset, bytes(size)))
            kept += 1

    with pytest.raises(PeerError, match="overlaps itself"):
        flood()
    assert kept <= MAX_EARLY
    assert kept * size <= 2 * WINDOW


def test_a_message_without_end_is_refused() -> None:
    control = ControlIn()
    with pytest.raises(PeerError, match="longer than it may be"):
        list(control.receive(0, (m.MAX_MESSAGE + 1).to_bytes(4, "big")))


def test_nothing_leaves_beyond_the_window_until_something_arrived() -> None:
    control = ControlOut()
    for _ in range(5):
        control.queue(m.Quote(ID, "x" * m.MAX_QUOTE, "", ""))
    taken = []
    while control.waiting():
        taken.append(control.take(1000))
    assert taken[-1][0] + len(taken[-1][1]) == WINDOW
    control.acknowledged(0, 1000)
    offset, data = control.take(5000)
    assert (offset, len(data)) == (WINDOW, 1000)


def test_the_end_of_the_offsets_is_an_error_not_a_wrap() -> None:
    control = ControlOut()
    control._base = (1 << 32) - 10
    with pytest.raises(PeerError) as caught:
        control.queue(m.Accept(ID))
    assert caught.value.code == "exhausted"


class Stream(RuleBasedStateMachine):
    """One direction of a session: packets are lost, reordered, repeated; some losses are mistaken."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.into = ControlOut(), ControlIn()
        self.said: list[m.Message] = []
        self.heard: list[m.Message] = []
        self.flying: list[tuple[int, bytes]] = []
        self.late: list[tuple[int, bytes]] = []

    @rule(wish=st.text(max_size=20))
    def say(self, wish: str) -> None:
        self.said.append(m.AskQuote(ID, 60, wish))
        self.out.queue(self.said[-1])

    @precondition(lambda self: self.out.waiting())
    @rule(most=st.integers(1, 40))
    def send(self, most: int) -> None:
        offset, data = self.out.take(most)
        assert 0 < len(data) <= most
        self.flying.append((offset, data))

    def arrive(self, packet: tuple[int, bytes]) -> None:
        self.heard += self.into.receive(*packet)
        self.out.acknowledged(packet[0], packet[0] + len(packet[1]))

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), twice=st.booleans())
    def deliver(self, data: st.DataObject, twice: bool) -> None:
        packet = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        self.arrive(packet)
        if twice:
            self.late.append(packet)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), mistaken=st.booleans())
    def lose(self, data: st.DataObject, mistaken: bool) -> None:
        packet = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        self.out.lost(packet[0], packet[0] + len(packet[1]))
        if mistaken:
            self.late.append(packet)

    @precondition(lambda self: self.late)
    @rule()
    def deliver_late(self) -> None:
        self.arrive(self.late.pop(0))

    @invariant()
    def heard_is_a_beginning_of_what_was_said(self) -> None:
        assert self.heard == self.said[: len(self.heard)]

    def teardown(self) -> None:
        while self.flying or self.out.waiting():
            self.arrive(self.flying.pop() if self.flying else self.out.take(30))
        assert self.heard == self.said
        assert self.out.empty()
        assert self.into._early == {}


Stream.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestStream = Stream.TestCase
