"""What the rendezvous says of how a person can be reached: who is told an address, what agents found out about their
networks, and which relay a ticket is for.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from rendezvous import answers
from rendezvous.contract.encoding import from_text
from rendezvous.contract.presence import Reach, read_reach
from rendezvous.contract.ticket import decode_ticket
from rendezvous.embedded import EmbeddedServer
from rendezvous.people import Claim, Person
from rendezvous.store import Store
from tests.rendezvous.test_routes import ALICE, audience, error, signed
from tests.support.live_agent import Agent, sign_up
from tests.support.live_rendezvous import PATIENCE, Rendezvous, Someone, running

BOB, CAROL = Someone(2), Someone(3)
REACH = {"mapping": "independent", "filtering": "port", "udp": True, "ipv6": False, "mapped": True}


@pytest.fixture(scope="module")
def rendezvous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendezvous]:
    with running(tmp_path_factory.mktemp("data"), "--processes", "2") as rendezvous:
        yield rendezvous


def attached(rendezvous: Rendezvous, who: Someone, name: str, **changes: object) -> Agent:
    return Agent(rendezvous, sign_up(rendezvous, who, name, **changes))


def looked_up(rendezvous: Rendezvous, name: str) -> Any:
    return requests.get(f"{rendezvous.url}/user", params={"id": name}, timeout=PATIENCE).json()


def test_an_address_is_told_only_of_those_who_chose_so(client: FlaskClient) -> None:
    assert signed(client, ALICE, "alice").status_code == 201
    assert signed(client, BOB, "bob", direct=True).status_code == 201
    quiet, direct = (client.get(f"/user?id={name}").get_json() for name in ("alice", "bob"))
    assert "host" not in quiet
    assert not quiet["direct"]
    assert "127.0.0.1" not in str(quiet)
    assert (direct["host"], direct["direct"]) == ("127.0.0.1", True)
    assert signed(client, BOB, "bob", direct=False).status_code == 200
    assert "host" not in client.get("/user?id=bob").get_json()
    assert "127.0.0.1" not in client.get("/users").text


@pytest.mark.parametrize("direct", [1, "yes", []])
def test_direct_is_true_or_false(client: FlaskClient, direct: object) -> None:
    assert error(signed(client, ALICE, "alice", direct=direct)) == (400, "bad_request")


def test_direct_is_signed(client: FlaskClient) -> None:
    body = ALICE.signup("alice", audience(client))
    assert error(client.post("/signup", json=body | {"direct": True})) == (401, "bad_signature")


def test_what_an_agent_found_out_about_its_network_is_told_to_watchers_when_it_changes(rendezvous: Rendezvous) -> None:
    alice, bob = attached(rendezvous, ALICE, "alice"), attached(rendezvous, BOB, "bob")
    (seen,) = bob.call("watch", {"names": ["alice"]})["people"]
    assert seen["reach"] is None
    assert seen["relay"] == f":{rendezvous.udp_port}"
    assert seen["same_network"]
    assert alice.call("heartbeat", {"reach": REACH | {"more": "x" * 100}}) == {"ok": True}
    assert bob.presence.until(lambda person: person["reach"] is not None)["reach"] == REACH
    assert alice.call("heartbeat", {"reach": REACH}) == {"ok": True}
    assert alice.call("heartbeat", {}) == {"ok": True}
    other = {"mapping": "blocked", "filtering": "unknown", "udp": False, "ipv6": None}
    told_as = other | {"mapped": False}
    assert alice.call("heartbeat", {"reach": other}) == {"ok": True}
    told = bob.presence.until(lambda _: True)
    assert (told["reach"], told["same_network"]) == (told_as, True)  # and not what was not new
    person = looked_up(rendezvous, "alice")
    assert (person["reach"], person["relay"], person["same_network"]) == (told_as, f":{rendezvous.udp_port}", True)
    for agent in (alice, bob):
        agent.close()


@pytest.mark.parametrize(
    "reach",
    [
        5,
        "independent",
        [],
        {},
        REACH | {"mapping": "symmetric"},
        REACH | {"mapping": ["none"]},
        REACH | {"filtering": "x" * 60_000},
        REACH | {"udp": 1},
        REACH | {"ipv6": "no"},
        REACH | {"mapped": 2},
    ],
)
def test_a_network_that_is_not_told_in_these_words_is_refused_and_nothing_changes(
    rendezvous: Rendezvous, reach: object
) -> None:
    carol = attached(rendezvous, CAROL, "carol")
    answer = carol.call("heartbeat", {"reach": reach})
    assert (answer["ok"], answer["error"]["code"]) == (False, "bad_request")
    assert answer["error"]["message"].endswith(".")
    assert looked_up(rendezvous, "carol")["reach"] is None
    assert carol.call("heartbeat") == {"ok": True}
    carol.close()


def test_what_is_kept_of_a_network_is_what_was_said() -> None:
    said = read_reach(REACH)
    assert said.as_json() == REACH
    assert Reach.of_text(said.text) == said
    assert Reach.of_text("") is None


def claimed(store: Store, name: str, seq: int, host: str, visibility: str = "listed") -> str:
    """Claim a name; return the session token."""
    claim = Claim(name, b"a" * 32, b"b" * 32, b"s" * 64, seq, host, 5001, visibility)
    return store.claim(claim, lambda *_: bytes(64))[1]


def found(store: Store, name: str = "alice", token: str | None = None) -> Person:
    person = store.find(name, token)
    assert person is not None
    return person


def test_a_network_is_forgotten_when_the_address_changes_and_not_before(store: Store) -> None:
    reach = Reach("none", "open", True, True)
    token = claimed(store, "alice", 1, "192.0.2.1")
    assert store.attach(token, "first", "192.0.2.1", "relay.example:3478")
    assert store.beat("alice", "first", reach)
    assert found(store).reach == reach
    assert store.attach(token, "second", "192.0.2.1", "other.example:3478")
    assert (found(store).reach, found(store).relay) == (reach, "other.example:3478")
    assert not store.beat("alice", "first", Reach("blocked", "unknown", False, False))
    assert found(store).reach == reach
    assert store.attach(token, "third", "192.0.2.2")
    assert (found(store).reach, found(store).relay) == (None, "")
    assert store.beat("alice", "third", reach)
    claimed(store, "alice", 2, "192.0.2.3")
    assert found(store).reach is None


@pytest.mark.parametrize(
    ("host", "asker", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "", False),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("2001:db8::1", "192.0.2.1", False),
    ],
)
def test_the_same_network_is_one_address_or_one_64_of_ipv6_and_said_only_of_the_listed_who_are_here(
    store: Store, host: str, asker: str, same: bool
) -> None:
    claimed(store, "alice", 1, host)
    token = claimed(store, "carol", 1, host, "contacts")
    assert answers.same_network(found(store), asker) is same
    assert not answers.same_network(found(store, "carol", token), asker)
    alices = claimed(store, "alice", 2, host)
    store.attach(alices, "one", host)
    store.detach("alice", "one")
    assert not answers.same_network(found(store), asker)


@pytest.mark.usefixtures("empty_redis")
def test_a_ticket_names_the_home_relay_of_the_other_whichever_machine_makes_it(
    tmp_path: Path, server: EmbeddedServer
) -> None:
    shared = ("--redis", server.url)
    with (
        running(tmp_path / "one", *shared) as first,
        running(tmp_path / "two", *shared, "--relay-address", "relay.example:4000") as second,
    ):
        own = f":{first.udp_port}"
        one, two = (requests.get(f"{each.url}/identity", timeout=PATIENCE).json() for each in (first, second))
        assert (one["relay"], two["relay"]) == ([own], ["relay.example:4000"])
        assert one["stun"] == [{"address": own, "second_port": one["stun_ports"][1]}]
        assert two["stun"] == [{"address": "relay.example:4000", "second_port": two["stun_ports"][1]}]
        alice, bob = attached(first, ALICE, "alice"), attached(second, BOB, "bob")
        for asker, asked, name, home in ((alice, bob, "bob", "relay.example:4000"), (bob, alice, "alice", own)):
            said = (asker.call("ticket", {"peer": name}), asked.tickets.until(lambda _: True))
            tickets = [decode_ticket(from_text(value["ticket"])) for value in said]
            assert {ticket.relay for ticket in tickets} == {home}
            assert all(ticket.valid(from_text(one["key"]), time.time()) for ticket in tickets)
        for agent in (alice, bob):
            agent.close()
