"""The client of the rendezvous, against a real one, against one that dies, and against one that
lies.
"""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rendezvous.contract.identity import fingerprint
from rendezvous.contract.presence import looker
from tests.support.directory_client import RETURN, Client, client, refusal
from tests.support.live_rendezvous import Rendezvous, Someone, children, running

ALICE, BOB, CAROL = Someone(1), Someone(2), Someone(3)


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
        assert (person.host, person.port, person.direct) == (None, 5002, False)


def test_who_is_directly_reachable_is_seen_with_the_address(rendezvous: Rendezvous) -> None:
    with client(rendezvous.url, ALICE) as alice, client(rendezvous.url, CAROL, direct=True) as carol:
        alice.directory.sign_up("alice", 5001)
        carol.directory.sign_up("carol", 5003)
        person = alice.directory.get_person("carol")
        assert (person.host, person.port, person.direct) == ("127.0.0.1", 5003, True)
        assert carol.directory.forget()


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
