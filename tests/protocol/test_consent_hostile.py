"""A peer that speaks the protocol but lies: it loses its session, nobody is bothered, and others go on."""

from collections.abc import Callable

import pytest

from agent.protocol import consent, frames
from agent.protocol import messages as m
from agent.protocol.consent import MAX_OPEN
from agent.protocol.events import SessionClosed
from agent.protocol.packet import Datagrams
from agent.protocol.questions import ImageFields, image_fields
from agent.protocol.request import WIRE_PHASES, Kind, Phase
from agent.protocol.session import Session
from agent.protocol.transfer import FORMATS, MAX_SIDE, SendTransfer
from tests.support.handshakes import BOB, identity
from tests.support.pair import ADDRESSES, QUOTE, Memory, Pair, Person, picture

GIFT = picture(200_000)
IMAGE = image_fields(GIFT.image)
UNKNOWN = b"an unknown one !"
PHASE = {phase: WIRE_PHASES.index(phase) for phase in Phase}
CAROL = identity(b"carol")


class Scene(Pair):
    """Alice lies to Bob, who is connected with her and has asked for a quote and a picture; Carol is honest."""

    def __init__(self, *, connected: bool = True) -> None:
        super().__init__(connected=connected)
        self.network.join(ADDRESSES["carol"][0], ADDRESSES["bob"][0], delay=0.01)
        self.carol = Person(self.network, "carol", CAROL, [BOB.key])
        if connected:
            self.bob.core._consent.connected.add(CAROL.key)
            self.of_carol = self.carol.ask(Kind.QUOTE, self.bob)
            self.asked_quote = self.alice.ask(Kind.QUOTE, self.bob)
            self.asked_image = self.alice.ask(Kind.IMAGE, self.bob)
            self.network.run_for(0.5)
            self.wanted_quote = self.bob.ask(Kind.QUOTE, self.alice)
            self.wanted_image = self.bob.ask(Kind.IMAGE, self.alice)
        else:
            self.bob.says = lambda asked: False
            self.alice.ask(Kind.CONNECTION, self.bob)
        self.network.run_for(0.5)
        self.asked_so_far = list(self.bob.asked)

    @property
    def session(self) -> Session:
        """Return the liar's end of the session."""
        session = self.alice.core.session_with(self.bob.card.key)
        assert session is not None
        return session

    def say(self, *messages: m.Message) -> None:
        for message in messages:
            self.session.say(message, self.network.now)
        self.run()

    def send_frames(self, plain: bytes) -> None:
        packet = self.session._seal(plain, None, ADDRESSES["bob"], self.network.now)
        self.network.send(ADDRESSES["alice"], ADDRESSES["bob"], bytes(packet.data))
        self.run()

    def run(self) -> None:
        self.alice.host.wake()
        self.bob.host.wake()
        self.network.run_for(0.5)

    def alice_hears_nothing(self) -> None:
        """Let her core not answer what Bob says, so that she can lie by hand."""
        self.alice.core._consent.heard = lambda *_: None  # type: ignore[method-assign]

    def closed(self) -> bool:
        """Tell whether Bob closed the session with Alice, and everything that was open with her."""
        ended = [event.peer.name for event in self.bob.events if isinstance(event, SessionClosed)]
        if not ended:
            return False
        assert ended == ["alice"]
        assert not self.bob.core.in_session(self.alice.card.key)
        return all(self.bob.phase(id) is Phase.UNREACHABLE for id in (self.wanted_quote, self.wanted_image))

    def nobody_is_bothered(self) -> bool:
        return self.bob.asked == self.asked_so_far and not self.bob.quotes

    def carol_goes_on(self) -> bool:
        self.bob.answer(self.of_carol, True, QUOTE)
        both = (self.bob, self.carol)
        return self.network.run_until(
            lambda: all(person.phase(self.of_carol) is Phase.DONE for person in both), self.network.now + 5
        )


Lie = Callable[[Scene], list[m.Message]]


def announced(**changes: int) -> ImageFields:
    size, format, width, height, *rest = IMAGE
    fields = {"size": size, "format": format, "width": width, "height": height} | changes
    return (*fields.values(), *rest)  # type: ignore[return-value]


IMPOSSIBLE = [
    {"size": 0},
    {"size": (1 << 63) - 1},
    {"size": (1 << 64) - 1},
    {"format": len(FORMATS)},
    {"format": 255},
    {"width": 0},
    {"height": MAX_SIDE + 1},
]
LIES: dict[str, Lie] = {
    "a quote before the yes": lambda s: [m.Quote(s.asked_quote, "text", "", "")],
    "a quote that was asked for, without a yes": lambda s: [m.Quote(s.wanted_quote, "text", "", "")],
    "a quote instead of a picture": lambda s: [
        m.GiveImage(s.wanted_image, *IMAGE),
        m.Quote(s.wanted_image, "", "", ""),
    ],
    "a yes of the wrong kind to a quote": lambda s: [m.GiveImage(s.wanted_quote, *IMAGE)],
    "a yes of the wrong kind to a picture": lambda s: [m.GiveQuote(s.wanted_image, bytes(16))],
    "an accept of what was no offer": lambda s: [m.Accept(s.wanted_quote)],
    "a yes to her own question": lambda s: [m.Accept(s.asked_quote)],
    "a gift to her own question": lambda s: [m.GiveImage(s.asked_image, *IMAGE)],
    "two yeses": lambda s: [m.GiveImage(s.wanted_image, *IMAGE), m.GiveImage(s.wanted_image, *announced(width=9))],
    "a fetch before the yes": lambda s: [m.Fetch(s.asked_image, 1, ((0, 32),))],
    "a fetch of what she is to give": lambda s: [m.Fetch(s.wanted_image, 1, ((0, 32),))],
    "a fetch of a quote": lambda s: [m.Fetch(s.asked_quote, 1, ((0, 32),))],
    "the end of someone else's request": lambda s: [m.Cancel(s.of_carol, "")],
    "a yes to someone else's request": lambda s: [m.Accept(s.of_carol)],
    "the last word on someone else's request": lambda s: [m.LastWord(s.of_carol, PHASE[Phase.DONE], "")],
    "a fetch for someone else's request": lambda s: [m.Fetch(s.of_carol, 1, ((0, 32),))],
    "done without a yes": lambda s: [m.LastWord(s.wanted_quote, PHASE[Phase.DONE], "")],
    "a last word that is none": lambda s: [m.LastWord(s.wanted_quote, PHASE[Phase.ACCEPTED], "")],
    "a last word that only we can have": lambda s: [m.LastWord(s.wanted_quote, PHASE[Phase.UNREACHABLE], "")],
    "a last word beyond the table": lambda s: [m.LastWord(s.wanted_quote, 200, "")],
    **{
        f"a gift of the impossible {change}": lambda s, change=change: [  # type: ignore[misc]
            m.GiveImage(s.wanted_image, *announced(**change))
        ]
        for change in IMPOSSIBLE
    },
    **{
        f"an offer of the impossible {change}": lambda s, change=change: [  # type: ignore[misc]
            m.OfferImage(UNKNOWN, 300, "", *announced(**change))
        ]
        for change in IMPOSSIBLE
    },
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_the_session_is_closed_and_nobody_is_bothered_by(lie: Lie) -> None:
    scene = Scene()
    scene.say(*lie(scene))
    assert scene.closed()
    assert scene.nobody_is_bothered()
    assert scene.carol_goes_on()


LATE_LIES: dict[str, Lie] = {
    "beyond the end": lambda s: [m.Fetch(s.asked_image, 1, ((0, GIFT.image.size + 4 * 32 + 1),))],
    "far beyond the end": lambda s: [m.Fetch(s.asked_image, 1, ((0, 1), ((1 << 63) - 1, 1 << 63)))],
    "under a name that no packet can have": lambda s: [m.Fetch(s.asked_image, frames.MAX_TRANSFER, ((0, 32),))],
    "without a name": lambda s: [m.Fetch(s.asked_image, 0, ((0, 32),))],
}


@pytest.mark.parametrize("lie", LATE_LIES.values(), ids=LATE_LIES)
def test_the_session_is_closed_for_a_fetch(lie: Lie) -> None:
    scene = Scene()
    scene.alice_hears_nothing()
    scene.bob.answer(scene.asked_image, True, GIFT)
    scene.run()
    assert scene.bob.phase(scene.asked_image) is Phase.ACCEPTED
    scene.say(*lie(scene))
    assert scene.closed()
    assert scene.bob.phase(scene.asked_image) is Phase.UNREACHABLE
    assert scene.carol_goes_on()


FRAMES = {
    "an unknown frame": b"\x08",
    "a piece of nothing": frames.PIECE_HEADER.pack(frames.piece_word(1), 0),
    "a frame that is cut": frames.encode_close(0, "goodbye")[:-1],
    "an acknowledgement of what was never sent": frames.encode_ack(0.0, [(100_000, 100_001)]),
    "control bytes far ahead": frames.encode_control(1 << 30, b"x"),
}


@pytest.mark.parametrize("plain", FRAMES.values(), ids=FRAMES)
def test_the_session_is_closed_for(plain: bytes) -> None:
    scene = Scene()
    scene.send_frames(plain)
    assert scene.closed()
    assert scene.carol_goes_on()


HARMLESS: dict[str, Lie] = {
    "a yes to nothing": lambda s: [m.Accept(UNKNOWN)],
    "gifts for nothing": lambda s: [m.GiveQuote(UNKNOWN, bytes(16)), m.GiveImage(UNKNOWN, *IMAGE)],
    "a quote for nothing": lambda s: [m.Quote(UNKNOWN, "text", "", "")],
    "the end of nothing": lambda s: [m.Cancel(UNKNOWN, ""), m.LastWord(UNKNOWN, PHASE[Phase.DONE], "")],
    "a fetch of nothing": lambda s: [m.Fetch(UNKNOWN, 1, ((0, 32),)), m.FetchQuote(UNKNOWN)],
    "a fetch of a quote before the yes": lambda s: [m.FetchQuote(s.asked_quote)],
    "the last word on what we answer": lambda s: [m.LastWord(s.asked_quote, PHASE[Phase.DONE], "")],
    "a wish that what she answers should end": lambda s: [m.Cancel(s.wanted_quote, "")],
    "a question for the second time": lambda s: [m.AskQuote(s.asked_quote, 300, "another wish")],
    "a question under the id of someone else's": lambda s: [m.AskImage(s.of_carol, 300, "")],
}


@pytest.mark.parametrize("lie", HARMLESS.values(), ids=HARMLESS)
def test_nothing_comes_of(lie: Lie) -> None:
    scene = Scene()
    scene.say(*lie(scene))
    assert not scene.closed()
    assert scene.nobody_is_bothered()
    for id in (scene.asked_quote, scene.asked_image, scene.wanted_quote, scene.wanted_image):
        assert scene.bob.phase(id) is Phase.WAITING
    assert scene.carol_goes_on()


def test_the_giver_cannot_say_that_a_picture_has_arrived() -> None:
    scene = Scene()
    scene.alice_hears_nothing()
    scene.say(m.GiveImage(scene.wanted_image, *IMAGE), m.LastWord(scene.wanted_image, PHASE[Phase.DONE], ""))
    assert scene.bob.phase(scene.wanted_image) is Phase.TRANSFERRING
    assert scene.carol_goes_on()


def test_bytes_that_nobody_asked_for_go_nowhere() -> None:
    scene = Scene()
    transfer = SendTransfer(Memory(100_000), 100_000, b"")
    transfer.want([(0, 100_000)])
    scene.session.sending[77] = transfer
    scene.run()
    assert transfer.arrived_bytes == 100_000
    assert not scene.closed()
    assert scene.bob.sinks == {}
    assert scene.carol_goes_on()


def test_bytes_beyond_the_end_of_a_picture_close_the_session() -> None:
    scene = Scene()
    scene.alice_hears_nothing()
    scene.say(m.GiveImage(scene.wanted_image, *IMAGE))
    size = GIFT.image.size + 5000
    transfer = SendTransfer(Memory(size), size, GIFT.digests)
    transfer.want([(GIFT.image.size, size)])
    scene.session.sending[1] = transfer
    scene.run()
    assert any(isinstance(event, SessionClosed) for event in scene.bob.events)
    assert scene.bob.sinks[scene.wanted_image].verified == set()
    assert scene.carol_goes_on()


@pytest.mark.parametrize("number", [2, 500])
def test_a_quote_is_said_inside_the_session_once_however_often_it_is_asked_for(number: int) -> None:
    scene = Scene()
    heard: list[m.Message] = []
    scene.alice.core._consent.heard = lambda *call: heard.append(call[2])  # type: ignore[method-assign]
    scene.bob.answer(scene.asked_quote, True, QUOTE)
    scene.say(*[m.FetchQuote(scene.asked_quote)] * number)
    scene.network.run_for(5)
    assert [type(message) for message in heard] == [m.GiveQuote, m.Quote]
    assert scene.carol_goes_on()


def test_of_five_hundred_questions_no_more_are_shown_than_a_person_can_answer() -> None:
    scene = Scene()
    ids = [number.to_bytes(16, "big") for number in range(500)]
    scene.say(*(m.AskQuote(id, 300, "") for id in ids))
    scene.network.run_for(5)
    from_alice = [event for event in scene.bob.asked if event.peer.name == "alice"]
    assert len(from_alice) == MAX_OPEN
    assert not scene.closed()
    assert scene.carol_goes_on()


def test_five_hundred_questions_of_someone_who_is_not_connected_reach_nobody() -> None:
    scene = Scene(connected=False)
    scene.say(*(m.AskImage(number.to_bytes(16, "big"), 300, "") for number in range(500)))
    scene.network.run_for(5)
    assert scene.nobody_is_bothered()
    assert scene.bob.core.in_session(scene.alice.card.key)


def test_who_asks_and_takes_no_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "MAX_BACKLOG", 20_000)
    scene = Scene(connected=False)
    offset = scene.session.control._base
    session_of_bob = scene.bob.core.session_with(scene.alice.card.key)
    assert session_of_bob is not None
    scene.links[1].path.down = True  # no answer arrives, so none is acknowledged
    for number in range(1000):
        data = m.encode(m.AskQuote(number.to_bytes(16, "big"), 300, ""))
        packet = scene.session._seal(frames.encode_control(offset, data), None, ADDRESSES["bob"], scene.network.now)
        scene.network.send(ADDRESSES["alice"], ADDRESSES["bob"], bytes(packet.data))
        offset += len(data)
    scene.network.run_for(0.5)
    assert session_of_bob.control.backlog() < 21_000
    assert session_of_bob.closed is not None


def test_datagrams_of_any_kind_from_anywhere_do_nothing() -> None:
    scene = Scene()
    chance = scene.network.random
    for _ in range(500):
        data = bytearray(chance.randbytes(chance.choice([1, 8, 12, 28, 29, 53, 100, 1200])))
        data[0] = chance.choice([0xE1, 0xE2, 0xE3, 0xE4, data[0]])
        if len(data) > 12 and chance.random() < 0.5:
            data[1:8] = scene.session.established.remote_connection_id
        scene.bob.core.receive([Datagrams(("10.9.9.9", 9), bytes(data), len(data))], scene.network.now)
    scene.run()
    assert not scene.closed()
    assert scene.carol_goes_on()
