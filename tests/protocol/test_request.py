"""The table of phases, and two sides that follow it over packets that are lost and overtake each other."""

import random
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.protocol import messages as m
from agent.protocol.book import Gift, QuoteGift, Request
from agent.protocol.card import Card
from agent.protocol.consent import Consent
from agent.protocol.errors import UsageError
from agent.protocol.events import (
    ImageAccepted,
    ImageArrived,
    QuoteAccepted,
    QuoteArrived,
    RequestChanged,
    RequestMade,
)
from agent.protocol.handshake import Established
from agent.protocol.request import TABLE, WIRE_PHASES, Kind, Move, Phase, Side, Verb, last_word, side_of
from agent.protocol.sealing import Opener, Sealer
from agent.protocol.session import Session
from tests.support.handshakes import chance, handshake
from tests.support.pair import QUOTE, Memory, Pair, picture

OPEN = [phase for phase in Phase if not phase.final]
FINAL = [phase for phase in Phase if phase.final]
GIFTS: dict[Kind, Gift | None] = {Kind.CONNECTION: None, Kind.QUOTE: QUOTE, Kind.IMAGE: picture(3000)}


def reachable(phase: Phase) -> set[Phase]:
    found, front = {phase}, [phase]
    while front:
        before = front.pop()
        new = {after for (at, _, _), after in TABLE.items() if at is before} - found
        found |= new
        front += new
    return found


@pytest.mark.parametrize("phase", OPEN)
def test_every_open_phase_reaches_a_final_one(phase: Phase) -> None:
    assert any(after.final for after in reachable(phase))


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.WAITING])
def test_every_phase_is_reached_from_the_first(phase: Phase) -> None:
    assert phase in reachable(Phase.WAITING)


def test_nothing_moves_out_of_a_final_phase() -> None:
    assert not [key for key in TABLE if key[0].final]


@pytest.mark.parametrize("phase", OPEN)
def test_either_side_of_an_open_request_can_lose_the_other(phase: Phase) -> None:
    sides = {side for at, side, move in TABLE if at is phase and move is Move.LOSE}
    assert len(sides) == 2
    assert last_word(phase) in sides
    assert all(TABLE[phase, side, Move.LOSE] is Phase.UNREACHABLE for side in sides)


@pytest.mark.parametrize("phase", OPEN)
def test_whoever_has_the_last_word_can_end_it_in_every_way(phase: Phase) -> None:
    side = last_word(phase)
    assert {TABLE.get((phase, side, move)) for move in (Move.CANCEL, Move.FAIL, Move.LOSE)} == {
        Phase.CANCELLED,
        Phase.FAILED,
        Phase.UNREACHABLE,
    }


@pytest.mark.parametrize("phase", OPEN)
def test_whoever_has_not_the_last_word_can_only_lose_the_other_or_take_back_what_never_left(phase: Phase) -> None:
    others = {move for at, side, move in TABLE if at is phase and side is not last_word(phase)}
    assert others <= {Move.LOSE, Move.CANCEL}
    assert Move.CANCEL not in others or phase is Phase.WAITING


@pytest.mark.parametrize("phase", OPEN)
@pytest.mark.parametrize("verb", Verb)
def test_of_the_two_sides_exactly_one_has_the_last_word(phase: Phase, verb: Verb) -> None:
    sides = [side_of(phase, verb, made_here) for made_here in (True, False)]
    assert sides.count(last_word(phase)) == 1
    assert len(set(sides)) == 2


@pytest.mark.parametrize(("verb", "receiver_made_it"), [(Verb.ASK, True), (Verb.OFFER, False)])
def test_who_asks_receives_and_who_offers_gives(verb: Verb, receiver_made_it: bool) -> None:
    assert side_of(Phase.ACCEPTED, verb, receiver_made_it) is Side.RECEIVER
    assert side_of(Phase.TRANSFERRING, verb, not receiver_made_it) is Side.GIVER


def test_the_numbers_of_phases_on_the_wire_stay_what_they_are() -> None:
    words = "waiting accepted transferring done rejected expired cancelled unreachable failed"
    assert " ".join(phase.value for phase in WIRE_PHASES) == words


# --- two sides, and packets between them ---


class Desk:
    """One side: its consent, its session, and what became of its requests."""

    def __init__(self, established: Established, seed: int) -> None:
        self.session = Session(established, ("10.0.0.1", 1), Sealer(), Opener(), chance(seed), 0.0)
        self.events: deque[Any] = deque()
        self.peer: Card = established.peer
        self.consent = Consent(self, {self.peer.key}, self.events, chance(seed + 1))
        self.phases: dict[bytes, list[Phase]] = {}
        self.to_serve: deque[Any] = deque()
        self.sinks: dict[bytes, Memory] = {}
        self.quotes: dict[bytes, QuoteGift] = {}

    # what `consent` needs

    def say(self, peer: Card, message: m.Message, now: float) -> None:
        self.session.say(message, now)

    def session_with(self, key: bytes) -> Session | None:
        return self.session

    def connected(self, key: bytes, now: float) -> None:
        pass

    def take_back(self, key: bytes, id: bytes) -> bool:
        return False

    # what the agent around it would do

    def take_events(self) -> None:
        while self.events:
            match event := self.events.popleft():
                case RequestMade(id):
                    assert id not in self.phases
                    self.phases[id] = [Phase.WAITING]
                case RequestChanged(id, phase):
                    before = self.phases[id][-1]
                    assert phase in {after for (at, _, _), after in TABLE.items() if at is before}
                    self.phases[id].append(phase)
                case QuoteAccepted() | QuoteArrived() | ImageAccepted() | ImageArrived():
                    self.to_serve.append(event)

    def serve(self, now: float) -> None:
        match self.to_serve.popleft():
            case QuoteAccepted(id, receives=True):
                self.consent.quote_inside(id, now)
            case QuoteArrived(id, text, author, source):
                self.quotes[id] = QuoteGift(text, author, source)
                self.consent.arrived(id, now)
            case ImageAccepted(id, _, image):
                self.sinks[id] = Memory(image.size)
                self.consent.fetch_image(id, self.sinks[id], (), now)
            case ImageArrived(id):
                self.consent.arrived(id, now)
        self.take_events()

    def receive(self, data: bytes, now: float) -> None:
        self.session.receive(memoryview(data), len(data), ("10.0.0.1", 1), now)
        for message in self.session.take_messages():
            self.consent.heard(self.peer, self.session, message, now)
        self.consent.progressed(self.session, now)
        self.take_events()

    def handle_timeout(self, now: float) -> None:
        self.session.handle_timeout(now)
        self.consent.handle_timeout(now)
        self.take_events()

    def send(self, now: float) -> Iterator[bytes]:
        while batch := self.session.datagrams_to_send(now):
            for datagrams in batch:
                data = bytes(datagrams.data)
                yield from (data[at : at + datagrams.size] for at in range(0, len(data), datagrams.size))

    def open_requests(self) -> list[Request]:
        return list(self.consent.book)


class TwoSides(RuleBasedStateMachine):
    """Both ask, answer, cancel and fail at any time; what flies between them is lost, repeated and overtaken."""

    def __init__(self) -> None:
        super().__init__()
        self.chance = random.Random(7)
        at_alice, at_bob = handshake()
        self.desks = Desk(at_alice, 10), Desk(at_bob, 20)
        self.now = 0.0
        self.flying: list[tuple[int, bytes]] = []
        self.gifts: dict[bytes, Gift | None] = {}

    def open_at(self, who: int, data: st.DataObject, phase: Phase | None = None) -> Request | None:
        found = [r for r in self.desks[who].open_requests() if phase in (None, r.phase)]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(who=st.integers(0, 1), kind=st.sampled_from(Kind), offers=st.booleans(), lifetime=st.sampled_from([1, 300]))
    def ask(self, who: int, kind: Kind, offers: bool, lifetime: int) -> None:
        id, gift = self.chance.randbytes(16), GIFTS[kind] if offers else None
        verb = Verb.ASK if gift is None else Verb.OFFER
        desk = self.desks[who]
        self.gifts[id] = gift
        desk.consent.make(id, kind, verb, desk.peer, lifetime, "", gift, self.now)
        desk.take_events()

    @rule(who=st.integers(0, 1), data=st.data(), accept=st.booleans())
    def answer(self, who: int, data: st.DataObject, accept: bool) -> None:
        request = self.open_at(who, data, Phase.WAITING)
        if request is None:
            return
        gift = GIFTS[request.kind] if request.verb is Verb.ASK else None
        desk = self.desks[who]
        if request.made_here:
            with pytest.raises(UsageError):
                desk.consent.answer(request.id, accept, gift, "", self.now)
            return
        if gift is not None:
            self.gifts[request.id] = gift
        desk.consent.answer(request.id, accept, gift, "", self.now)
        desk.take_events()

    @rule(who=st.integers(0, 1), data=st.data(), reason=st.sampled_from(["", "The disk is full."]))
    def stop(self, who: int, data: st.DataObject, reason: str) -> None:
        request = self.open_at(who, data)
        if request is not None:
            consent = self.desks[who].consent
            consent.fail(request.id, reason, self.now) if reason else consent.cancel(request.id, self.now)
            self.desks[who].take_events()

    @rule(who=st.integers(0, 1))
    def serve(self, who: int) -> None:
        if self.desks[who].to_serve:
            self.desks[who].serve(self.now)

    @rule(who=st.integers(0, 1), seconds=st.sampled_from([0.0, 0.03, 0.3]))
    def send(self, who: int, seconds: float) -> None:
        self.now += seconds
        self.desks[who].handle_timeout(self.now)
        self.flying += [(1 - who, data) for data in self.desks[who].send(self.now)]

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), fate=st.sampled_from(["arrive", "arrive", "arrive", "repeat", "lose"]))
    def fly(self, data: st.DataObject, fate: str) -> None:
        at = data.draw(st.integers(0, min(len(self.flying), 5) - 1))
        to, packet = self.flying[at] if fate == "repeat" else self.flying.pop(at)
        if fate != "lose":
            self.desks[to].receive(packet, self.now)

    @rule()
    def deliver_all(self) -> None:
        for who in (0, 1):
            self.send(who, 0.03)
        while self.flying:
            to, packet = self.flying.pop(0)
            self.desks[to].receive(packet, self.now)

    @invariant()
    def exactly_one_has_the_last_word_where_both_are_in_one_phase(self) -> None:
        one, other = (desk.consent.book for desk in self.desks)
        for request in one:
            twin = other.find(request.id)
            if twin is not None and twin.phase is request.phase:
                assert request.ours_to_end != twin.ours_to_end

    @invariant()
    def a_final_phase_is_the_last(self) -> None:
        for desk in self.desks:
            for phases in desk.phases.values():
                assert not any(phase.final for phase in phases[:-1])

    def settle(self) -> None:
        """Lose nothing any more, until nothing is said any more."""
        quiet = 0
        while quiet < 3:
            before = self.flying or any(desk.to_serve or not desk.session.control.empty() for desk in self.desks)
            for who in (0, 1):
                while self.desks[who].to_serve:
                    self.desks[who].serve(self.now)
            self.deliver_all()
            quiet = 0 if before or self.flying else quiet + 1
            self.now += 0.1

    def teardown(self) -> None:
        self.settle()
        for _ in range(1000):
            deadlines = [at for desk in self.desks if (at := desk.consent.timeout()) is not None]
            if not deadlines:
                break
            self.now = max(self.now, min(deadlines))
            self.settle()
        one, other = self.desks
        assert {id: phases[-1] for id, phases in one.phases.items()} == {
            id: phases[-1] for id, phases in other.phases.items()
        }
        for desk in self.desks:
            assert all(phases[-1].final for phases in desk.phases.values())
            for id, sink in desk.sinks.items():
                gift = self.gifts[id]
                assert desk.phases[id][-1] is not Phase.DONE or sink.data == gift.source.data  # type: ignore[union-attr]
            for id, quote in desk.quotes.items():
                assert quote == self.gifts[id]


TwoSides.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
TestTwoSides = TwoSides.TestCase


# --- two sessions at once ---


def test_a_quote_has_one_key_also_where_each_side_opened_a_session() -> None:
    pair = Pair()
    pair.alice.says = pair.bob.says = lambda asked: QUOTE
    first = [pair.alice.ask(Kind.QUOTE, pair.bob), pair.bob.ask(Kind.QUOTE, pair.alice)]
    assert all(pair.until(id, Phase.DONE) for id in first)
    later = [pair.alice.ask(Kind.QUOTE, pair.bob), pair.bob.ask(Kind.QUOTE, pair.alice, offer=QUOTE)]
    pair.alice.says = lambda asked: True
    pair.network.run_for(1)
    keys = [{link.request: (link.token, link.key) for link in person.links} for person in (pair.alice, pair.bob)]
    assert set(keys[0]) >= set(first) | {later[0]}
    assert keys[0] == keys[1]
