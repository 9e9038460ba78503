"""Two cores on the simulated network: consent, delivery, and the last word."""

from typing import Any

import pytest

from agent.protocol.errors import UsageError
from agent.protocol.events import Connected, SessionOpened
from agent.protocol.request import Kind, Phase
from tests.support.pair import QUOTE, Memory, Pair, picture


def test_a_connection_is_there_once_the_other_says_yes() -> None:
    pair = Pair(connected=False)
    pair.bob.says = lambda asked: True
    id = pair.alice.ask(Kind.CONNECTION, pair.bob)
    assert pair.until(id, Phase.DONE)
    assert any(isinstance(event, Connected) for event in pair.alice.events)
    assert pair.alice.core.is_connected(pair.bob.card.key)
    assert pair.bob.core.is_connected(pair.alice.card.key)


def test_a_refused_connection_connects_nobody() -> None:
    pair = Pair(connected=False)
    pair.bob.says = lambda asked: False
    id = pair.alice.ask(Kind.CONNECTION, pair.bob)
    assert pair.until(id, Phase.REJECTED)
    assert not pair.alice.core.is_connected(pair.bob.card.key)


def test_two_who_ask_each_other_at_once_have_both_said_yes() -> None:
    pair = Pair(connected=False)
    ids = [pair.alice.ask(Kind.CONNECTION, pair.bob), pair.bob.ask(Kind.CONNECTION, pair.alice)]
    assert all(pair.until(id, Phase.DONE) for id in ids)


def test_an_unanswered_request_expires_on_both_sides_when_its_time_is_up() -> None:
    pair = Pair()
    id = pair.alice.ask(Kind.QUOTE, pair.bob, lifetime=30)
    assert not pair.until(id, Phase.EXPIRED, 29)
    assert pair.until(id, Phase.EXPIRED, 2)


def test_a_request_waits_for_an_hour_without_the_session_being_lost() -> None:
    pair = Pair()
    id = pair.alice.ask(Kind.QUOTE, pair.bob, lifetime=7200)
    pair.network.run_for(3600)
    pair.bob.answer(id, True, QUOTE)
    assert pair.until(id, Phase.DONE)


def test_someone_who_is_not_there_is_unreachable() -> None:
    pair = Pair(connected=False)
    pair.bob.host.stop()
    id = pair.alice.ask(Kind.CONNECTION, pair.bob)
    assert pair.network.run_until(lambda: pair.alice.phase(id) is Phase.UNREACHABLE, 12)
    assert "No answer came from bob" in pair.alice.reasons[id]


def test_a_quote_arrives_once_and_whole() -> None:
    pair = Pair()
    pair.bob.says = lambda asked: QUOTE
    id = pair.alice.ask(Kind.QUOTE, pair.bob)
    assert pair.until(id, Phase.DONE)
    (quote,) = pair.alice.quotes
    assert (quote.text, quote.author, quote.source) == (QUOTE.text, QUOTE.author, QUOTE.source)


def test_both_sides_of_a_quote_hold_the_same_key_and_token_and_no_two_quotes_share_them() -> None:
    pair = Pair()
    pair.bob.says = lambda asked: QUOTE
    for _ in range(2):
        assert pair.until(pair.alice.ask(Kind.QUOTE, pair.bob), Phase.DONE)
    secrets = [(link.token, link.key) for link in pair.alice.links]
    assert secrets == [(link.token, link.key) for link in pair.bob.links]
    assert len(set(secrets)) == 2


def test_an_offered_quote_leaves_only_after_the_yes() -> None:
    pair = Pair()
    id = pair.alice.ask(Kind.QUOTE, pair.bob, offer=QUOTE)
    pair.network.run_for(5)
    assert pair.bob.quotes == []
    pair.bob.answer(id, True)
    assert pair.until(id, Phase.DONE)
    assert pair.bob.quotes[0].text == QUOTE.text


def test_an_offered_picture_crosses_after_the_yes() -> None:
    pair = Pair()
    gift = picture(200_000)
    id = pair.alice.ask(Kind.IMAGE, pair.bob, offer=gift)
    pair.network.run_for(5)
    assert pair.bob.asked[0].image == gift.image
    assert pair.bob.sinks == {}
    pair.bob.answer(id, True)
    assert pair.until(id, Phase.DONE)
    assert isinstance(gift.source, Memory)
    assert pair.bob.sinks[id].data == gift.source.data


@pytest.mark.parametrize(
    "path",
    [
        {},
        {"loss": 0.01},
        {"loss": 0.05},
        {"loss": 0.20},
        {"loss": 0.05, "duplicate": 0.10, "reorder": 0.10, "reorder_depth": 50, "corrupt": 0.02},
    ],
    ids=["a clean path", "1 % loss", "5 % loss", "20 % loss", "everything at once"],
)
def test_a_picture_arrives_intact_over(path: dict[str, Any]) -> None:
    pair = Pair(seed=7, rate=2_500_000, queue=250_000, **path)
    gift = picture(1_000_003)
    pair.bob.says = lambda asked: gift
    id = pair.alice.ask(Kind.IMAGE, pair.bob)
    assert pair.until(id, Phase.DONE, 120)
    assert isinstance(gift.source, Memory)
    assert pair.alice.sinks[id].data == gift.source.data
    assert pair.alice.phases[id] == [Phase.WAITING, Phase.ACCEPTED, Phase.TRANSFERRING, Phase.DONE]
    assert pair.bob.phases[id] == pair.alice.phases[id]


def test_the_asker_takes_a_request_back_before_the_answer() -> None:
    pair = Pair()
    id = pair.alice.ask(Kind.IMAGE, pair.bob)
    pair.network.run_for(1)
    pair.alice.cancel(id)
    assert pair.until(id, Phase.CANCELLED)
    with pytest.raises(UsageError) as caught:
        pair.bob.answer(id, True, picture(1000))
    assert caught.value.code == "already_final"


def test_a_yes_and_a_cancel_that_cross_end_in_the_same_word_on_both_sides() -> None:
    pair = Pair()
    id = pair.alice.ask(Kind.IMAGE, pair.bob)
    pair.network.run_for(1)
    pair.bob.answer(id, True, picture(3_000_000))
    pair.alice.cancel(id)
    assert pair.until(id, Phase.CANCELLED)


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_either_side_stops_a_transfer_in_the_middle(who: str) -> None:
    pair = Pair(rate=1_000_000, queue=250_000)
    pair.bob.says = lambda asked: picture(5_000_000)
    id = pair.alice.ask(Kind.IMAGE, pair.bob)
    pair.network.run_for(2)
    progress = pair.alice.core.progress(id)
    assert progress is not None
    assert 0 < progress.bytes < progress.total
    getattr(pair, who).cancel(id)
    assert pair.until(id, Phase.CANCELLED)
    assert pair.alice.core.progress(id) is None


def test_someone_who_is_not_connected_is_refused_without_anybody_being_asked() -> None:
    pair = Pair()
    pair.bob.connected = ()
    pair.bob.restart()
    id = pair.alice.ask(Kind.QUOTE, pair.bob)
    assert pair.network.run_until(lambda: pair.alice.phase(id) is Phase.REJECTED, 5)
    assert pair.bob.asked == []
    assert not pair.alice.core.is_connected(pair.bob.card.key)


def test_asking_someone_one_is_not_connected_with_is_an_error_that_says_what_to_do() -> None:
    pair = Pair(connected=False)
    with pytest.raises(UsageError, match="ask to connect first"):
        pair.alice.ask(Kind.QUOTE, pair.bob)


def test_a_picture_goes_on_over_a_new_address_without_a_new_handshake() -> None:
    pair = Pair(rate=2_000_000, queue=250_000)
    pair.bob.says = lambda asked: picture(8_000_000)
    id = pair.alice.ask(Kind.IMAGE, pair.bob)
    for port in (5001, 5002, 5003):
        pair.network.run_for(1)
        pair.network.rebind(("10.0.0.1", 4001), ("10.0.0.1", port))
    assert pair.until(id, Phase.DONE)
    assert sum(isinstance(event, SessionOpened) for event in pair.bob.events) == 1


def test_a_transfer_outlives_a_blackout() -> None:
    pair = Pair(rate=2_000_000, queue=250_000)
    pair.bob.says = lambda asked: picture(4_000_000)
    id = pair.alice.ask(Kind.IMAGE, pair.bob)
    for link in pair.links:
        link.blackout(1, 20)
    assert pair.until(id, Phase.DONE, 40)
    assert pair.network.now < 25


def test_requests_to_an_agent_that_was_started_anew_are_unreachable() -> None:
    pair = Pair()
    id = pair.alice.ask(Kind.QUOTE, pair.bob)
    pair.network.run_for(1)
    pair.bob.restart()
    other = pair.bob.ask(Kind.QUOTE, pair.alice)
    assert pair.network.run_until(lambda: pair.alice.phase(id) is Phase.UNREACHABLE, 5)
    assert pair.alice.phase(other) is Phase.WAITING


def test_an_agent_that_stops_says_goodbye() -> None:
    pair = Pair()
    id = pair.alice.ask(Kind.QUOTE, pair.bob)
    pair.network.run_for(1)
    pair.bob.core.close(pair.network.now)
    pair.bob.host.wake()
    assert pair.network.run_until(lambda: pair.alice.phase(id) is Phase.UNREACHABLE, 1.1)
    assert "went offline" in pair.alice.reasons[id]


def test_fifty_of_fifty_handshakes_complete_at_30_percent_loss_each_way() -> None:
    for seed in range(50):
        pair = Pair(seed=seed, connected=False, loss=0.3)
        pair.bob.says = lambda asked: True
        id = pair.alice.ask(Kind.CONNECTION, pair.bob)
        assert pair.until(id, Phase.DONE, 30), f"seed {seed}"


def test_someone_who_is_said_to_be_gone_is_missed_within_seconds_and_only_if_it_is_true() -> None:
    pair = Pair()
    id = pair.alice.ask(Kind.QUOTE, pair.bob)
    pair.network.run_for(1)
    pair.alice.core.doubt(pair.bob.card.key, pair.network.now)
    pair.alice.host.wake()
    pair.network.run_for(8)
    assert pair.alice.phase(id) is Phase.WAITING
    pair.bob.host.stop()
    pair.alice.core.doubt(pair.bob.card.key, pair.network.now)
    pair.alice.host.wake()
    assert pair.network.run_until(lambda: pair.alice.phase(id) is Phase.UNREACHABLE, pair.network.now + 5)


@pytest.mark.parametrize("direction", ["with the picture", "against it"])
def test_a_message_is_not_stuck_behind_a_picture(direction: str) -> None:
    pair = Pair(rate=1_250_000, queue=250_000, delay=0.025)
    pair.bob.says = lambda asked: picture(10_000_000)
    id = pair.alice.ask(Kind.IMAGE, pair.bob)
    pair.network.run_for(2)
    assert pair.alice.phase(id) is Phase.TRANSFERRING
    who, other = (pair.bob, pair.alice) if direction == "with the picture" else (pair.alice, pair.bob)
    other.says = lambda asked: None
    question = who.ask(Kind.QUOTE, other)
    assert pair.network.run_until(
        lambda: any(asked.request == question for asked in other.asked), pair.network.now + 0.025 + 0.010
    )


def test_two_pictures_share_a_session_and_both_arrive() -> None:
    pair = Pair(rate=2_500_000, queue=250_000, delay=0.025, loss=0.01)
    gifts = [picture(3_000_000, seed=1), picture(3_000_000, seed=2)]
    waiting = iter(gifts)
    pair.bob.says = lambda asked: next(waiting)
    ids = [pair.alice.ask(Kind.IMAGE, pair.bob) for _ in gifts]
    pair.network.run_for(1.5)
    done = [len(pair.alice.sinks[id].verified) for id in ids]
    assert min(done) > 0.5 * max(done)
    for id, gift in zip(ids, gifts, strict=True):
        assert pair.until(id, Phase.DONE)
        assert isinstance(gift.source, Memory)
        assert pair.alice.sinks[id].data == gift.source.data
