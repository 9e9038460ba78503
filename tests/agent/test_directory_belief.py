"""What the client of the rendezvous believes, against a rendezvous that lies."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from agent.directory_belief import Belief
from agent.directory_wire import Wire
from agent.person import Person, read_person
from rendezvous.contract.encoding import to_text
from rendezvous.contract.statement import Statement
from tests.support.directory_client import Client, refusal
from tests.support.live_rendezvous import Someone

ALICE, BOB, CAROL = Someone(1), Someone(2), Someone(3)


@contextlib.contextmanager
def liar(answer: bytes, status: int = 200) -> Iterator[str]:
    """Run something that is no rendezvous: it gives one answer to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"", 200),
        (b"<html>", 200),
        (b"[]", 200),
        (b"{}", 200),
        (b"\xff", 200),
        (b"[" * 100_000, 200),
        (b" " * 1_000_000, 200),
        (b"{}", 301),
        (b"{}", 500),
        (b"<html>", 404),
        (b'{"people": {}, "next": 5, "key": "x", "username": []}', 200),
    ],
)
def test_answers_that_make_no_sense_are_told_in_one_sentence(answer: bytes, status: int) -> None:
    with liar(answer, status) as url:
        directory = Client(url, ALICE).directory
        assert refusal(directory.list_people) == "rendezvous_down"
        assert refusal(lambda: directory.get_person("bob")) == "rendezvous_down"
        assert refusal(lambda: directory.sign_up("alice", 5001)) == "rendezvous_down"


def stated(who: Someone = BOB, server: Someone = BOB, claimed: int = 1, time: int = 9) -> dict[str, object]:
    """Return what a server has signed of bob. (A liar's answer to everything names BOB's key as its own.)"""
    statement = Statement("bob", who.key, who.box_key, 1, claimed, time, server.key)
    return statement.signed(server.sign(statement.message())).as_json()


def card(**changes: object) -> dict[str, Any]:
    return {
        "username": "bob",
        "key": to_text(BOB.key),
        "box_key": to_text(BOB.box_key),
        "box_signature": to_text(BOB.box_signature("bob")),
        "online": True,
        "host": "192.0.2.1",
        "port": 5002,
        "last_seen": 1,
        "statement": stated(),
    } | changes


WRONG: list[dict[str, object]] = [
    {"username": "alice"},
    {"username": "bob "},
    {"username": None},
    {"online": 1},
    {"key": to_text(ALICE.key)},
    {"key": None},
    {"key": "x"},
    {"key": 5},
    {"box_key": to_text(ALICE.box_key)},
    {"box_signature": None},
    {"host": "example.org"},
    {"host": 5},
    {"port": 0},
    {"port": True},
    {"port": "5002"},
    {"last_seen": -1},
    {"statement": {}},
    {"statement": stated(ALICE)},
    {"statement": stated() | {"released": True}},
    {"statement": stated() | {"time": -1}},
]


@pytest.mark.parametrize("changes", WRONG)
def test_a_person_that_does_not_hold_is_not_believed(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_person(card(**changes))


def test_lies_about_people_are_left_out_of_lists_and_refused_alone() -> None:
    people = [card(), *[card(**changes) for changes in WRONG], None, "bob"]
    with liar(json.dumps({"people": people, "next": None}).encode()) as url:
        listed, _ = Client(url, ALICE).directory.list_people()
        assert [person.name for person in listed] == ["bob"]
    with liar(json.dumps(card(port=0)).encode()) as url:
        assert refusal(lambda: Client(url, ALICE).directory.get_person("bob")) == "rendezvous_down"
    with liar(json.dumps(card()).encode()) as url:
        directory = Client(url, ALICE).directory
        assert directory.get_person("Bob").key == BOB.key
        assert refusal(lambda: directory.get_person("carol")) == "rendezvous_down"
    for unsigned in (card(statement=None), card(statement=stated() | {"time": 10})):
        with liar(json.dumps(unsigned).encode()) as url:
            assert refusal(lambda: Client(url, ALICE).directory.get_person("bob")) == "rendezvous_down"


def as_bob(who: Someone, **changes: object) -> bytes:
    """Return a card that gives bob's name to somebody's keys, signed by the liar that says so."""
    keys: dict[str, object] = {"key": to_text(who.key), "box_key": to_text(who.box_key)}
    value = card(**keys, box_signature=to_text(who.box_signature("bob")), **changes)
    return json.dumps(value).encode()


def test_a_rendezvous_that_contradicts_itself_is_caught_by_its_signatures() -> None:
    heard = Client("http://127.0.0.1:1", ALICE)
    with liar(json.dumps(card()).encode()) as url:
        heard.directory.move(url)
        assert heard.directory.get_person("bob").key == BOB.key
        belief = Belief(Wire(url), heard.ledger, heard.evidence)
        other = json.loads(as_bob(CAROL, statement=stated(CAROL)))
        assert belief.person(other).key == CAROL.key
        evidence = heard.evidence.until(lambda _: True)
        assert (evidence.first.key, evidence.second.key) == (BOB.key, CAROL.key)
        assert evidence.first.contradicts(evidence.second)
        assert heard.ledger.evidence(BOB.key) == [evidence]
        later = json.loads(as_bob(CAROL, statement=stated(CAROL, claimed=10, time=11)))
        assert belief.person(later).key == CAROL.key  # released in between: no contradiction
        assert heard.ledger.evidence(BOB.key) == [evidence]
    heard.close()


def test_a_rendezvous_with_another_key_than_before_is_not_believed_until_a_person_decides() -> None:
    alice = Client("http://127.0.0.1:1", ALICE)
    with liar(json.dumps(card()).encode()) as url:
        alice.ledger.meet(url, CAROL.key)
        alice.directory.move(url)
        assert refusal(lambda: alice.directory.get_person("bob")) == "key_changed"
        assert refusal(lambda: alice.directory.sign_up("alice", 5001)) == "key_changed"
        assert (alice.ledger.server(url), alice.ledger.other_server(url)) == (CAROL.key, BOB.key)
        alice.ledger.trust(url)
        assert (alice.ledger.server(url), alice.ledger.other_server(url)) == (BOB.key, None)
        assert alice.directory.get_person("bob").key == BOB.key
    alice.close()


def test_someone_without_keys_is_a_person_without_a_fingerprint() -> None:
    person = read_person({"username": "bob", "online": False, "key": None})
    assert person == Person("bob", None, None, None, False, None, None, None)
    assert person.fingerprint is None


def test_what_an_agent_says_of_its_network_is_taken_as_words() -> None:
    words = {"mapping": "independent", "filtering": "port", "udp": True, "ipv6": False}
    person = read_person(card(reach=words, relay=":3478", direct=True, same_network=True))
    assert (person.reach, person.relay, person.direct, person.same_network) == (words, ":3478", True, True)


@pytest.mark.parametrize("reach", [None, [], "open", {str(number): True for number in range(99)}])
def test_what_are_no_words_is_left_out(reach: object) -> None:
    person = read_person(card(reach=reach, relay=5, direct="yes", same_network=1))
    assert (person.reach, person.relay, person.direct, person.same_network) == (None, None, False, False)


def test_a_word_that_is_none_is_left_out() -> None:
    assert read_person(card(reach={"mapping": ["x"], "udp": None, "filtering": "x" * 99, "ipv6": True})).reach == {
        "ipv6": True
    }
