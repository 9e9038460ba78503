"""What operators rely on: health, metrics, logs, and a stop that loses nobody's session."""

import contextlib
import json
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
from prometheus_client.parser import text_string_to_metric_families

from tests.support.directory_client import Client, client
from tests.support.live_agent import Agent, sign_up
from tests.support.live_rendezvous import PATIENCE, Rendezvous, Someone, children, free_udp_port, running

ALICE, BOB = Someone(1), Someone(2)


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_udp_port()


@pytest.fixture(scope="module")
def rendezvous(tmp_path_factory: pytest.TempPathFactory, metrics_port: int) -> Iterator[Rendezvous]:
    with running(tmp_path_factory.mktemp("data"), "--metrics-port", str(metrics_port)) as rendezvous:
        yield rendezvous


def metrics(port: int) -> dict[tuple[str, ...], float]:
    """Return what a process has counted: by name and the values of labels, in the order of the labels' names."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE).text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {(sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value for sample in samples}


def test_it_is_healthy_and_ready_and_not_ready_without_its_store(rendezvous: Rendezvous) -> None:
    assert requests.get(f"{rendezvous.url}/healthz", timeout=PATIENCE).json() == {"status": "ok"}
    assert requests.get(f"{rendezvous.url}/readyz", timeout=PATIENCE).json() == {"status": "ready"}
    (valkey,) = (p for p, line in children(rendezvous.process.pid).items() if "valkey" in line)
    os.kill(valkey, signal.SIGSTOP)
    try:
        answer = requests.get(f"{rendezvous.url}/readyz", timeout=PATIENCE)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert requests.get(f"{rendezvous.url}/healthz", timeout=PATIENCE).ok
    finally:
        os.kill(valkey, signal.SIGCONT)
    deadline = time.monotonic() + PATIENCE
    while not requests.get(f"{rendezvous.url}/readyz", timeout=PATIENCE).ok:
        assert time.monotonic() < deadline


def test_what_is_done_is_counted_without_anybodys_name(rendezvous: Rendezvous, metrics_port: int) -> None:
    agent = Agent(rendezvous, sign_up(rendezvous, ALICE, "alice"))
    before = metrics(metrics_port)
    assert before["tmge_live_connections",] == 1
    assert before["tmge_people",] == before["tmge_people_online",] == 1
    assert before["tmge_http_requests_total", "POST", "/signup", "201"] == 1
    agent.call("heartbeat")
    requests.get(f"{rendezvous.url}/user?id=alice", timeout=PATIENCE)
    requests.get(f"{rendezvous.url}/nothing", timeout=PATIENCE)
    agent.close()
    deadline = time.monotonic() + PATIENCE
    while (after := metrics(metrics_port))["tmge_live_connections",]:
        assert time.monotonic() < deadline
    assert after["tmge_live_events_total", "heartbeat", "ok"] == 1
    assert after["tmge_http_requests_total", "GET", "/user", "200"] == 1
    assert after["tmge_http_requests_total", "GET", "none", "404"] == 1
    assert after["tmge_http_seconds_count", "/user"] == 1
    text = requests.get(f"http://127.0.0.1:{metrics_port}/metrics", timeout=PATIENCE).text
    assert "alice" not in text
    assert "127.0.0.1" not in text


def test_metrics_are_not_served_to_everybody(rendezvous: Rendezvous) -> None:
    assert requests.get(f"{rendezvous.url}/metrics", timeout=PATIENCE).status_code == 404


def test_a_log_in_json_is_an_object_on_each_line_and_names_nobody(tmp_path: Path) -> None:
    ports = ["--port", "0", "--udp-port", "0"]
    logging = ["--log-format", "json", "--log-level", "info"]
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "rendezvous", "--data", str(tmp_path / "data"), *ports, *logging]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        requests.get(f"{url}/user?id=somebody", headers={"X-Forwarded-For": "192.0.2.7"}, timeout=PATIENCE)
        requests.get(f"{url}/socket.io/?EIO=1", timeout=PATIENCE)  # which the library complains of, in its own form
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), PATIENCE) as sock:
            sock.sendall(b"somebody\r\n\r\n")
            assert sock.recv(4096)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        process.stdout.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert lines
    for line in lines:
        assert set(line) >= {"time", "level", "logger", "process", "message"}
    assert not {"somebody", "192.0.2.7", "127.0.0.1"} & set(" ".join(map(str, lines)).split())


@pytest.fixture
def two_processes(tmp_path: Path) -> Iterator[Rendezvous]:
    with running(tmp_path, "--processes", "2") as rendezvous:
        yield rendezvous


def test_agents_move_to_another_process_and_nobody_sees_them_go(two_processes: Rendezvous) -> None:
    people = [Someone(number) for number in range(20, 28)]
    with contextlib.ExitStack() as stack:
        watcher: Client = stack.enter_context(client(two_processes.url, ALICE))
        watcher.directory.sign_up("alice", 5001)
        agents = [stack.enter_context(client(two_processes.url, who)) for who in people]
        for number, agent in enumerate(agents):
            agent.directory.sign_up(f"agent{number}", 5001)
            agent.until("up", "Signed up")
        watcher.directory.watch([f"agent{number}" for number in range(len(agents))])
        for number in range(len(agents)):
            watcher.until_online(f"agent{number}", True)
        seqs = [who.seq for who in people]
        drained = next(p for p, line in children(two_processes.process.pid).items() if "--leash" in line)
        os.kill(drained, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while drained in children(two_processes.process.pid):
            assert time.monotonic() < deadline
        told = [agent.status.heard() for agent in (*agents, watcher)]
        assert not [status for statuses in told for status in statuses if status[0] == "down"]
        seen = [person for person in watcher.presence.heard() if not person.online]
        assert not seen
        assert [who.seq for who in people] == seqs  # the same sessions: nobody signed up again
        watcher.directory.watch(["agent0", "agent1"])
        agents[0].directory.stop()
        watcher.until_online("agent0", False)


def test_a_stop_ends_within_its_time_whoever_stays(tmp_path: Path) -> None:
    with running(tmp_path, "--drain-seconds", "2", "--drain-delay", "1") as rendezvous:
        agent = Agent(rendezvous, sign_up(rendezvous, BOB, "bob"))  # it does not know of "move"
        began = time.monotonic()
        rendezvous.process.send_signal(signal.SIGTERM)
        not_ready = 0
        with contextlib.suppress(requests.ConnectionError):
            while True:
                answer = requests.get(f"{rendezvous.url}/readyz", timeout=PATIENCE)
                if answer.status_code == 503:
                    assert answer.json()["error"]["code"] == "draining"
                    not_ready += 1
        assert not_ready > 0
        agent.ended.until(lambda _: True)
        assert rendezvous.process.wait(PATIENCE) == 0
        assert time.monotonic() - began < 1 + 2 + 5
