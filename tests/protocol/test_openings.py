"""How a session is opened where addresses come late, or were wrong; and who gets no answer."""

from agent.protocol.candidates import Found
from agent.protocol.report import Outcome, Tried
from agent.protocol.request import Kind, Phase
from tests.support.pair import ADDRESSES, Pair

NOWHERE = ("10.0.0.9", 9)


def asked_without_an_address() -> tuple[Pair, bytes]:
    """Let Alice ask Bob for a connection without knowing where he is."""
    pair = Pair(connected=False)
    pair.bob.says = lambda asked: True
    id = pair.network.random.randbytes(16)
    pair.alice.core.ask(id, Kind.CONNECTION, pair.bob.card, 300, "", 0.0)
    pair.alice.host.wake()
    return pair, id


def test_an_attempt_waits_for_a_route_and_takes_it_at_once() -> None:
    pair, id = asked_without_an_address()
    pair.network.run_for(5)
    assert pair.alice.phase(id) is Phase.WAITING
    assert pair.alice.core.needs(pair.bob.card.key)
    pair.alice.core.add_route(pair.bob.card.key, ADDRESSES["bob"], pair.network.now)
    pair.alice.host.wake()
    assert pair.until(id, Phase.DONE, 0.2)


def test_an_attempt_that_hears_of_no_address_says_so_when_its_time_is_up() -> None:
    pair, id = asked_without_an_address()
    assert pair.network.run_until(lambda: pair.alice.phase(id) is Phase.UNREACHABLE, 10.1)
    assert "not known where bob can be reached" in pair.alice.reasons[id]
    assert not pair.alice.core.needs(pair.bob.card.key)


def test_a_route_that_comes_late_is_used_beside_an_address_that_is_dead() -> None:
    pair, id = asked_without_an_address()
    pair.alice.core.meet(pair.bob.card.key, [NOWHERE])
    pair.network.run_for(3)
    pair.alice.core.add_route(pair.bob.card.key, ADDRESSES["bob"], pair.network.now)
    pair.alice.host.wake()
    assert pair.until(id, Phase.DONE, 0.2)


def test_a_route_that_is_gone_is_not_sent_to_any_more() -> None:
    pair, _ = asked_without_an_address()
    pair.alice.core.add_route(pair.bob.card.key, NOWHERE, 0.0)
    pair.network.run_for(1)
    pair.alice.core.drop_route(pair.bob.card.key, NOWHERE, pair.network.now)
    sent = pair.network.unreachable
    pair.network.run_for(5)
    assert pair.network.unreachable == sent


def test_what_was_tried_in_vain_is_reported() -> None:
    pair, _ = asked_without_an_address()
    core, key = pair.alice.core, pair.bob.card.key
    core.meet(key, [NOWHERE, ("192.0.2.1", 5)])
    core.unsendable(("192.0.2.1", 5), "unreachable", 0.0)
    report = core.report(key)
    assert report is not None
    assert report.kind is None
    trying = (
        Tried(Found.HOST, NOWHERE, Outcome.TRYING),
        Tried(Found.REFLEXIVE, ("192.0.2.1", 5), Outcome.UNREACHABLE),
    )
    assert report.here == trying
    pair.network.run_for(11)
    report = core.report(key)
    assert report is not None
    assert [tried.outcome for tried in report.here] == [Outcome.NO_ANSWER, Outcome.UNREACHABLE]


def test_who_is_not_directly_reachable_gives_a_stranger_who_guesses_the_address_no_answer() -> None:
    pair = Pair(connected=False)
    pair.bob.core.direct = False
    id = pair.alice.ask(Kind.CONNECTION, pair.bob)
    pair.network.run_for(5)
    assert pair.links[1].counters.packets == 0
    assert pair.network.run_until(lambda: pair.alice.phase(id) is Phase.UNREACHABLE, 12)


def test_who_is_not_directly_reachable_still_answers_contacts() -> None:
    pair = Pair()
    pair.bob.core.direct = False
    pair.bob.says = lambda asked: False
    assert pair.until(pair.alice.ask(Kind.QUOTE, pair.bob), Phase.REJECTED)
