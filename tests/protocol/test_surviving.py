"""What happens to a transfer when paths die, come back, get lossy or change: it goes on, within a second or so."""

import pytest

from agent.protocol.candidates import PathKind
from agent.protocol.events import SessionOpened
from agent.protocol.request import Kind, Phase
from tests.support.meeting import (
    ADDRESS_RESTRICTED,
    FULL_CONE,
    NONE,
    PORT_RESTRICTED,
    SYMMETRIC,
    Front,
    Meeting,
)
from tests.support.pair import Memory, picture

RATE = 1_250_000  # bytes a second
SIZE = 4_000_000


class Transfer(Meeting):
    """Alice fetches a picture from Bob over the best path, which they have found."""

    def __init__(self, one: Front, other: Front, size: int = SIZE, kind: PathKind = PathKind.PUNCHED) -> None:
        super().__init__(one, other, rate=RATE, queue=250_000)
        self.start()
        self.connect()
        assert self.until(kind), self.kinds()
        self.gift = picture(size)
        self.bob.says = lambda asked: self.gift
        self.began = self.net.now
        self.id = self.alice.ask(Kind.IMAGE, self.bob)
        self.run(0.7)

    def run(self, seconds: float) -> None:
        self.net.run_for(seconds)

    def verified(self) -> int:
        return len(self.alice.sinks[self.id].verified)

    def goes_on(self, within: float) -> float:
        """Run until more chunks arrive; return after how long that was."""
        began, before = self.net.now, self.verified()
        assert self.net.run_until(lambda: self.verified() > before + 2, began + within), self.kinds()
        return self.net.now - began

    def finish(self, within: float) -> None:
        assert self.net.run_until(lambda: self.alice.phase(self.id) is Phase.DONE, self.net.now + within), self.kinds()
        assert isinstance(self.gift.source, Memory)
        assert self.alice.sinks[self.id].data == self.gift.source.data
        for person in (self.alice, self.bob):
            assert sum(isinstance(event, SessionOpened) for event in person.events) == 1


PAIRS = [(NONE, PORT_RESTRICTED), (PORT_RESTRICTED, NONE), (PORT_RESTRICTED, PORT_RESTRICTED), (SYMMETRIC, FULL_CONE)]


def kind_of(one: Front, other: Front) -> PathKind:
    return PathKind.DIRECT if NONE in (one, other) else PathKind.PUNCHED


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_direct_path_that_dies_is_left_for_the_relay_within_a_second_and_returned_to(
    one: Front, other: Front
) -> None:
    meeting = Transfer(one, other, 5_000_000, kind_of(one, other))
    meeting.cut()
    assert meeting.goes_on(within=1.0) < 1.0
    meeting.run(2)
    assert meeting.kinds() == (PathKind.RELAY_UDP, PathKind.RELAY_UDP)
    meeting.cut(False)
    assert meeting.until(kind_of(one, other), seconds=16)
    meeting.finish(15)


def test_a_relay_that_dies_while_the_path_is_direct_is_not_noticed() -> None:
    meeting = Transfer(PORT_RESTRICTED, PORT_RESTRICTED)
    for link in meeting.relayed:
        link.path.down = True
    meeting.finish(SIZE / RATE + 1)
    assert meeting.kinds() == (PathKind.PUNCHED, PathKind.PUNCHED)


@pytest.mark.parametrize("who", [0, 1])
def test_a_nat_that_forgets_everything_costs_less_than_a_second_and_the_hole_is_punched_anew(who: int) -> None:
    meeting = Transfer(PORT_RESTRICTED, PORT_RESTRICTED, 5_000_000)
    meeting.sides[who].nats[0].flush()
    assert meeting.goes_on(within=1.0) < 1.0
    assert meeting.until(PathKind.PUNCHED, seconds=3)
    meeting.finish(15)


@pytest.mark.parametrize("who", [0, 1])
def test_a_nat_that_forgets_in_front_of_one_that_is_not_strict_is_followed_without_the_relay(who: int) -> None:
    meeting = Transfer(FULL_CONE, FULL_CONE, SIZE)
    meeting.sides[who].nats[0].flush()
    meeting.goes_on(within=1.0)
    meeting.finish(15)
    assert meeting.until(PathKind.PUNCHED, seconds=16)


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize(("one", "other"), [(NONE, NONE), (NONE, PORT_RESTRICTED), (ADDRESS_RESTRICTED, FULL_CONE)])
def test_a_side_that_gets_another_address_is_back_within_seconds(one: Front, other: Front, who: int) -> None:
    meeting = Transfer(one, other, 5_000_000, kind_of(one, other))
    side = meeting.sides[who]
    if side.lan is meeting.net.public:
        side.move((f"198.51.{103 + who}.9", 4009))
    else:
        side.move((f"192.168.{1 + who}.77", 4009), side.lan)
    assert meeting.goes_on(within=3.0) < 1.5
    assert meeting.until(kind_of(one, other), seconds=6), meeting.kinds()
    meeting.finish(15)


def test_a_path_that_comes_and_goes_costs_little_and_no_byte() -> None:
    meeting = Transfer(PORT_RESTRICTED, PORT_RESTRICTED, 5_000_000)
    for _ in range(4):
        meeting.cut()
        meeting.run(0.7)
        meeting.cut(False)
        meeting.run(0.7)
    meeting.finish(20)
    assert len(meeting.changes(meeting.bob)) < 20


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_direct_path_that_dies_in_one_direction_only_is_left(who: str) -> None:
    meeting = Transfer(PORT_RESTRICTED, PORT_RESTRICTED, SIZE)
    number = "1" if who == "alice" else "2"
    for link in [meeting.net.link(f"203.0.113.{number}", f"203.0.113.{'2' if number == '1' else '1'}")]:
        link.path.down = True
    assert meeting.goes_on(within=2.0) < 2.0
    meeting.finish(20)


@pytest.mark.parametrize("loss", [0.02, 0.1])
def test_a_lossy_path_is_not_taken_for_a_dead_one(loss: float) -> None:
    meeting = Transfer(PORT_RESTRICTED, PORT_RESTRICTED, SIZE)
    for link in meeting.net.links():
        link.path.loss = loss
    meeting.finish(60)
    assert len(meeting.changes(meeting.bob)) <= 3
    assert meeting.until(PathKind.PUNCHED, seconds=20)


def test_moving_to_a_faster_path_in_the_middle_sends_hardly_anything_twice() -> None:
    meeting = Meeting(PORT_RESTRICTED, PORT_RESTRICTED, rate=RATE, queue=250_000)
    meeting.cut()
    meeting.start()
    meeting.connect()
    gift = picture(SIZE)
    meeting.bob.says = lambda asked: gift
    id = meeting.alice.ask(Kind.IMAGE, meeting.bob)
    meeting.net.run_for(1.5)
    assert meeting.kinds() == (PathKind.RELAY_UDP, PathKind.RELAY_UDP)
    meeting.cut(False)
    assert meeting.until(PathKind.PUNCHED, seconds=16)
    assert meeting.net.run_until(lambda: meeting.alice.phase(id) is Phase.DONE, meeting.net.now + 15)
    carried = sum(len(sent.data) for sent in meeting.net.sent if sent.source == meeting.sides[1].address)
    assert carried < 1.15 * SIZE


def test_a_silent_mapping_is_kept_alive_and_the_pauses_grow_to_what_the_nat_lives_through() -> None:
    lasting = Front(PORT_RESTRICTED.filters, lifetime=40.0)
    meeting = Meeting(lasting, lasting).start()
    meeting.connect()
    meeting.until(PathKind.PUNCHED)
    meeting.bob.says = lambda asked: None
    meeting.alice.ask(Kind.QUOTE, meeting.bob, lifetime=7200)
    meeting.net.run_for(400)
    meeting.net.sent.clear()
    changes = len(meeting.changes(meeting.alice))
    meeting.net.run_for(1200)
    assert meeting.kinds() == (PathKind.PUNCHED, PathKind.PUNCHED)
    assert len(meeting.changes(meeting.alice)) == changes
    pings = [sent for sent in meeting.net.sent if sent.destination[0].startswith("203.")]
    assert len(pings) < 2 * 1200 / 15


def test_a_relay_that_is_not_there_at_once_either_is_used_at_full_speed_as_soon_as_it_is() -> None:
    meeting = Transfer(PORT_RESTRICTED, PORT_RESTRICTED)
    meeting.sides[0].nats[0].flush()
    for link in meeting.relayed:
        link.blackout(meeting.net.now, 0.6)
    meeting.run(1.6)
    before = meeting.verified()
    meeting.run(0.5)
    assert (meeting.verified() - before) * 65_536 > 0.7 * RATE * 0.5
    meeting.finish(10)
