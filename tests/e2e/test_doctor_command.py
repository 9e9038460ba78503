"""`agent doctor`, as a shell runs it, beside two real agents."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_client import LocalClient, clients, connect
from tests.support.programs import PATIENCE, ROOT, Agent, Programs, environment


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Agent, Agent]]:
    """Alice and Bob, who are connected."""
    with Programs(tmp_path_factory.mktemp("doctor")) as programs:
        alice, bob = programs.agents(programs.rendezvous().url, "alice", "bob")
        with clients(alice.page_url, bob.page_url) as people:
            for person in people:
                person.until(lambda person=person: signed_up(person), "a name")  # type: ignore[misc]
            connect(*people)
            for person, other in zip(people, ("bob", "alice"), strict=True):
                person.until_person(other, path="loopback")
        yield alice, bob


def signed_up(person: LocalClient) -> bool:
    return person.me is not None and person.state["reachability"]["rendezvous"] == "up"


def doctor(*words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "agent", "doctor", *words]
    environ = environment() | {"PYTHONUTF8": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stdout, ran.stderr.strip()


def test_it_tells_how_this_machine_stands(agents: tuple[Agent, Agent]) -> None:
    status, out, _ = doctor("--data", str(agents[0].data))
    assert status == 0, out
    titles = [line[:16].strip() for line in out.splitlines() if line[:1].strip()]
    wanted = ["You", "Rendezvous", "UDP", "Network", "Addresses", "Router port", "STUN", "Relays", "Clock", "Connected"]
    assert titles == wanted
    assert "agrees with that of the rendezvous" in out
    assert "UDP             comes through" in out
    assert "Connected       bob on this computer" in out


def test_it_tells_how_two_people_are_connected_as_the_page_does(agents: tuple[Agent, Agent]) -> None:
    status, out, _ = doctor("bob", "--data", str(agents[0].data))
    assert status == 0, out
    for title in ("bob             on this computer", "Advice ", "Relay ", "Tried from here", "Tried by bob"):
        assert f"\n{title}" in f"\n{out}"
    status, out, _ = doctor("bob", "--json", "--data", str(agents[0].data))
    value = json.loads(out)
    assert status == 0
    assert (value["connection"], value["path"]["kind"]) == ("open", "loopback")
    assert set(value) == {"forecast", "connection", "mine", "theirs", "path", "tried", "relay", "advice"}
    assert {one["side"] for one in value["tried"] if one["outcome"] == "answered"} == {"here", "there"}
    assert value["theirs"]["udp"] is True
    assert value["relay"]["left"] > 0


def test_whoever_cannot_be_reached_and_an_agent_that_is_not_there_end_it_with_1(
    agents: tuple[Agent, Agent], tmp_path: Path
) -> None:
    assert doctor("nobody", "--data", str(agents[0].data))[0] == 1
    assert "This is yourself" in doctor("alice", "--data", str(agents[0].data))[2]
    status, out, said = doctor("--data", str(tmp_path))
    assert (status, out) == (1, "")
    assert "No agent is running" in said
    assert doctor("--nonsense")[0] == 2
