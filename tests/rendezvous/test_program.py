"""The program as people start it: its flags, its errors, live presence, and what kill -9 does to
it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from socketio.exceptions import ConnectionError as NotLetIn

from rendezvous.contract import stun
from tests.support.live_agent import Agent, sign_up
from tests.support.live_rendezvous import PATIENCE, Rendezvous, Someone, children, running

ALICE, BOB, CAROL = Someone(1), Someone(2), Someone(3)


@pytest.fixture(scope="module")
def rendezvous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendezvous]:
    with running(tmp_path_factory.mktemp("data")) as rendezvous:
        yield rendezvous


def test_what_cannot_start_says_why_in_one_sentence(rendezvous: Rendezvous, tmp_path: Path) -> None:
    port = str(rendezvous.port)
    udp_port = str(rendezvous.udp_port)
    cases = {
        ("--port", port): f"Cannot listen on 127.0.0.1:{port}: Address already in use.",
        ("--port", port, "--processes", "2"): "already in use.",
        ("--port", "0", "--udp-port", udp_port): f"Cannot use UDP port {udp_port} for STUN",
        ("--port", "0", "--redis", "http://127.0.0.1"): "The Redis URL is not valid",
    }
    started = {
        flags: subprocess.Popen(
            [sys.executable, "-m", "rendezvous", "--data", str(tmp_path / str(n)), *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n, flags in enumerate(cases)
    }
    for flags, process in started.items():
        output, sentence = process.communicate(timeout=60)
        assert (process.returncode, output, sentence.count("\n")) == (1, "", 1), sentence
        assert sentence.startswith("rendezvous: ")
        assert cases[flags] in sentence
    assert requests.get(rendezvous.url, timeout=PATIENCE).ok


def test_a_stop_is_clean_and_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    rendezvous = Rendezvous(tmp_path)
    token = sign_up(rendezvous, ALICE, "alice")
    identity = requests.get(f"{rendezvous.url}/identity", timeout=PATIENCE).json()
    agent = Agent(rendezvous, token)
    rendezvous.kill()
    agent.ended.until(lambda _: True)
    rendezvous.again()
    assert requests.get(f"{rendezvous.url}/identity", timeout=PATIENCE).json() == identity
    users = requests.get(f"{rendezvous.url}/users", timeout=PATIENCE).json()["users"]
    assert users == ["alice"]
    Agent(rendezvous, token).close()
    assert rendezvous.stop() == 0


def test_its_redis_is_killed_and_it_goes_on_by_itself(rendezvous: Rendezvous) -> None:
    token = sign_up(rendezvous, CAROL, "carol")
    agent = Agent(rendezvous, token)
    (valkey,) = (p for p, line in children(rendezvous.process.pid).items() if "valkey" in line)
    os.kill(valkey, signal.SIGKILL)
    url, deadline = f"{rendezvous.url}/user?id=carol", time.monotonic() + 10
    statuses = set()
    while (answer := requests.get(url, timeout=PATIENCE)).status_code != 200:
        assert time.monotonic() < deadline, "not back in time"
        statuses.add(answer.status_code)
    assert statuses <= {503}
    assert answer.json()["online"]
    assert agent.call("heartbeat") == {"ok": True}
    agent.close()


def test_it_answers_stun_on_its_udp_port(rendezvous: Rendezvous) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", rendezvous.udp_port))
        client.send(stun.encode(stun.Message(stun.BINDING_REQUEST, bytes(12))))
        message = stun.decode(client.recv(2048))
        assert message is not None
        value = message.get(stun.XOR_MAPPED_ADDRESS)
        assert value is not None
        assert stun.unpack_address(value, bytes(12)) == client.getsockname()


def test_presence_is_pushed_to_those_who_watch_and_to_nobody_else(rendezvous: Rendezvous) -> None:
    alice = Agent(rendezvous, sign_up(rendezvous, ALICE, "Alice"))
    carol = Agent(rendezvous, sign_up(rendezvous, CAROL, "carol"))
    assert alice.call("watch", {"names": ["BOB", "nobody"]}) == {"ok": True, "people": []}
    bob = Agent(rendezvous, sign_up(rendezvous, BOB, "bob", direct=True))
    person = alice.presence.until(lambda value: bool(value["online"]))
    assert (person["username"], person["host"], person["port"]) == ("bob", "127.0.0.1", 5001)
    started = time.monotonic()
    bob.close()
    alice.presence.until(lambda value: not value["online"])
    assert time.monotonic() - started < 2
    answer = alice.call("watch", {"names": ["carol"]})
    assert [person["username"] for person in answer["people"]] == ["carol"]
    assert carol.call("goodbye") == {"ok": True}
    assert carol.call("heartbeat")["error"]["code"] == "unauthorized"
    person = alice.presence.until(lambda value: not value["online"])
    assert person["username"] == "carol"
    assert carol.presence._queue.empty()
    alice.close()
    carol.close()


def test_a_watch_that_is_none_is_refused(rendezvous: Rendezvous) -> None:
    alice = Agent(rendezvous, sign_up(rendezvous, ALICE, "Alice"))
    wrong: list[object] = [None, "bob", {}, [1], ["x" * 999], ["a"] * 1001]
    for names in wrong:
        answer = alice.call("watch", {"names": names})
        assert answer["ok"] is False
        assert answer["error"]["code"] == "bad_request"
    assert alice.call("watch")["ok"] is False
    alice.close()


@pytest.mark.parametrize("auth", [None, {}, {"token": 5}, {"token": "x.y"}, "x", {"token": "a" * 999}])
def test_a_connection_without_a_session_is_refused(rendezvous: Rendezvous, auth: object) -> None:
    with pytest.raises(NotLetIn):
        Agent(rendezvous, "", auth=auth)


def test_a_page_from_elsewhere_is_refused(rendezvous: Rendezvous) -> None:
    token = sign_up(rendezvous, ALICE, "Alice")
    with pytest.raises(NotLetIn):
        Agent(rendezvous, token, headers={"Origin": "https://example.org"})


def test_several_processes_serve_one_address_and_one_of_them_may_die(tmp_path: Path) -> None:
    with running(tmp_path, "--processes", "2") as rendezvous:
        token = sign_up(rendezvous, BOB, "bob")
        watchers = [
            Agent(rendezvous, sign_up(rendezvous, Someone(number), f"watcher{number}"))
            for number in range(10, 18)  # the kernel spreads them over the processes
        ]
        for watcher in watchers:
            watcher.call("watch", {"names": ["bob"]})
        bob = Agent(rendezvous, token)
        for watcher in watchers:
            watcher.presence.until(lambda value: bool(value["online"]))
        workers = [p for p, line in children(rendezvous.process.pid).items() if "--leash" in line]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        bob.close()
        while workers[0] in children(rendezvous.process.pid):
            pass  # until it is gone, it may still take a connection with it
        left = [watcher for watcher in watchers if watcher.client.connected]
        for _ in range(20):
            assert requests.get(rendezvous.url, timeout=PATIENCE).ok
        for watcher in left:
            watcher.close()
    assert rendezvous.process.returncode == 0
