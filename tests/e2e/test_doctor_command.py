"""`agent doctor` beside two real agents: once as a shell runs it, then the same function in this process."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import doctor_command
from tests.support.local_client import LocalClient, clients, connect
from tests.support.programs import PATIENCE, ROOT, Agent, Programs, environment


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """Run the agent of Alice, who is connected with Bob on the same machine."""
    with Programs(tmp_path_factory.mktemp("doctor")) as programs:
        agents = programs.agents(programs.rendezvous().url, "alice", "bob")
        with clients(*(agent.page_url for agent in agents)) as people:
            for person in people:
                person.until(lambda person=person: signed_up(person), "a name")  # type: ignore[misc]
            connect(*people)
            for person, other in zip(people, ("bob", "alice"), strict=True):
                person.until_person(other, path="loopback")
        yield agents[0]


def signed_up(person: LocalClient) -> bool:
    return person.me is not None and person.state["reachability"]["rendezvous"] == "up"


def test_it_tells_how_this_machine_stands(alice: Agent) -> None:
    command = [sys.executable, "-m", "agent", "doctor", "--data", str(alice.data)]
    environ = environment() | {"PYTHONUTF8": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    titles = [line[:16].strip() for line in ran.stdout.splitlines() if line[:1].strip()]
    wanted = ["You", "Rendezvous", "UDP", "Network", "Addresses", "Router port", "STUN", "Relays", "Clock", "Connected"]
    assert titles == wanted
    for line in ("Clock           agrees with that of the rendezvous", "Connected       bob on this computer"):
        assert f"\n{line}\n" in ran.stdout
    assert "\nUDP             comes through (port " in ran.stdout


def test_it_tells_how_two_people_are_connected_as_the_page_does(
    alice: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor_command.main(["bob", "--data", str(alice.data)]) == 0
    said = f"\n{capsys.readouterr().out}"
    for title in ("bob             on this computer", "Advice ", "Relay ", "Tried from here", "Tried by bob"):
        assert f"\n{title}" in said
    assert doctor_command.main(["bob", "--json", "--data", str(alice.data)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["connection"], value["path"]["kind"]) == ("open", "loopback")
    assert set(value) == {"forecast", "connection", "mine", "theirs", "path", "tried", "relay", "advice"}
    assert {one["side"] for one in value["tried"] if one["outcome"] == "answered"} == {"here", "there"}
    assert value["theirs"]["udp"] is True
    assert value["relay"]["left"] > 0


def test_what_cannot_be_told_is_a_sentence_and_ends_with_1(
    alice: Agent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, sentence in (
        (["nobody", "--data", str(alice.data)], "Nobody has that name here."),
        (["alice", "--data", str(alice.data)], "This is yourself"),
        (["--data", str(tmp_path)], "No agent is running"),
    ):
        assert doctor_command.main(words) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert sentence in said.err
    with pytest.raises(SystemExit) as ended:
        doctor_command.main(["--nonsense"])
    assert ended.value.code == 2
