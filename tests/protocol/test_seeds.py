"""Many seeds, each with a bad path and a misfortune of its own: every request ends, in time, and the same for both.

TMGE_SEEDS says how many; a failure names its seed and what went wrong in it.
"""

import os
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from agent.protocol.book import Gift, ImageGift, QuoteGift
from agent.protocol.closing import CloseCode
from agent.protocol.errors import UsageError
from agent.protocol.events import RequestMade, SessionClosed
from agent.protocol.request import Kind, Phase
from tests.support.pair import ADDRESSES, Memory, Pair, Person, picture

SEEDS = range(int(os.environ.get("TMGE_SEEDS", "60")))
IN_TIME = 60.0  # seconds, with a blackout in it
FORGOTTEN_IN_TIME = 180.0  # the peer was started anew: it is missed, looked for, and waited for


def path(chance: Random) -> dict[str, Any]:
    return {
        "delay": chance.choice([0.0005, 0.01, 0.08]),
        "jitter": chance.choice([0.0, 0.005]),
        "rate": chance.choice([None, 400_000, 4_000_000]),
        "queue": chance.choice([30_000, 200_000]),
        "loss": chance.choice([0.0, 0.01, 0.05, 0.15]),
        "duplicate": chance.choice([0.0, 0.1]),
        "reorder": chance.choice([0.0, 0.1]),
        "reorder_depth": 50,
        "corrupt": chance.choice([0.0, 0.02]),
    }


class Story:
    """Two people connect, then quotes and pictures are asked for and offered while something goes wrong."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.pair = Pair(seed, connected=False, turn=self.chance.choice([0.0, 0.001]), **path(self.chance))
        self.network = self.pair.network
        self.alice, self.bob = self.people = self.pair.alice, self.pair.bob
        self.restarted: Person | None = None
        self.gifts: dict[bytes, Gift] = {}
        self.refused: list[str] = []
        self.ids: list[bytes] = []
        for person, other in (self.people, self.people[::-1]):
            person.says = lambda asked, person=person: self.answer_later(person, asked)  # type: ignore[misc]
            person.core.meet(other.card.key, [ADDRESSES[other.name]])

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Let a person do something after so much time; what cannot be done any more is told to them."""

        def act() -> None:
            try:
                call()
            except UsageError as error:
                self.refused.append(error.code)

        self.network.call_at(self.network.now + seconds, act)

    def gift(self, kind: Kind) -> Gift | None:
        if kind is Kind.CONNECTION:
            return None
        if kind is Kind.QUOTE:
            return QuoteGift(f"words {self.chance.random()}", "someone", "")
        return picture(self.chance.randrange(20_000, 400_000), seed=self.chance.randrange(100))

    def answer_later(self, person: Person, asked: RequestMade) -> None:
        gift = None
        if asked.request not in self.gifts and (gift := self.gift(asked.kind)) is not None:
            self.gifts[asked.request] = gift
        self.later(self.chance.choice([0.0, 0.3]), lambda: person.answer(asked.request, True, gift))

    def ask(self, kind: Kind) -> None:
        asker, other = self.chance.sample(self.people, 2)
        if other is self.restarted:  # the other side has not missed it yet
            asker, other = other, asker
        offer = self.gift(kind) if self.chance.random() < 0.3 else None
        id = asker.ask(kind, other, offer=offer)
        self.ids.append(id)
        if offer is not None:
            self.gifts[id] = offer

    def connect(self) -> None:
        self.ask(Kind.CONNECTION)
        assert self.ended(IN_TIME)
        assert all(person.phase(self.ids[0]) is Phase.DONE for person in self.people)
        self.alice.connected, self.bob.connected = (self.bob.card.key,), (self.alice.card.key,)

    def ask_for_things(self) -> None:
        for kind in (Kind.QUOTE, Kind.IMAGE, Kind.IMAGE):
            self.later(self.chance.uniform(0.0, 0.5), lambda kind=kind: self.ask(kind))  # type: ignore[misc]
        self.network.run_for(0.5)

    def ended(self, seconds: float) -> bool:
        """Run until whoever was not started anew has seen every request end that reached them."""
        waiting = [person for person in self.people if person is not self.restarted]

        def over() -> bool:
            phases = [person.phase(id) for person in waiting for id in self.ids]
            return all(phase.final if phase else self.restarted is not None for phase in phases)

        return self.network.run_until(over, self.network.now + seconds)

    # --- misfortunes ---

    def none(self) -> None:
        pass

    def blackout(self) -> None:
        start = self.network.now + self.chance.uniform(0.0, 1.5)
        for link in self.pair.links:
            link.blackout(start, self.chance.choice([0.2, 3.0, 20.0]))

    def one_way_blackout(self) -> None:
        start = self.network.now + self.chance.uniform(0.0, 1.5)
        self.chance.choice(self.pair.links).blackout(start, self.chance.choice([1.0, 10.0, 20.0]))

    def rebinding(self) -> None:
        """Alice's address changes, again and again. If both did at once, somebody else would have to help."""
        for number in range(3):
            self.later(number + self.chance.random(), lambda port=20_000 + number: self.rebind_alice(port))  # type: ignore[misc]

    def rebind_alice(self, port: int) -> None:
        inside = ADDRESSES["alice"]
        self.network.rebind(inside, (inside[0], port))

    def cancel(self) -> None:
        for _ in range(3):
            self.later(self.chance.uniform(0.0, 1.0), self.cancel_one)

    def cancel_one(self) -> None:
        self.chance.choice(self.people).cancel(self.chance.choice(self.ids))

    def restart(self) -> None:
        self.later(self.chance.uniform(0.0, 1.0), self.restart_one)

    def restart_one(self) -> None:
        self.restarted = self.chance.choice(self.people)
        self.restarted.restart()

    def all_of_them(self) -> None:
        self.blackout()
        self.rebinding()
        self.cancel()

    # --- what must be ---

    def check(self) -> None:
        assert set(self.refused) <= {"already_final", "unknown_request"}
        for person in self.people:
            said = CloseCode.BROKEN.sentence("")
            assert not [e for e in person.events if isinstance(e, SessionClosed) and e.reason.endswith(said)]
            for id in self.ids:
                phases = person.phases.get(id, [])
                assert not any(phase.final for phase in phases[:-1])
                if person.phase(id) is Phase.DONE:
                    self.check_delivery(id)
        for id in self.ids:
            ends = {person.phase(id) for person in self.people if person is not self.restarted}
            assert self.restarted or len(ends) == 1, f"{ends}: {[person.reasons.get(id) for person in self.people]}"

    def check_delivery(self, id: bytes) -> None:
        """Whoever says that it is done: it is there, once, and it is what was given."""
        gift = self.gifts.get(id)
        if isinstance(gift, ImageGift):
            assert isinstance(gift.source, Memory)
            assert [person.sinks[id].data for person in self.people if id in person.sinks] == [gift.source.data]
        if isinstance(gift, QuoteGift):
            quotes = [quote.text for person in self.people for quote in person.quotes if quote.request == id]
            assert quotes == [gift.text]


MISFORTUNES: list[Callable[[Story], None]] = [
    Story.none,
    Story.blackout,
    Story.one_way_blackout,
    Story.rebinding,
    Story.cancel,
    Story.restart,
    Story.all_of_them,
]
STORIES = [pytest.param(seed, MISFORTUNES[seed % len(MISFORTUNES)]) for seed in SEEDS]


@pytest.mark.parametrize(
    ("seed", "misfortune"),
    STORIES,
    ids=[f"seed {p.values[0]}, {p.values[1].__name__}" for p in STORIES],  # type: ignore[union-attr]
)
def test_every_request_ends_and_what_is_done_is_there(seed: int, misfortune: Callable[[Story], None]) -> None:
    story = Story(seed)
    story.connect()
    story.ask_for_things()
    misfortune(story)
    story.network.run_for(3.0)
    assert story.ended(FORGOTTEN_IN_TIME if misfortune is Story.restart else IN_TIME)
    story.check()
    if misfortune not in (Story.cancel, Story.restart, Story.all_of_them):
        assert all(person.phase(id) is Phase.DONE for person in story.people for id in story.ids)
    story.ids.clear()
    story.ask(Kind.IMAGE)
    story.restarted = None
    assert story.ended(IN_TIME)
    story.check()
    assert story.alice.phase(story.ids[0]) is Phase.DONE
