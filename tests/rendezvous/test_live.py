"""The live side of a real rendezvous of two processes: who sees whom, introductions, and tickets."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from rendezvous.contract.encoding import from_text, to_text
from rendezvous.contract.presence import HEARTBEAT, PRESENCE, looker
from rendezvous.contract.ticket import SECRET_SIZE, Side, decode_ticket
from rendezvous.events import SWEEP
from tests.support.live_agent import Agent, audience_of, sign_up
from tests.support.live_rendezvous import PATIENCE, Rendezvous, Someone, running

ALICE, BOB, CAROL = Someone(1), Someone(2), Someone(3)


@pytest.fixture(scope="module")
def rendezvous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendezvous]:
    with running(tmp_path_factory.mktemp("data"), "--processes", "2") as rendezvous:
        yield rendezvous


def attached(rendezvous: Rendezvous, who: Someone, name: str, **changes: object) -> Agent:
    return Agent(rendezvous, sign_up(rendezvous, who, name, **changes))


def code(answer: Any) -> str:
    assert answer["ok"] is False
    assert answer["error"]["message"].endswith(".")
    return str(answer["error"]["code"])


def test_silence_is_noticed_within_a_minute() -> None:
    assert 2 * HEARTBEAT < PRESENCE
    assert PRESENCE + SWEEP < 60


def test_somebody_hidden_is_seen_by_whom_they_allow_and_lost_again_when_they_do_not(rendezvous: Rendezvous) -> None:
    bob, carol = attached(rendezvous, BOB, "bob"), attached(rendezvous, CAROL, "carol")
    for agent in (bob, carol):
        assert agent.call("watch", {"names": ["ALICE"]}) == {"ok": True, "people": []}
    alice = attached(rendezvous, ALICE, "alice", visibility="contacts")
    assert alice.call("allow", {"lookers": [to_text(looker(BOB.key))]}) == {"ok": True}
    seen = bob.presence.until(lambda person: bool(person["online"]))
    assert (seen["username"], seen["key"]) == ("alice", to_text(ALICE.key))
    assert len(bob.call("watch", {"names": ["ALICE"]})["people"]) == 1
    assert carol.call("watch", {"names": ["ALICE"]}) == {"ok": True, "people": []}
    assert alice.call("allow", {"lookers": []}) == {"ok": True}
    lost = bob.presence.until(lambda person: not person["online"])
    assert lost == {"username": "ALICE", "key": None, "online": False}  # as the watcher wrote it
    assert carol.presence._queue.empty()
    for agent in (alice, bob, carol):
        agent.close()


def test_whoever_is_forgotten_is_gone_for_those_who_watch(rendezvous: Rendezvous) -> None:
    bob, alice = attached(rendezvous, BOB, "bob"), attached(rendezvous, ALICE, "alice")
    assert len(bob.call("watch", {"names": ["alice"]})["people"]) == 1
    body: Any = ALICE.forget("alice", audience_of(rendezvous))
    assert requests.post(f"{rendezvous.url}/forget", json=body, timeout=PATIENCE).status_code == 200
    assert bob.presence.until(lambda person: not person["online"])["key"] is None
    assert code(alice.call("heartbeat")) == "unauthorized"
    alice.close()
    bob.close()


@pytest.mark.parametrize("lookers", [None, "x", ["x"], [5], [to_text(bytes(15))], [to_text(bytes(16))] * 1001])
def test_what_cannot_be_allowed_is_refused(rendezvous: Rendezvous, lookers: object) -> None:
    alice = attached(rendezvous, ALICE, "alice")
    assert code(alice.call("allow", {"lookers": lookers})) == "bad_request"
    alice.close()


def test_introductions_and_tickets_reach_the_other_side_whichever_process_it_is_at(rendezvous: Rendezvous) -> None:
    audience = audience_of(rendezvous)
    others = [attached(rendezvous, Someone(number), f"agent{number}") for number in range(10, 16)]
    alice = attached(rendezvous, ALICE, "alice")
    for number, other in enumerate(others, 10):
        said = ALICE.introduction("alice", f"agent{number}", b"\x00sealed\xff", audience)
        assert alice.call("introduce", said) == {"ok": True}
        assert other.introductions.until(lambda _: True) == said
        mine = alice.call("ticket", {"peer": f"agent{number}"})
        theirs = other.tickets.until(lambda _: True)
        assert theirs["peer"] == "alice"
        tickets = [decode_ticket(from_text(value["ticket"])) for value in (mine, theirs)]
        assert [ticket.side for ticket in tickets] == [Side.ASKER, Side.OTHER]
        assert [ticket.holder for ticket in tickets] == [ALICE.key, Someone(number).key]
        assert tickets[0].id == tickets[1].id
        assert all(ticket.valid(from_text(audience), time.time()) for ticket in tickets)
        assert len({from_text(value["secret"], SECRET_SIZE) for value in (mine, theirs)}) == 2
    assert all(other.introductions._queue.empty() for other in others)
    for agent in (alice, *others):
        agent.close()


def test_an_introduction_that_does_not_hold_reaches_nobody(rendezvous: Rendezvous) -> None:
    audience = audience_of(rendezvous)
    bob, alice = attached(rendezvous, BOB, "bob"), attached(rendezvous, ALICE, "alice")
    attached(rendezvous, CAROL, "carol", visibility="hidden").close()
    said = ALICE.introduction("alice", "bob", b"hello", audience)
    wrong: dict[str, list[object]] = {
        "bad_request": [None, {}, said | {"payload": "AA"}, said | {"audience": to_text(bytes(32))}],
        "unauthorized": [
            CAROL.introduction("carol", "bob", b"hello", audience),
            ALICE.introduction("carol", "bob", b"hello", audience),
        ],
        "unknown_person": [
            ALICE.introduction("alice", "carol", b"hello", audience),
            ALICE.introduction("alice", "nobody", b"hello", audience),
        ],
    }
    for expected, values in wrong.items():
        assert [code(alice.call("introduce", value)) for value in values] == [expected] * len(values)
    assert code(bob.call("ticket", {"peer": "carol"})) == "unknown_person"
    assert code(bob.call("ticket", {"peer": "bob"})) == "bad_request"
    assert code(bob.call("ticket", {"peer": 5})) == "bad_request"
    alice.call("watch", {"names": ["bob"]})
    bob.close()
    alice.presence.until(lambda person: not person["online"])
    assert code(alice.call("introduce", said)) == "not_online"
    alice.close()
    assert bob.introductions._queue.empty()
