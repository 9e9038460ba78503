"""Many seeds: two people behind random NATs, and paths that die, come back and change while they exchange.

Whatever happens, every request ends, what is done is there, one session is enough, and nobody's address is sent to or
told before the yes. TMGE_SEEDS says how many.
"""

import os
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from agent.protocol import messages as m
from agent.protocol.control import ControlOut
from agent.protocol.events import Connected, SessionClosed
from agent.protocol.request import Kind, Phase
from tests.support.meeting import (
    ADDRESS_RESTRICTED,
    DOUBLE,
    FULL_CONE,
    NONE,
    PORT_RESTRICTED,
    SYMMETRIC,
    Meeting,
)
from tests.support.nats import RELAYS
from tests.support.network import Link
from tests.support.pair import Memory, picture

SEEDS = range(int(os.environ.get("TMGE_SEEDS", "24")))
FRONTS = [NONE, FULL_CONE, ADDRESS_RESTRICTED, PORT_RESTRICTED, SYMMETRIC, DOUBLE]


class Story:
    """A connection, then a picture, and misfortunes in between."""

    def __init__(self, seed: int) -> None:
        chance = self.chance = Random(seed)
        self.meeting = Meeting(
            chance.choice(FRONTS),
            chance.choice(FRONTS),
            seed=seed,
            delay=chance.choice([0.002, 0.02, 0.08]),
            rate=chance.choice([400_000, 2_000_000]),
            loss=chance.choice([0.0, 0.0, 0.02]),
            reorder=chance.choice([0.0, 0.1]),
            reorder_depth=20,
        ).start()
        self.net = self.meeting.net
        self.moves = 0

    def misfortunes(self) -> None:
        happenings: list[Callable[[], None]] = [
            self.dark,
            self.flush,
            self.relay_dies,
            self.move,
            self.one_way,
            self.route_lost,
        ]
        for _ in range(self.chance.randrange(1, 6)):
            self.net.call_at(self.net.now + self.chance.uniform(0.0, 4.0), self.chance.choice(happenings))

    def dark(self) -> None:
        self.meeting.cut()
        self.net.call_at(self.net.now + self.chance.choice([0.1, 1.0, 5.0]), self.meeting.cut, False)

    def one_way(self) -> None:
        if links := [link for link in self.net.links() if link not in self.meeting.relayed]:
            self.chance.choice(links).blackout(self.net.now, self.chance.choice([0.5, 3.0]))

    def relay_dies(self) -> None:
        links: tuple[Link, Link] = self.meeting.relayed
        for link in links:
            link.blackout(self.net.now, self.chance.choice([0.5, 3.0, 8.0]))

    def flush(self) -> None:
        for nat in self.chance.choice(self.meeting.sides).nats:
            nat.flush()

    def move(self) -> None:
        side = self.chance.choice(self.meeting.sides)
        self.moves += 1
        if side.lan is self.net.public:
            side.move((f"198.51.{110 + self.moves}.9", 4009))
        else:
            side.move((f"192.168.{side.number}.{10 + self.moves}", 4009), side.lan)

    def route_lost(self) -> None:
        """The relay's client loses its binding on one side, and has it again a second later."""
        side, other = self.chance.sample(self.meeting.sides, 2)
        key, route = other.person.card.key, self.meeting.relay
        side.person.core.drop_route(key, route, self.net.now)
        side.person.host.wake()

        def again() -> None:
            side.person.core.add_route(key, route, self.net.now)
            side.person.host.wake()

        self.net.call_at(self.net.now + 1.0, again)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_paths_do_requests_end_and_files_are_whole(seed: int) -> None:
    story = Story(seed)
    meeting, net = story.meeting, story.net
    meeting.connect(10.0)
    gift = picture(story.chance.randrange(300_000, 1_500_000), seed=seed)
    meeting.bob.says = lambda asked: gift
    id = meeting.alice.ask(Kind.IMAGE, meeting.bob)
    story.misfortunes()
    people = (meeting.alice, meeting.bob)
    assert net.run_until(lambda: all(person.phase(id) is Phase.DONE for person in people), net.now + 60), (
        meeting.kinds()
    )
    assert isinstance(gift.source, Memory)
    assert meeting.alice.sinks[id].data == gift.source.data
    assert not [event for person in people for event in person.events if isinstance(event, SessionClosed)]
    net.run_for(10.0)
    assert meeting.report(meeting.alice).kind is not None


@pytest.mark.parametrize("answer", [True, False])
def test_before_the_yes_no_address_is_sent_to_or_told(answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = Meeting(FULL_CONE, FULL_CONE).start()
    told: list[float] = []
    queue = ControlOut.queue

    def note(self: ControlOut, message: Any) -> None:
        if isinstance(message, m.Candidates | m.PathReport):
            told.append(meeting.net.now)
        queue(self, message)

    monkeypatch.setattr(ControlOut, "queue", note)
    id = meeting.alice.ask(Kind.CONNECTION, meeting.bob)
    meeting.net.run_for(20)
    for side in meeting.sides:
        side.gather()
        side.person.core.network_changed(meeting.net.now)
    meeting.net.run_for(20)
    assert told == []
    assert {sent.destination[0] for sent in meeting.net.sent} <= set(RELAYS)
    meeting.bob.answer(id, answer)
    meeting.net.run_for(20)
    direct = {sent.destination[0] for sent in meeting.net.sent} - set(RELAYS)
    assert bool(told) == bool(direct) == answer


def test_a_stranger_who_guesses_an_address_learns_nothing_by_sending_a_sessions_packets_there() -> None:
    meeting = Meeting(NONE, NONE).start()
    meeting.alice.ask(Kind.CONNECTION, meeting.bob)
    meeting.net.run_for(1)
    home = meeting.sides[0].address
    copies = [sent for sent in meeting.net.sent if sent.source == meeting.sides[1].address]
    meeting.net.sent.clear()
    for sent in copies:
        meeting.net.send(meeting.sides[1].address, home, sent.data)
    meeting.bob.core._sessions[next(iter(meeting.bob.core._sessions))].paths.heard(home, meeting.net.now, probe=False)
    meeting.net.run_for(20)
    assert not [sent for sent in meeting.net.sent if sent.source == home and sent.destination[0] not in RELAYS]
    assert not any(isinstance(event, Connected) for event in meeting.alice.events)
