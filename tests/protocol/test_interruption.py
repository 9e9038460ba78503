"""Pictures that go on where they were: after silence, after a restart of either side, without a verified byte twice."""

from typing import Any

import pytest

from agent.protocol.book import ImageGift
from agent.protocol.request import Kind, Phase, Verb
from tests.support.pair import ADDRESSES, Memory, Pair, Person, picture

SIZE = 6_000_000


def on_its_way(**path: Any) -> tuple[Pair, ImageGift, bytes]:
    """Let Bob give Alice a picture of 6 MB at 2 MB/s, and run to the middle of it."""
    pair = Pair(rate=2_000_000, queue=250_000, **path)
    gift = picture(SIZE)
    pair.bob.says = lambda asked: gift
    id = pair.alice.ask(Kind.IMAGE, pair.bob)
    pair.network.run_for(1.5)
    assert pair.alice.phase(id) is Phase.TRANSFERRING
    return pair, gift, id


def restart(person: Person, other: Person, id: bytes, gift: ImageGift, receives: bool) -> None:
    """Start a person's agent anew as the real one does: it remembers the request and what is on disk."""
    sink = person.sinks.get(id)
    person.restart()
    core, now = person.core, person.network.now
    core.restore_image(id, Verb.ASK, other.card, receives, gift.image, None if receives else gift, now)
    if receives:
        assert sink is not None
        core.fetch_image(id, sink, sorted(sink.verified), now)
    core.meet(other.card.key, [ADDRESSES[other.name]])
    person.host.wake()


def arrives(pair: Pair, gift: ImageGift, id: bytes, seconds: float) -> bool:
    assert isinstance(gift.source, Memory)
    return pair.until(id, Phase.DONE, seconds) and pair.alice.sinks[id].data == gift.source.data


def test_a_picture_goes_on_after_a_silence_that_ended_the_session() -> None:
    pair, gift, id = on_its_way()
    for link in pair.links:
        link.blackout(pair.network.now, 300)
    pair.network.run_for(100)
    assert "does not answer" in pair.alice.reasons[id]
    assert pair.alice.phase(id) is Phase.TRANSFERRING
    assert arrives(pair, gift, id, 260)
    assert pair.alice.reasons[id] == ""


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_picture_goes_on_after_a_restart_of(who: str) -> None:
    pair, gift, id = on_its_way()
    sent_before = pair.links[1].counters.bytes
    verified_before = len(pair.alice.sinks[id].verified) * 65536
    assert verified_before > 1_000_000
    if who == "alice":
        restart(pair.alice, pair.bob, id, gift, receives=True)
    else:
        restart(pair.bob, pair.alice, id, gift, receives=False)
    assert arrives(pair, gift, id, 20)
    sent_after = pair.links[1].counters.bytes - sent_before
    assert sent_after < (SIZE - verified_before) * 1.1 + 300_000


def test_both_sides_start_anew_and_the_picture_goes_on() -> None:
    pair, gift, id = on_its_way()
    restart(pair.bob, pair.alice, id, gift, receives=False)
    restart(pair.alice, pair.bob, id, gift, receives=True)
    assert arrives(pair, gift, id, 20)


def test_a_giver_that_has_forgotten_says_so_and_the_request_ends() -> None:
    pair, _, id = on_its_way()
    pair.bob.restart()
    assert pair.network.run_until(lambda: pair.alice.phase(id) is Phase.FAILED, 60)
    assert "not there any more" in pair.alice.reasons[id]


def test_an_interrupted_picture_can_be_cancelled_and_the_giver_hears_of_it_later() -> None:
    pair, _, id = on_its_way()
    for link in pair.links:
        link.blackout(pair.network.now, 200)
    pair.network.run_for(60)
    pair.alice.cancel(id)
    pair.network.run_for(0.1)
    assert pair.alice.phase(id) is Phase.CANCELLED
    assert pair.network.run_until(lambda: pair.bob.phase(id) in (Phase.CANCELLED, Phase.UNREACHABLE), 400)


def test_questions_do_not_outlive_the_session_they_were_asked_in() -> None:
    pair, _, _ = on_its_way()
    pair.bob.says = lambda asked: None
    question = pair.alice.ask(Kind.QUOTE, pair.bob)
    pair.network.run_for(0.5)
    for link in pair.links:
        link.blackout(pair.network.now, 100)
    assert pair.network.run_until(lambda: pair.alice.phase(question) is Phase.UNREACHABLE, 40)
