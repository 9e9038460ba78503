"""Who is let in, and what a flood at the door costs."""

from collections import Counter

from agent.protocol.doorkeeper import READS_PER_SECOND, Answer, Doorkeeper
from agent.protocol.errors import Drop
from agent.protocol.handshake import COOKIE
from tests.support.handshakes import ALICE, BOB, chance, initiator

HOME = ("192.0.2.1", 4000)


def door(counters: dict[bytes, int] | None = None) -> tuple[Doorkeeper, Counter[Drop]]:
    drops: Counter[Drop] = Counter()
    return Doorkeeper(BOB, chance(9), drops, counters or {}), drops


def ask(keeper: Doorkeeper, packet: bytes, now: float = 0.0, sessions: tuple[bytes, ...] = ()) -> Answer | None:
    return keeper.answer(packet, HOME, "bob", sessions, now)


def test_a_response_that_was_lost_is_sent_again_without_another_session() -> None:
    keeper, _ = door()
    packet = initiator().initiation(0.0)
    first = ask(keeper, packet)
    assert first is not None
    assert first.established is not None
    again = ask(keeper, packet, sessions=(first.established.local_connection_id,))
    assert again is not None
    assert (again.response, again.established) == (first.response, None)
    assert ask(keeper, packet) is None, "its session is gone: it is a replay"


def test_what_is_not_above_the_last_proven_counter_is_a_replay() -> None:
    keeper, drops = door({ALICE.key: 5})
    assert ask(keeper, initiator(1, counter=5).initiation(0.0)) is None
    assert ask(keeper, initiator(2, counter=6).initiation(0.0)) is not None
    keeper.proved(ALICE.key, 6)
    assert ask(keeper, initiator(3, counter=6).initiation(0.0)) is None
    assert drops[Drop.REPLAYED] == 2


def test_someone_without_a_name_answers_nobody() -> None:
    keeper, drops = door()
    assert keeper.answer(initiator().initiation(0.0), HOME, None, (), 0.0) is None
    assert drops[Drop.NOT_FOR_US] == 1


def test_a_flood_is_answered_with_cookies_that_are_smaller_than_what_came_and_who_shows_one_is_let_in() -> None:
    keeper, drops = door()
    flood = [initiator(seed, counter=seed).initiation(0.0) for seed in range(1, int(READS_PER_SECOND) + 40)]
    answers = [answer for packet in flood if (answer := ask(keeper, packet)) is not None]
    assert all(len(answer.response) < len(flood[0]) for answer in answers)
    assert sum(answer.established is not None for answer in answers) <= READS_PER_SECOND + 1
    assert drops[Drop.BUSY] >= 38
    honest = initiator(99, counter=1000)
    refused = ask(keeper, honest.initiation(0.0))
    assert refused is not None
    assert refused.response[0] == COOKIE
    assert honest.receive_cookie(refused.response, 0.0)
    welcomed = ask(keeper, honest.initiation(0.0))
    assert welcomed is not None
    assert welcomed.established is not None


def test_a_cookie_from_another_address_opens_nothing_under_load() -> None:
    keeper, _ = door()
    for seed in range(1, int(READS_PER_SECOND) + 5):
        ask(keeper, initiator(seed, counter=seed).initiation(0.0))
    honest = initiator(99, counter=1000)
    refused = ask(keeper, honest.initiation(0.0))
    assert refused is not None
    honest.receive_cookie(refused.response, 0.0)
    elsewhere = keeper.answer(honest.initiation(0.0), ("198.51.100.7", 1), "bob", (), 0.0)
    assert elsewhere is not None
    assert elsewhere.established is None
