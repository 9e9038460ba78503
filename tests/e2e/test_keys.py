"""Keys between real agents: a name that comes back with another key, and what the person decides about it."""

from collections.abc import Iterator

import pytest

from tests.support.local_client import LocalClient, Refused, clients, connect
from tests.support.programs import Agent, Programs, Rendezvous, furnished


@pytest.fixture(scope="module")
def alice(programs: Programs, rendezvous: Rendezvous) -> Iterator[LocalClient]:
    """Connected with a Bob who has given his name back and gone; meanwhile somebody else is Bob."""
    agents = programs.agents(rendezvous.url, "Alice", "Bob")
    with clients(*(agent.page_url for agent in agents)) as (alice, bob):
        for client in (alice, bob):
            client.until(lambda client=client: client.me, "a name")  # type: ignore[misc]
        connect(alice, bob)
        assert bob.state["me"]["words"] == alice.until_person("Bob", connected=True)["words"]
        alice.call("set_verified", peer="Bob", verified=True)
        alice.until_person("Bob", verified=True)
        bob.call("forget_me")
        assert agents[1].stop() == 0
        yield alice


@pytest.fixture(scope="module")
def other(programs: Programs, rendezvous: Rendezvous, alice: LocalClient) -> Iterator[LocalClient]:
    """The other Bob."""
    agent = programs.run(Agent("Bob", furnished(programs.folder / "another Bob"), rendezvous.url))
    agent.wait_until_ready()
    with clients(agent.page_url) as (other,):
        other.until(lambda: other.me, "a name")
        yield other


def refused(client: LocalClient, verb: str, **arguments: object) -> str:
    """Return the code that a call is refused with."""
    with pytest.raises(Refused) as refusal:
        client.call(verb, **arguments)
    return refusal.value.code


def test_another_key_under_a_name_stops_everything_until_the_person_decides(
    alice: LocalClient, other: LocalClient
) -> None:
    person = alice.until_person("Bob", key_changed=True)
    mine = other.state["me"]
    assert [person[f"new_{form}"] for form in ("fingerprint", "words", "digits")] == [
        mine[form] for form in ("fingerprint", "words", "digits")
    ]
    assert person["fingerprint"] != mine["fingerprint"]
    alice.until_told("notice", lambda notice: notice["code"] == "key_changed")
    for verb in ("connect_to", "ask_quote", "ask_image"):
        assert refused(alice, verb, peer="Bob") == "key_changed"

    since = len(alice.events)
    entry = other.until_phase(other.ask("connect_to", "Alice"), "rejected")
    assert "another key" in entry["reason"]
    alice.until_told("notice", lambda notice: notice["code"] == "key_changed", since)
    assert not [entry for entry in alice.requests.values() if entry["direction"] == "in"]


def test_keeping_the_old_key_changes_nothing_and_trusting_the_new_one_begins_anew(
    alice: LocalClient, other: LocalClient
) -> None:
    known = alice.until_person("Bob", key_changed=True)
    assert refused(alice, "trust_key", peer="Bob", fingerprint=alice.state["me"]["fingerprint"]) == "key_changed"
    alice.call("trust_key", peer="Bob", fingerprint=known["fingerprint"])
    alice.until_person("Bob", key_changed=True, key_kept=True, verified=True)
    assert refused(alice, "ask_quote", peer="Bob") == "key_changed"

    alice.call("trust_key", peer="Bob", fingerprint=other.state["me"]["fingerprint"])
    alice.until_person(
        "Bob", key_changed=False, connected=False, verified=False, words=other.state["me"]["words"], online=True
    )
    assert refused(alice, "ask_quote", peer="Bob") == "not_connected"
    connect(alice, other)
    request = alice.ask("ask_quote", "Bob")
    other.accept(request)
    alice.until_phase(request, "done")


def test_the_code_to_scan_is_there_for_the_person_alone(alice: LocalClient) -> None:
    status, headers, body = alice.get(alice.state["me"]["qr"])
    assert (status, headers.get_content_type()) == (200, "image/svg+xml")
    assert b"<svg" in body
