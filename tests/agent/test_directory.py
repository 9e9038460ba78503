"""The client of the rendezvous, against a real one, against one that dies, and against one that
lies.
"""

import contextlib
import http.server
import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.directory import Directory
from agent.directory_belief import Belief
from agent.directory_wire import Wire
from agent.ledger import Evidence, Ledger
from agent.person import Person, read_person
from agent.protocol.errors import UsageError
from rendezvous.contract.encoding import to_text
from rendezvous.contract.identity import fingerprint
from rendezvous.contract.presence import looker
from rendezvous.contract.statement import Statement
from tests.support.live_rendezvous import Heard, Rendezvous, Someone, children, running

ALICE, BOB, CAROL = Someone(1), Someone(2), Someone(3)
RETURN = 10.0
"""Seconds within which everyone is back after a rendezvous has returned."""


@dataclass
class Client:
    """A directory client, and what it told."""

    url: str
    who: Someone
    visibility: str = "listed"
    presence: Heard[Person] = field(default_factory=Heard)
    status: Heard[tuple[str, str]] = field(default_factory=Heard)
    evidence: Heard[Evidence] = field(default_factory=Heard)
    folder: "tempfile.TemporaryDirectory[str]" = field(default_factory=tempfile.TemporaryDirectory)
    ledger: Ledger = field(init=False)
    directory: Directory = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(Path(self.folder.name) / "directory.db")
        self.directory = Directory(
            self.url,
            self.who,
            self.ledger,
            next_seq=self.who.next_seq,
            on_presence=self.presence,
            on_status=lambda status, sentence: self.status((status, sentence)),
            on_evidence=self.evidence,
            visibility=self.visibility,
        )

    def close(self) -> None:
        """Give back what was opened."""
        self.ledger.close()
        self.folder.cleanup()

    def until(self, status: str, words: str = "", seconds: float = RETURN) -> None:
        """Wait for a status whose sentence has these words."""
        sentence = self.status.until(lambda told: told[0] == status and words in told[1], seconds)[1]
        assert sentence.endswith(".")

    def until_online(self, name: str, online: bool) -> Person:
        """Wait for the news that someone is here, or is not."""
        return self.presence.until(lambda person: (person.name, person.online) == (name, online), RETURN)


@contextlib.contextmanager
def client(url: str, who: Someone, visibility: str = "listed") -> Iterator[Client]:
    started = Client(url, who, visibility)
    started.directory.start()
    yield started
    started.directory.stop()
    started.close()


def refusal(call: Callable[[], object]) -> str:
    """Return the code of the error that a call ends with; its message must be one sentence."""
    with pytest.raises(UsageError) as caught:
        call()
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    return caught.value.code


@pytest.fixture(scope="module")
def rendezvous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendezvous]:
    with running(tmp_path_factory.mktemp("data")) as rendezvous:
        yield rendezvous


def test_two_people_sign_up_and_find_each_other(rendezvous: Rendezvous) -> None:
    with client(rendezvous.url, ALICE) as alice, client(rendezvous.url, BOB) as bob:
        alice.until("connecting")
        alice.until("up", "is there")
        assert alice.directory.name is None
        alice.directory.sign_up("alice", 5001)
        bob.directory.sign_up("bob", 5002)
        alice.until("up", "Signed up as alice")
        people, more = alice.directory.list_people()
        assert [(person.name, person.online) for person in people] == [
            ("alice", True),
            ("bob", True),
        ]
        assert more is None
        assert people[1].fingerprint == fingerprint(BOB.key)
        person = alice.directory.get_person("BOB")
        assert (person.key, person.box_key) == (BOB.key, BOB.box_key)
        assert person.box_signature == BOB.box_signature("bob")
        assert (person.host, person.port) == ("127.0.0.1", 5002)


def test_pages_and_searches(rendezvous: Rendezvous) -> None:
    with client(rendezvous.url, ALICE) as alice:
        alice.directory.sign_up("alice", 5001)
        first, after = alice.directory.list_people(limit=1)
        assert after == first[0].name
        assert [p.name for p in alice.directory.list_people("AL")[0]] == ["alice"]
        assert alice.directory.list_people("nobody") == ([], None)


def test_errors_are_sentences_with_the_codes_of_the_contract(rendezvous: Rendezvous) -> None:
    with client(rendezvous.url, ALICE) as alice, client(rendezvous.url, BOB) as bob:
        alice.directory.sign_up("alice", 5001)
        assert refusal(lambda: bob.directory.sign_up("alice", 5002)) == "name_taken"
        assert refusal(lambda: bob.directory.sign_up(" x", 5002)) == "bad_request"
        assert refusal(lambda: bob.directory.sign_up("x", 0)) == "bad_request"
        assert refusal(lambda: bob.directory.get_person("nobody")) == "unknown_person"
        assert refusal(lambda: bob.directory.get_person("")) == "bad_request"
        assert refusal(lambda: bob.directory.list_people(limit=0)) == "bad_request"
        assert refusal(lambda: bob.directory.list_people("x" * 999)) == "bad_request"
        assert bob.directory.name is None


def test_whoever_is_watched_is_seen_to_come_and_go(rendezvous: Rendezvous) -> None:
    with client(rendezvous.url, ALICE) as alice:
        alice.directory.watch(["bob"])
        alice.directory.sign_up("alice", 5001)
        with client(rendezvous.url, BOB) as bob:
            bob.directory.sign_up("bob", 5002)
            assert alice.until_online("bob", True).key == BOB.key
            bob.until("up", "Signed up as bob")
            said_goodbye = time.monotonic()
        alice.until_online("bob", False)
        assert time.monotonic() - said_goodbye < 4  # the goodbye, and 2 s


def test_the_rendezvous_is_killed_and_everyone_is_back_when_it_returns(tmp_path: Path) -> None:
    rendezvous = Rendezvous(tmp_path)
    carol = Client(rendezvous.url, CAROL)
    with client(rendezvous.url, ALICE) as alice, client(rendezvous.url, BOB) as bob:
        alice.directory.watch(["bob"])
        alice.directory.sign_up("alice", 5001)
        bob.directory.sign_up("bob", 5002)
        alice.until("up", "Signed up")
        bob.until("up", "Signed up")
        rendezvous.kill()
        alice.until("down", rendezvous.url)
        assert refusal(lambda: alice.directory.get_person("bob")) == "rendezvous_down"
        assert refusal(alice.directory.list_people) == "rendezvous_down"
        carol.directory.start()
        assert refusal(lambda: carol.directory.sign_up("carol", 5003)) == "rendezvous_down"
        assert carol.directory.name is None
        rendezvous.again()
        alice.until("up", "Signed up as alice")
        bob.until("up", "Signed up as bob")
        alice.until_online("bob", True)
        carol.until("up", "Signed up as carol")
        rendezvous.stop()
        alice.until("down")
        carol.directory.stop()


def test_a_session_that_the_rendezvous_forgot_is_made_anew(
    rendezvous: Rendezvous, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.directory.HEARTBEAT", 0.2)
    with client(rendezvous.url, ALICE) as alice:
        alice.directory.sign_up("alice", 5001)
        alice.until("up", "Signed up as alice")
        with socket.socket(socket.AF_UNIX) as valkey:
            valkey.connect(str(rendezvous.data / "valkey" / "valkey.sock"))
            valkey.sendall(b"FLUSHALL\r\n")
            assert valkey.recv(9) == b"+OK\r\n"
        deadline = time.monotonic() + RETURN
        while not (people := alice.directory.list_people("alice")[0]):
            assert time.monotonic() < deadline, "not back in time"
        assert people[0].online


def test_a_rendezvous_that_lost_its_store_says_so_and_is_back_with_it(
    rendezvous: Rendezvous, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.directory.HEARTBEAT", 0.2)
    with client(rendezvous.url, ALICE) as alice:
        alice.directory.sign_up("alice", 5001)
        alice.until("up", "Signed up as alice")
        (valkey,) = (p for p, line in children(rendezvous.process.pid).items() if "valkey" in line)
        os.kill(valkey, signal.SIGSTOP)
        alice.until("down")
        assert refusal(alice.directory.list_people) == "rendezvous_down"
        os.kill(valkey, signal.SIGCONT)
        alice.until("up", "Signed up as alice")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://localhost",
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://user@host",
        "http://host/path",
        "http://host?x",
        "http://[::1",
        "http://a b",
    ],
)
def test_what_is_no_address_of_a_rendezvous_is_refused_at_once(url: str) -> None:
    assert refusal(lambda: Client(url, ALICE)) == "bad_request"


def test_whoever_is_not_there_or_says_nothing_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert refusal(Client(f"http://127.0.0.1:{port}", ALICE).directory.list_people) == ("rendezvous_down")
    assert refusal(Client("http://127.0.0.1:1", ALICE).directory.list_people) == "rendezvous_down"
    nowhere = Client("http://nowhere.invalid", ALICE)
    assert refusal(lambda: nowhere.directory.sign_up("alice", 5001)) == "rendezvous_down"


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


def test_whoever_wishes_it_is_forgotten_and_told_so_with_a_signature(rendezvous: Rendezvous) -> None:
    with client(rendezvous.url, CAROL) as carol, client(rendezvous.url, BOB) as bob:
        bob.directory.sign_up("bob", 5002)
        bob.directory.watch(["Carol"])
        carol.directory.sign_up("Carol", 5003)
        assert bob.until_online("Carol", True).key == CAROL.key
        statement = carol.directory.forget()
        assert statement is not None
        assert statement.released
        assert statement.holds()
        assert bob.until_online("Carol", False).key is None
        assert refusal(lambda: bob.directory.get_person("carol")) == "unknown_person"
        assert carol.directory.name is None
        assert carol.directory.forget() is None
        carol.until("up", "is there")
        carol.directory.sign_up("Carol", 5003)
        assert bob.until_online("Carol", True).key == CAROL.key


def test_somebody_hidden_is_found_by_whom_they_allow_and_nobody_sees_them_go_meanwhile(
    rendezvous: Rendezvous,
) -> None:
    with client(rendezvous.url, CAROL, "contacts") as carol, client(rendezvous.url, BOB) as bob:
        bob.directory.sign_up("bob", 5002)
        bob.directory.watch(["Carol"])
        carol.directory.sign_up("Carol", 5003)
        assert refusal(lambda: bob.directory.get_person("carol")) == "unknown_person"
        assert "Carol" not in [person.name for person in bob.directory.list_people()[0]]
        carol.directory.allow([looker(BOB.key), looker(b"secret of an inv")], seconds=RETURN)
        assert bob.directory.get_person("carol").online
        assert bob.until_online("Carol", True).key == CAROL.key
        with client(rendezvous.url, ALICE) as alice:
            assert alice.directory.get_person("Carol", b"secret of an inv").key == CAROL.key
            assert refusal(lambda: alice.directory.get_person("Carol", b"another secret.!")) == "unknown_person"
        carol.directory.set_visibility("listed")
        assert [p.name for p in bob.directory.list_people("carol")[0]] == ["Carol"]
        carol.until("up", "Signed up")
        gone = [person for person in list(bob.presence._queue.queue) if not person.online]
        assert not gone


def test_someone_without_keys_is_a_person_without_a_fingerprint() -> None:
    person = read_person({"username": "bob", "online": False, "key": None})
    assert person == Person("bob", None, None, None, False, None, None, None)
    assert person.fingerprint is None
