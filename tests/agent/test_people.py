"""Keys of contacts as people see them: compared, changed, decided about. The directory is in the tests' hands."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.history import History
from agent.ledger import Evidence, Ledger
from agent.people import People
from agent.person import Person
from agent.protocol.card import Card
from agent.protocol.errors import UsageError
from agent.words import digits, words
from rendezvous.contract.identity import fingerprint
from rendezvous.contract.presence import looker
from rendezvous.contract.statement import Statement
from tests.support.live_rendezvous import Someone

SERVER = Someone(7)
KEY, OTHER, THIRD, BOX, SIGNATURE = b"k" * 32, b"o" * 32, b"3" * 32, b"b" * 32, b"s" * 64


class Told:
    """A directory, a local network where nobody is, and a page, in the test's hands."""

    def __init__(self) -> None:
        self.people: dict[str, Person] = {}
        self.down = False
        self.looks: list[bytes] = []
        self.allowed: list[bytes] = []
        self.found: list[Evidence] = []
        self.said: list[tuple[bytes, bytes]] = []
        self.events: list[tuple[str, Any]] = []

    def says(self, name: str, key: bytes | None, box: bytes | None = BOX) -> Person:
        signature = None if box is None else SIGNATURE
        person = Person(name, key, box, signature, online=True, host="127.0.0.1", port=4000, last_seen=None)
        self.people[name] = person
        return person

    url = "http://127.0.0.1:8000"

    def get_person(self, name: str, look: bytes = b"", key: bytes | None = None) -> Person:
        self.looks.append(look)
        if self.down:
            raise UsageError("rendezvous_down", "The rendezvous does not answer.")
        if name not in self.people:
            raise UsageError("unknown_person", "Nobody has that name here.")
        return self.people[name]

    def list_people(self, query: str, after: str | None) -> tuple[list[Person], None]:
        return list(self.people.values()), None

    def addresses(self, key: bytes | None) -> list[tuple[str, int]]:
        return []

    def away(self) -> bool:
        return self.down

    def watch(self, names: list[str]) -> None:
        pass

    def allow(self, lookers: list[bytes], seconds: float = 0.0) -> None:
        self.allowed = lookers

    def say(self, key: bytes, statement: bytes) -> None:
        self.said.append((key, statement))

    def hear(self, event: str, value: object) -> None:
        self.events.append((event, value))

    def last(self, event: str) -> Any:
        return [value for name, value in self.events if name == event][-1]


@pytest.fixture
def told() -> Told:
    told = Told()
    told.says("Bob", KEY)
    return told


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "history.db")
    history.pin("Bob", KEY, BOX, SIGNATURE, 5.0)
    yield history
    history.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "directory.db")
    ledger.meet(Told.url, SERVER.key)
    yield ledger
    ledger.close()


@pytest.fixture
def people(told: Told, history: History, ledger: Ledger) -> People:
    return People(told, told, history, ledger, told.hear, told.say, told.found.append)  # type: ignore[arg-type]


def bob(people: People) -> dict[str, Any]:
    return people.contacts()[0]


def refused(code: str, call: Any, *arguments: Any) -> None:
    with pytest.raises(UsageError) as error:
        call(*arguments)
    assert error.value.code == code
    assert error.value.message.endswith(".")


def test_everybody_is_shown_with_words_and_digits_and_nobody_counts_as_compared(people: People, told: Told) -> None:
    told.says("Carol", OTHER)
    told.says("Keyless", None, None)
    shown = {person["name"]: person for person in people.listed("", None, None)[0]}
    for name, key in (("Bob", KEY), ("Carol", OTHER)):
        written = {"fingerprint": fingerprint(key), "words": words(key), "digits": digits(key)}
        assert written.items() <= shown[name].items()
        assert (shown[name]["verified"], shown[name]["key_changed"]) == (False, False)
    assert shown["Keyless"]["fingerprint"] is None
    assert "words" not in shown["Keyless"]


def test_a_comparison_is_kept_told_and_can_be_taken_back(people: People, told: Told, history: History) -> None:
    for verified in (True, False):
        people.set_verified("Bob", verified)
        assert told.last("people")[0]["verified"] is verified
        assert [contact.verified for contact in history.contacts()] == [verified]
    refused("not_connected", people.set_verified, "Carol", True)


@pytest.mark.parametrize("heard", ["presence", "listed", "get", "reach"])
def test_another_key_in_the_directory_stops_everything_however_it_is_heard(
    people: People, told: Told, history: History, heard: str
) -> None:
    people.set_verified("Bob", True)
    other, pinned = told.says("Bob", OTHER), history.contacts()[0]
    match heard:
        case "presence":
            people.presence(other)
        case "listed":
            assert people.listed("", None, None)[0] == people.contacts()
        case "get":
            assert people.get("Bob") == bob(people)
        case "reach":
            refused("key_changed", people.reach, pinned)
    assert told.last("people") == people.contacts()
    assert told.last("notice")["code"] == "key_changed"
    expected = {"key_changed": True, "key_kept": False, "fingerprint": fingerprint(KEY), "words": words(KEY)}
    expected |= {"new_fingerprint": fingerprint(OTHER), "new_words": words(OTHER), "new_digits": digits(OTHER)}
    assert expected.items() <= bob(people).items()
    refused("key_changed", people.look_up, "Bob")
    refused("key_changed", people.set_verified, "Bob", True)
    told.down = True
    refused("key_changed", people.reach, history.contacts()[0])


def test_a_key_that_comes_back_ends_the_stop_and_says_so(people: People, told: Told) -> None:
    people.presence(told.says("Bob", OTHER))
    people.keep_key("Bob")
    assert bob(people)["key_kept"] is True
    people.presence(told.says("Bob", KEY))
    assert told.last("people")[0]["key_changed"] is False
    assert people.look_up("Bob").key == KEY
    assert people.contact("Bob").connected


def test_a_trusted_key_takes_the_place_of_the_old_one_but_not_its_connection(people: People, told: Told) -> None:
    people.set_verified("Bob", True)
    people.presence(told.says("Bob", OTHER))
    people.replace_key("Bob", fingerprint(OTHER))
    now = bob(people)
    assert now == told.last("people")[0]
    assert (now["fingerprint"], now["connected"], now["verified"]) == (fingerprint(OTHER), False, False)
    assert now["key_changed"] is False
    assert people.look_up("Bob").key == OTHER
    refused("not_connected", people.contact, "Bob")


def test_only_the_key_that_the_directory_gives_now_can_be_trusted(people: People, told: Told) -> None:
    refused("key_changed", people.replace_key, "Bob", fingerprint(KEY))
    people.presence(told.says("Bob", OTHER))
    refused("key_changed", people.replace_key, "Bob", fingerprint(THIRD))
    told.says("Bob", THIRD)
    refused("key_changed", people.replace_key, "Bob", fingerprint(OTHER))
    assert bob(people)["new_fingerprint"] == fingerprint(THIRD)
    told.says("Bob", THIRD, None)
    refused("unreachable", people.replace_key, "Bob", fingerprint(THIRD))
    told.says("Bob", KEY)
    refused("key_changed", people.replace_key, "Bob", fingerprint(KEY))
    assert (bob(people)["fingerprint"], bob(people)["connected"]) == (fingerprint(KEY), True)


# What the rendezvous has signed, compared with peers


def stated(name: str, key: bytes, claimed: int = 1, time: int = 9) -> Statement:
    statement = Statement(name, key, BOX, 1, claimed, time, SERVER.key)
    return statement.signed(SERVER.sign(statement.message()))


def as_told(statement: Statement) -> bytes:
    return json.dumps(statement.as_json()).encode()


BOB = Card("Bob", KEY, BOX, SIGNATURE)


def test_a_peer_in_session_is_told_what_the_rendezvous_states_of_them(
    people: People, told: Told, ledger: Ledger
) -> None:
    people.session_opened(BOB, ("127.0.0.1", 1), None)
    assert told.said == []
    ledger.note(stated("Bob", OTHER))
    people.session_opened(BOB, ("127.0.0.1", 1), None)
    ((key, said),) = told.said
    assert key == KEY
    assert json.loads(said) == stated("Bob", OTHER).as_json()


def test_a_statement_of_a_peer_that_cannot_be_true_is_evidence_and_stops_first_contacts(
    people: People, told: Told, ledger: Ledger
) -> None:
    ledger.note(stated("Me", THIRD))
    people.statement_told(BOB, as_told(stated("Me", OTHER, 5, 7)))
    (evidence,) = told.found
    assert (evidence.first.key, evidence.second.key, evidence.source) == (THIRD, OTHER, "Bob")
    assert evidence.sentence.endswith("Bob and this agent.")
    told.says("Carol", THIRD)
    refused("key_changed", people.ask, "Carol")
    people.ask("Bob")
    ledger.trust(Told.url)
    people.ask("Carol")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[" * 2000,
        b"{}",
        b"\xff",
        as_told(stated("Me", THIRD)),
        as_told(stated("Me", OTHER, 10, 20)),
        as_told(stated("Me", OTHER)).replace(b"Me", b"Mo"),
        as_told(Statement("Me", OTHER, BOX, 1, 1, 9, Someone(8).key, signature=b"s" * 64)),
        as_told(Statement("Me", OTHER, BOX, 1, 1, 9, SERVER.key, signature=b"s" * 64)),
    ],
)
def test_what_is_no_contradiction_is_no_evidence(people: People, told: Told, ledger: Ledger, said: bytes) -> None:
    ledger.note(stated("Me", THIRD))
    people.statement_told(BOB, said)
    assert told.found == []
    assert ledger.evidence(SERVER.key) == []


def test_a_peer_is_listened_to_once_in_a_session(people: People, told: Told, ledger: Ledger) -> None:
    ledger.note(stated("Me", THIRD))
    people.statement_told(BOB, b"nonsense")
    people.statement_told(BOB, as_told(stated("Me", OTHER)))
    assert told.found == []
    people.session_opened(BOB, ("127.0.0.1", 1), None)
    people.statement_told(BOB, as_told(stated("Me", OTHER)))
    assert len(told.found) == 1


# Who may find us, and whom invitations name


def test_those_find_us_whom_we_ask_and_those_we_are_connected_with(
    people: People, told: Told, history: History
) -> None:
    secret = looker(people.look_secret())
    people.watch()
    assert told.allowed == [secret]
    history.set_setting("visibility", "contacts")
    people.watch()
    assert told.allowed == [secret, looker(KEY)]
    history.set_setting("visibility", "hidden")
    told.says("Carol", THIRD)
    people.ask("Carol")
    assert told.allowed == [looker(THIRD), secret]
    assert looker(people.look_secret()) == secret


def test_a_contact_who_is_hidden_is_offline_but_may_be_where_the_last_session_was(people: People, told: Told) -> None:
    del told.people["Bob"]
    assert people.reach(people.contact("Bob")) == ("Bob is not online.", [])
    people.session_opened(BOB, ("relay-udp", 1), None)
    people.session_opened(BOB, ("127.0.0.1", 9), None)
    assert people.reach(people.contact("Bob")) == ("", [("127.0.0.1", 9)])


def test_without_the_rendezvous_contacts_are_where_they_were_and_it_is_not_waited_for(
    people: People, told: Told
) -> None:
    told.down = True
    why, addresses = people.reach(people.contact("Bob"))
    assert (why, addresses) == ("The rendezvous does not answer. Where Bob was before is not known.", [])
    people.reached(BOB, ("192.0.2.7", 9))
    looked_up = len(told.looks)
    assert people.reach(people.contact("Bob")) == ("", [("192.0.2.7", 9)])
    assert len(told.looks) == looked_up


def test_the_address_of_a_contact_is_the_directorys_word_only_where_they_are_directly_reachable(
    people: People, told: Told
) -> None:
    assert people.reach(people.contact("Bob")) == ("", [])
    told.people["Bob"] = replace(told.people["Bob"], direct=True)
    assert people.reach(people.contact("Bob")) == ("", [("127.0.0.1", 4000)])


def test_whoever_sent_an_invitation_is_verified_from_the_start(people: People, told: Told) -> None:
    told.says("Carol", THIRD)
    assert people.invited("Carol", fingerprint(THIRD), b"l" * 16)["verified"]
    assert people.get("Carol")["verified"]
    assert told.looks == [b"l" * 16] * 2
    people.connected(Card("Carol", THIRD, BOX, SIGNATURE))
    assert [contact["verified"] for contact in people.contacts()] == [False, True]


def test_an_invitation_with_another_key_than_the_rendezvous_gives_is_a_hard_stop(people: People, told: Told) -> None:
    told.says("Carol", OTHER)
    refused("key_changed", people.invited, "Carol", fingerprint(THIRD), b"")
    assert not people.get("Carol")["verified"]
    told.says("Bob", OTHER)
    refused("key_changed", people.invited, "Bob", fingerprint(OTHER), b"")  # pinned to another one
    told.says("Bob", KEY)
    assert people.invited("Bob", fingerprint(KEY), b"")["verified"]
