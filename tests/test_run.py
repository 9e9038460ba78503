"""The main job of ./run, with its real parts: it starts, it stops, and it says what went wrong."""

import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import free_port

ROOT = Path(__file__).resolve().parent.parent


class Job:
    """One `./run`, its lines so far and the addresses that it printed."""

    def __init__(self, ports: list[int], data: Path) -> None:
        self.ports = ports
        self.lines: list[str] = []
        listed = ",".join(map(str, ports))
        self.process = subprocess.Popen(
            [ROOT / "run", "--no-browser", "--ports", listed, "--data", data],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, what: str) -> str:
        """Read until a line matches; fail if the output ends first (pytest's timeout is the limit)."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if re.search(what, line):
                return line
        raise AssertionError(f"no {what!r} in: {self.lines}")

    def end(self) -> int:
        """Read the rest and return the exit status."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout.read().splitlines()
        return self.process.wait()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    running = Job([free_port() for _ in range(3)], tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.terminate()
        running.end()


def listens(port: int) -> bool:
    """Tell whether somebody accepts connections there."""
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def test_one_command_starts_both_pages_and_ctrl_c_stops_all_of_it(job: Job, tmp_path: Path) -> None:
    job.wait_for("^Ready in")
    pages = dict(re.findall(r"^(alice|bob) +(http://localhost:\S+)$", "\n".join(job.lines), re.MULTILINE))
    assert set(pages) == {"alice", "bob"}
    for url in pages.values():
        with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(url) as page:
            assert page.status == 200
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(url.partition("?")[0])
    job.process.send_signal(signal.SIGINT)
    assert job.end() == 0, job.lines
    assert not any(listens(port) for port in job.ports)
    assert not list(tmp_path.glob("*/page-url"))


def test_a_part_that_dies_stops_the_rest_and_is_named(job: Job, tmp_path: Path) -> None:
    job.wait_for("^Ready in")
    (bob,) = pids_of(tmp_path / "bob")
    os.kill(bob, signal.SIGKILL)
    assert job.end() == 1
    assert any(line.startswith("bob ended with status -9") for line in job.lines), job.lines
    assert not any(listens(port) for port in job.ports)


def pids_of(data: Path) -> list[int]:
    """List the agents on this data folder, by their command lines."""
    listed = subprocess.run(["ps", "-ww", "-Ao", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "-m agent " in line and f"--data {data}" in line]


@pytest.mark.parametrize("which", [0, 2])
def test_a_used_port_is_one_sentence_and_everything_stops(which: int, tmp_path: Path) -> None:
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        ports = [free_port() for _ in range(3)]
        ports[which] = used.getsockname()[1]
        job = Job(ports, tmp_path)
        assert job.end() == 1
    said = "\n".join(job.lines)
    assert ["rendezvous", "alice", "bob"][which] + " ended with status 1" in said
    assert "Traceback" not in said
    assert not any(listens(port) for port in ports if port != ports[which])


def test_a_data_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = subprocess.run([ROOT / "run", "--data", tmp_path / "file" / "data"], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("Cannot make the folder")
    assert result.stderr.count("\n") == 1
