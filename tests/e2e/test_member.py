"""What people can do about the rendezvous itself, with real programs: invite, hide, be forgotten, catch it lying."""

import contextlib
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.invite import read_invite
from agent.ledger import Ledger
from rendezvous.contract.encoding import from_text
from rendezvous.contract.identity import fingerprint
from rendezvous.contract.statement import Statement, read_statement
from tests.support.local_client import LocalClient, Refused, Value, clients, connect
from tests.support.programs import PATIENCE, Agent, Programs, Rendezvous, furnished, run_to_end


@pytest.fixture(scope="module")
def agents(programs: Programs, rendezvous: Rendezvous) -> list[Agent]:
    return programs.agents(rendezvous.url, "Alice", "Bob", "Carol")


@pytest.fixture
def people(agents: list[Agent]) -> Iterator[list[LocalClient]]:
    with clients(*(agent.page_url for agent in agents)) as people:
        for client in people:
            client.until(lambda client=client: client.me, "a name")  # type: ignore[misc]
        yield people


def refusal(client: LocalClient, verb: str, **arguments: object) -> tuple[str, str]:
    """Return the code and the sentence that a call is refused with."""
    with pytest.raises(Refused) as refused:
        client.call(verb, **arguments)
    return refused.value.code, refused.value.message


def test_somebody_hidden_is_found_by_nobody_but_may_ask_and_be_connected(people: list[LocalClient]) -> None:
    _, bob, carol = people
    carol.call("set_visibility", visibility="hidden")
    carol.until(lambda: carol.state["settings"]["visibility"] == "hidden", "that she is hidden")
    assert refusal(bob, "get_person", name="Carol") == refusal(bob, "get_person", name="Nobody")
    assert [person["name"] for person in bob.call("list_people")["people"]] == ["Alice"]
    connect(carol, bob)
    carol.call("set_visibility", visibility="contacts")
    bob.until_person("Carol", connected=True, online=True)
    assert bob.call("get_person", name="Carol")["person"]["online"]
    assert refusal(people[0], "get_person", name="Carol")[0] == "unknown_person"
    assert refusal(carol, "set_visibility", visibility="seen")[0] == "bad_request"


def test_an_invitation_leads_to_a_verified_person_hidden_or_not(
    agents: list[Agent], people: list[LocalClient], rendezvous: Rendezvous
) -> None:
    alice, bob, carol = people
    invite = alice.call("get_invite")
    known = read_invite(invite["link"])
    assert (known.rendezvous, known.name) == (rendezvous.url, "Alice")
    assert known.fingerprint == alice.state["me"]["fingerprint"]
    assert alice.get(invite["qr"])[1].get_content_type() == "image/svg+xml"
    command = [sys.executable, "-m", "agent", "invite", "--data", str(agents[0].data)]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE).stdout
    assert printed.splitlines()[0] == invite["link"]
    assert "\u2588" in printed  # a code of blocks

    assert bob.call("open_invite", link=invite["link"])["person"]["verified"]
    connect(bob, alice)
    bob.until_person("Alice", connected=True, verified=True)
    assert not alice.until_person("Bob", connected=True)["verified"]

    hidden = carol.call("get_invite")["link"]
    assert read_invite(hidden).look
    assert alice.call("open_invite", link=hidden)["person"]["name"] == "Carol"
    connect(alice, carol)
    alice.until_person("Carol", connected=True, verified=True)


def test_an_invitation_that_names_another_key_is_a_hard_stop(people: list[LocalClient]) -> None:
    alice, bob, _ = people
    link = alice.call("get_invite")["link"].replace(alice.state["me"]["fingerprint"], bob.state["me"]["fingerprint"])
    carols = people[2]
    code, sentence = refusal(carols, "open_invite", link=link)
    assert (code, "Do not connect" in sentence) == ("key_changed", True)
    assert refusal(bob, "open_invite", link=link)[0] == "bad_request"  # his own key
    assert refusal(bob, "open_invite", link="http://example.org/")[0] == "bad_request"


def test_an_agent_is_started_with_an_invitation_to_a_rendezvous_that_it_does_not_know(
    programs: Programs, people: list[LocalClient]
) -> None:
    alice = people[0]
    link = alice.call("get_invite")["link"]
    dave = programs.run(Agent("Dave", furnished(programs.folder / "Dave"), None, "--invite", link))
    with clients(dave.page_url) as (client,):
        assert client.until(lambda: client.state.get("invitation"), "the invitation") == {"name": "Alice"}
        assert client.until(lambda: client.me, "a name") == "Dave"
        assert client.call("get_person", name="Alice")["person"]["verified"]
    assert run_to_end("agent", "--invite", "http://nowhere/")[0] == 2
    assert run_to_end("agent", "invite", "--data", str(programs.folder / "Nobody"))[0] == 1


def test_an_invitation_to_another_rendezvous_asks_before_it_moves(
    programs: Programs, people: list[LocalClient], rendezvous: Rendezvous
) -> None:
    elsewhere = programs.run(Rendezvous(programs.folder / "elsewhere"))
    elsewhere.wait_until_ready()
    erin = programs.run(Agent("Erin", furnished(programs.folder / "Erin"), elsewhere.url))
    with clients(erin.page_url) as (client,):
        client.until(lambda: client.me, "a name")
        link = people[0].call("get_invite")["link"]
        asked = client.call("open_invite", link=link)
        assert asked["move"] == {"from": elsewhere.url, "to": rendezvous.url, "name": "Alice"}
        assert client.state["settings"]["rendezvous"] == elsewhere.url
        assert client.call("open_invite", link=link, move=True)["person"]["verified"]
        client.until(lambda: client.state["settings"]["rendezvous"] == rendezvous.url, "that she moved")
        assert people[0].call("get_person", name="Erin")["person"]["online"]


def test_whoever_is_forgotten_has_no_name_any_more_and_may_take_another(people: list[LocalClient]) -> None:
    alice, _, carol = people
    answer = carol.call("forget_me")
    statement = read_statement(answer["statement"])
    assert statement.released
    assert statement.holds()
    assert fingerprint(statement.key) == carol.state["me"]["fingerprint"]
    carol.until(lambda: carol.me is None, "that her name is gone")
    alice.until_person("Carol", online=False)
    assert refusal(alice, "get_person", name="Carol")[0] == "unknown_person"
    assert refusal(carol, "forget_me")[0] == "not_signed_up"
    carol.call("sign_up", name="Carolina")
    assert carol.me == "Carolina"


def test_a_rendezvous_that_told_a_peer_another_key_is_caught_inside_the_session(
    agents: list[Agent], people: list[LocalClient], rendezvous: Rendezvous
) -> None:
    _, bob, _ = people
    lie = _signed_by(rendezvous, bob.call("get_person", name="Bob")["person"])
    assert agents[0].stop() == 0
    with contextlib.closing(Ledger(agents[0].data / "directory.db")) as ledger:
        assert ledger.note(lie) is not None  # Alice sees through it as well; have her believe it
    _replace(agents[0], lie)
    agents[0].start()
    with clients(agents[0].page_url) as (alice,):
        alice.until(lambda: alice.me, "a name")
        since = len(bob.events)
        alice.ask("ask_quote", "Bob")
        bob.until_told("notice", lambda notice: "signed two keys for Bob" in notice["message"], since)
    (evidence,) = bob.until(lambda: bob.state["reachability"].get("evidence"), "the evidence")
    assert evidence["source"] == "Alice"
    assert bob.state["me"]["fingerprint"] in evidence["fingerprints"]
    code, sentence = refusal(bob, "connect_to", peer="Erin")
    assert (code, "contradicted" in sentence) == ("key_changed", True)
    bob.ask("ask_quote", "Alice")  # contacts are who they were
    bob.call("trust_rendezvous", fingerprint=bob.state["reachability"]["fingerprint"])
    bob.until(lambda: "evidence" not in bob.state["reachability"], "that it is settled")
    assert bob.ask("connect_to", "Erin")


def test_a_rendezvous_that_wants_a_code_is_given_one_by_newcomers_alone(programs: Programs) -> None:
    closed = Rendezvous(programs.folder / "closed", "--signup-code", "open sesame")
    programs.run(closed).wait_until_ready()
    frank = programs.run(Agent("Frank", furnished(programs.folder / "Frank"), closed.url, signs_up=False))
    with clients(frank.page_url) as (client,):
        client.until(lambda: client.state["reachability"]["code_required"], "that a code is wanted")
        assert "code" in refusal(client, "sign_up", name="Frank")[1]
        assert "code" in refusal(client, "sign_up", name="Frank", code="wrong")[1]
        client.call("sign_up", name="Frank", code=" open sesame")
    assert frank.stop() == 0
    frank.start()
    with clients(frank.page_url) as (client,):
        client.until(lambda: "Signed up as Frank" in client.state["reachability"]["message"], "that he is back")


def test_an_agent_that_is_started_with_the_code_signs_up_by_itself(programs: Programs) -> None:
    closed = programs.run(Rendezvous(programs.folder / "with-code", "--signup-code", "open sesame"))
    closed.wait_until_ready()
    data = furnished(programs.folder / "Grace")
    grace = programs.run(Agent("Grace", data, closed.url, "--signup-code", "open sesame"))
    with clients(grace.page_url) as (client,):
        client.until(lambda: client.me == "Grace", "her name")


def test_a_rendezvous_that_began_anew_is_believed_once_the_person_says_so(programs: Programs) -> None:
    wiped = programs.run(Rendezvous(programs.folder / "wiped"))
    wiped.wait_until_ready()
    heidi = programs.run(Agent("Heidi", furnished(programs.folder / "Heidi"), wiped.url))
    with clients(heidi.page_url) as (client,):
        client.until(lambda: client.me, "a name")
        before = client.state["reachability"]["fingerprint"]
        wiped.stop()
        shutil.rmtree(wiped.data)
        wiped.start()
        wiped.wait_until_ready()
        changed = client.until(lambda: client.state["reachability"].get("changed"), "that it has changed")
        assert changed["fingerprint"] == before != changed["new_fingerprint"]
        assert "another key than before" in client.state["reachability"]["message"]
        assert refusal(client, "sign_up", name="Heidi")[0] == "key_changed"
        assert refusal(client, "trust_rendezvous", fingerprint=client.state["me"]["fingerprint"])[0] == "bad_request"
        client.call("trust_rendezvous", fingerprint=changed["new_fingerprint"])
        client.until(lambda: "Signed up as Heidi" in client.state["reachability"]["message"], "that she is back")
        assert client.state["reachability"]["fingerprint"] == changed["new_fingerprint"]
        assert "changed" not in client.state["reachability"]


def _signed_by(rendezvous: Rendezvous, bob: Value) -> Statement:
    """Return what the rendezvous would sign, were it to give Bob's name to somebody else at the same time."""
    with socket.socket(socket.AF_UNIX) as valkey:
        valkey.connect(str(rendezvous.data / "valkey" / "valkey.sock"))
        valkey.sendall(b"GET tmge:{server}:identity\r\n")
        key = Ed25519PrivateKey.from_private_bytes(valkey.recv(100)[5:37])
    server = key.public_key().public_bytes_raw()
    lie = Statement(bob["name"], b"k" * 32, b"b" * 32, 1, 1, 2**40, server)
    return lie.signed(key.sign(lie.message()))


def _replace(agent: Agent, statement: Statement) -> None:
    """Have an agent's ledger hold one statement about a name, and no evidence."""
    with contextlib.closing(sqlite3.connect(agent.data / "directory.db")) as ledger, ledger:
        ledger.execute("DELETE FROM evidence")
        text = json.dumps(statement.as_json())
        changed = ledger.execute("UPDATE statements SET statement = ? WHERE skeleton = 'bob'", (text,))
        assert changed.rowcount == 1
        assert from_text(json.loads(text)["server"], 32) == statement.server
