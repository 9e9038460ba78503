"""The ledger: what rendezvous have signed is kept, compared, and survives the agent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import ledger as module
from agent.ledger import Ledger
from agent.protocol.errors import UsageError
from rendezvous.contract.statement import Statement
from tests.support.live_rendezvous import Someone

SERVER, OTHER = Someone(7), Someone(8)
ALICE, MALLORY = b"a" * 32, b"m" * 32
URL = "http://127.0.0.1:8000"


def stated(name: str = "alice", key: bytes = ALICE, claimed: int = 1, time: int = 9, seq: int = 1) -> Statement:
    statement = Statement(name, key, b"b" * 32, seq, claimed, time, SERVER.key)
    return statement.signed(SERVER.sign(statement.message()))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "directory.db")
    yield ledger
    ledger.close()


def test_the_newest_statement_about_a_name_is_kept(ledger: Ledger) -> None:
    for statement in (stated(time=9), stated(time=12, seq=2), stated(time=10)):
        assert ledger.note(statement) is None
    assert ledger.newest(SERVER.key, "ALICE") == stated(time=12, seq=2)
    assert ledger.newest(SERVER.key, "bob") is None
    assert ledger.newest(OTHER.key, "alice") is None


def test_what_no_server_has_signed_is_not_kept(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="not signed"):
        ledger.note(stated().signed(b"s" * 64))
    assert ledger.newest(SERVER.key, "alice") is None


def test_a_contradiction_is_found_once_and_survives_the_agent(ledger: Ledger, tmp_path: Path) -> None:
    ledger.note(stated())
    lie = stated(key=MALLORY, claimed=5, time=20)
    found = ledger.note(lie, "Bob")
    assert found is not None
    assert ledger.note(lie, "Carol") is None
    assert ledger.newest(SERVER.key, "alice") == stated()
    ledger.close()
    again = Ledger(tmp_path / "directory.db")
    assert again.evidence(SERVER.key) == [found]
    assert again.evidence(OTHER.key) == []
    assert found.as_json()["source"] == "Bob"
    again.meet(URL, SERVER.key)
    again.trust(URL)
    assert again.evidence(SERVER.key) == []
    again.close()


def test_a_name_that_changed_hands_is_no_contradiction(ledger: Ledger) -> None:
    ledger.note(stated())
    assert ledger.note(stated(key=MALLORY, claimed=10, time=20)) is None
    assert ledger.newest(SERVER.key, "alice") == stated(key=MALLORY, claimed=10, time=20)


def test_a_rendezvous_is_pinned_when_it_is_first_met(ledger: Ledger) -> None:
    assert ledger.server(URL) is None
    ledger.meet(URL, SERVER.key)
    ledger.meet(URL, SERVER.key)
    with pytest.raises(UsageError, match="another key than before") as error:
        ledger.meet(URL, OTHER.key)
    assert error.value.code == "key_changed"
    assert (ledger.server(URL), ledger.other_server(URL)) == (SERVER.key, OTHER.key)
    ledger.meet(URL, SERVER.key)  # it is as it was
    assert ledger.other_server(URL) is None
    ledger.meet("http://127.0.0.1:8001", OTHER.key)


def test_names_heard_of_long_ago_make_room(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    for number in range(5):
        ledger.note(stated(f"name {number}"))
    kept = [number for number in range(5) if ledger.newest(SERVER.key, f"name {number}") is not None]
    assert kept == [2, 3, 4]
