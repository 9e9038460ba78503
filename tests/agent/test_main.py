"""The agent as a program: how it starts, what it refuses, how it stops. Real processes and sockets.

What needs no process is tested in test_settings, test_datafolder, test_ports and test_identity_file.
"""

import os
import re
import signal
import socket
import stat
import subprocess
from pathlib import Path

from tests.support.page_server import (
    STOP_SECONDS,
    RunningAgent,
    ask,
    command,
    environment,
    free_port,
    run_agent,
    start_agent,
)

SENTENCE = re.compile(r"[A-Z/].*\.\)?\n")


def is_one_sentence(said: str) -> bool:
    """Tell whether this is all that a person should have to read."""
    return bool(SENTENCE.fullmatch(said)) and "Traceback" not in said


def mode(path: Path) -> int:
    """Give the permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_line_is_a_link_that_opens_the_page(page: RunningAgent) -> None:
    assert re.fullmatch(rf"http://localhost:{page.port}/\?token=[\w-]{{43}}", page.link)
    assert ask(page, page.link.removeprefix(page.url)).status == 303


def test_the_same_line_stands_in_page_url_and_nobody_else_can_read_it(page: RunningAgent) -> None:
    assert (page.data / "page-url").read_text() == f"{page.link}\n"
    assert mode(page.data) == 0o700
    for name in ("identity.key", "token", "page-url", "peer-port", "lock"):
        assert mode(page.data / name) == 0o600, name


def test_both_loopback_addresses_are_taken_and_no_other(page: RunningAgent) -> None:
    for address in ("127.0.0.1", "::1"):
        socket.create_connection((address, page.port), timeout=STOP_SECONDS).close()
    with socket.socket() as outside:
        outside.bind(("127.0.0.2", page.port))


def test_the_peer_port_is_open_outside_the_ephemeral_range(page: RunningAgent) -> None:
    port = int((page.data / "peer-port").read_text())
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not low <= port <= high
    for address in ("127.0.0.1", "::1"):
        socket.create_connection((address, port), timeout=STOP_SECONDS).close()


def test_the_token_stands_in_no_process_list(page: RunningAgent) -> None:
    for name in ("cmdline", "environ"):
        assert page.token not in Path(f"/proc/{page.process.pid}/{name}").read_text()


def test_a_used_page_port_is_one_sentence_and_leaves_no_person_behind(page: RunningAgent, tmp_path: Path) -> None:
    status, said = run_agent("--port", str(page.port), "--data", str(tmp_path / "new"))
    assert status == 1
    assert said.startswith(f"Port {page.port} is in use")
    assert is_one_sentence(said)
    assert not (tmp_path / "new").exists()


def test_a_second_agent_on_one_folder_is_one_sentence(page: RunningAgent) -> None:
    status, said = run_agent("--port", str(free_port()), "--data", str(page.data))
    assert (status, is_one_sentence(said)) == (1, True)
    assert said.startswith("Another agent is using the data folder")


def test_a_used_peer_port_is_one_sentence_and_leaves_no_person_behind(page: RunningAgent, tmp_path: Path) -> None:
    taken = (page.data / "peer-port").read_text().strip()
    flags = ("--port", str(free_port()), "--data", str(tmp_path), "--peer-port", taken)
    status, said = run_agent(*flags)
    assert (status, is_one_sentence(said)) == (1, True)
    assert said.startswith(f"Peer port {taken} is in use")
    assert not (tmp_path / "identity.key").exists()


def test_a_damaged_identity_is_one_sentence_and_stays(page: RunningAgent, tmp_path: Path) -> None:
    key = tmp_path / "identity.key"
    key.write_bytes((page.data / "identity.key").read_bytes()[:50])
    key.chmod(0o600)
    kept = key.read_bytes()
    status, said = run_agent("--port", str(free_port()), "--data", str(tmp_path))
    assert (status, is_one_sentence(said)) == (1, True)
    assert "is damaged" in said
    assert key.read_bytes() == kept


def test_a_fault_at_the_start_is_one_sentence_and_leaves_no_address(tmp_path: Path) -> None:
    data = tmp_path / "data"
    flags = ("--port", str(free_port()), "--data", str(data), "--log-level", "warning")
    status, said = run_agent(*flags, "--name", "fault")
    assert (status, is_one_sentence(said)) == (1, True)
    assert "it cannot start" in said
    assert not (data / "page-url").exists()


def test_ctrl_c_stops_it_cleanly_even_with_an_open_page(tmp_path: Path) -> None:
    agent = start_agent(tmp_path / "data")
    with socket.create_connection(("127.0.0.1", agent.port), timeout=STOP_SECONDS) as polling:
        polling.sendall(
            f"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost:{agent.port}\r\n"
            f"Authorization: {agent.bearer}\r\n\r\n".encode()
        )
        assert polling.recv(8) == b"HTTP/1.1"
        agent.process.send_signal(signal.SIGINT)
        _, said = agent.process.communicate(timeout=STOP_SECONDS)
    assert agent.process.returncode == 0
    assert "Traceback" not in said
    assert not (agent.data / "page-url").exists()
    assert (agent.data / "stopped").exists()


def test_a_restart_is_the_same_person_on_the_same_ports_with_the_same_cookie(
    tmp_path: Path,
) -> None:
    kept = ("identity.key", "token", "peer-port")
    first = start_agent(tmp_path / "data")
    cookie, before = first.cookie, [(first.data / name).read_bytes() for name in kept]
    assert first.stop()[0] == 0
    again = start_agent(tmp_path / "data", port=first.port)
    try:
        assert again.link == first.link
        assert ask(again, "/", Cookie=cookie).status == 200
        assert [(again.data / name).read_bytes() for name in kept] == before
    finally:
        assert again.stop()[0] == 0


def test_the_browser_gets_a_code_that_is_good_once_and_never_the_token(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    os.mkfifo(seen)
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho noise\nprintf %s "$1" > {seen}\n')
    browser.chmod(0o700)
    port = free_port()
    process = subprocess.Popen(
        [word for word in command() if word != "--no-browser"]
        + ["--port", str(port), "--data", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), "DISPLAY": ":9", "BROWSER": f"{browser} %s"},
    )
    assert process.stdout is not None
    agent = RunningAgent(process, port, tmp_path / "data", process.stdout.readline().strip())
    url = seen.read_text()
    assert url.startswith(f"http://localhost:{port}/?code=")
    assert agent.token not in url
    path = url.removeprefix(agent.url)
    assert ask(agent, path).status == 303
    assert ask(agent, path).status == 401
    process.terminate()
    noise, _ = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 0
    assert noise == ""
