"""The commands for scripts, as a shell runs them, on two real agents."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.local_client import LocalClient
from tests.support.pictures import picture as picture_of
from tests.support.programs import PATIENCE, ROOT, Agent, Programs, environment


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs commands against the agents of two people."""

    alice: Agent
    bob: Agent

    def start(self, agent: Agent, *words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "agent", *words, "--data", str(agent.data)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=ROOT, env=environment() | {"PYTHONUTF8": "1"}, text=True, **pipes)  # type: ignore[call-overload, no-any-return]

    def run(self, agent: Agent, *words: str) -> tuple[int, str, str]:
        return ended(self.start(agent, *words))


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in err
    return process.returncode, out.strip(), err.strip()


def signed_up(person: LocalClient) -> None:
    person.until(lambda: person.state["reachability"]["rendezvous"] == "up" and person.me, "a name")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with Programs(tmp_path_factory.mktemp("commands")) as programs:
        rendezvous = programs.rendezvous()
        alice, bob = programs.agents(rendezvous.url, "alice", "bob")
        for agent in (alice, bob):
            client = LocalClient(agent.page_url)
            signed_up(client)
            client.close()
        yield Shell(alice, bob)


def waiting_at(shell: Shell, agent: Agent) -> str:
    """Return the number of the one request that waits there, once it does."""
    client = LocalClient(agent.page_url)
    try:
        client.until(lambda: [e for e in client.requests.values() if e["phase"] == "waiting"], "a request")
    finally:
        client.close()
    status, out, _ = shell.run(agent, "requests")
    assert status == 0
    return out.split()[0]


def test_two_people_connect_and_exchange_a_quote_and_a_picture_by_commands_alone(shell: Shell, tmp_path: Path) -> None:
    status, out, _ = shell.run(shell.alice, "users")
    assert (status, out.split()) == (0, ["bob", "online"])

    asking = shell.start(shell.alice, "connect", "bob", "--wish", "from the class")
    number = waiting_at(shell, shell.bob)
    assert "from the class" in shell.run(shell.bob, "requests")[1]
    status, out, _ = shell.run(shell.bob, "accept", number)
    assert (status, out.split()[0]) == (0, "accepted:")
    assert ended(asking)[:2] == (0, "You and bob are connected.")

    asking = shell.start(shell.alice, "ask-quote", "bob", "--json")
    waiting_at(shell, shell.bob)
    assert shell.run(shell.bob, "accept", "alice")[0] == 0
    status, out, _ = ended(asking)
    assert status == 0
    assert json.loads(out)["quote"]["text"]

    picture, saved = tmp_path / "given.jpg", tmp_path / "saved.jpg"
    picture.write_bytes(picture_of("JPEG"))
    client = LocalClient(shell.bob.page_url)
    item = client.upload(picture.read_bytes(), "given.jpg")["item"]
    client.close()
    asking = shell.start(shell.alice, "ask-image", "bob", "--save", str(saved))
    number = waiting_at(shell, shell.bob)
    assert shell.run(shell.bob, "accept", number, "--item", item)[0] == 0
    status, out, _ = ended(asking)
    assert status == 0
    assert out.startswith("JPEG, ")
    assert saved.stat().st_size > 0


def test_a_no_is_said_in_a_sentence_with_status_1(shell: Shell) -> None:
    asking = shell.start(shell.bob, "ask-quote", "alice")
    number = waiting_at(shell, shell.alice)
    assert shell.run(shell.alice, "reject", number, "--not-now")[0] == 0
    status, out, err = ended(asking)
    assert (status, out, err.splitlines()[-1]) == (1, "", "Not now.")
    status, _, err = shell.run(shell.alice, "accept", number)
    assert (status, err) == (1, "This request does not wait any more: it is rejected.")


def test_what_cannot_be_done_is_said_in_one_sentence(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"mine")
    for words, sentence in (
        (("connect", "nobody-here"), "Nobody has that name here."),
        (("accept", "ffff"), "waits for an answer"),
        (("ask-image", "bob", "--save", str(tmp_path / "there")), "nothing overwritten"),
    ):
        status, out, err = shell.run(shell.alice, *words)
        assert (status, out, len(err.splitlines())) == (1, "", 1)
        assert sentence in err
    assert (tmp_path / "there").read_bytes() == b"mine"


def test_without_an_agent_the_command_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "agent", "users", "--data", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, env=environment() | dict(os.environ), capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.startswith("No agent is running for ")
