"""The front page and the invitation code: what a rendezvous shows, and whom it takes."""

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from rendezvous.app import Settings, create_app
from rendezvous.limits import read_rules
from rendezvous.relay_budget import Rules
from rendezvous.status import size
from rendezvous.store import Store
from tests.rendezvous.test_routes import ALICE, MALLORY, audience, error, signed

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def application(store: Store, **changes: Any) -> FlaskClient:
    return create_app(Settings(async_mode="threading", **changes), store).test_client()


def test_a_browser_gets_a_page_and_everything_else_json(store: Store) -> None:
    client = application(store)
    signed(client, ALICE, "alice")
    page = client.get("/", headers=HTML)
    assert page.content_type == "text/html; charset=utf-8"
    assert "person is online</dt><dd>1</dd>" in page.text
    assert "agent --rendezvous http://localhost<" in page.text
    for accept in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        value = client.get("/", headers=accept).get_json()
        assert (value["service"], value["online"], value["listed"]) == ("tmge-rendezvous", 1, 1)
    assert client.get("/", headers=HTML).headers["Vary"] == "Accept"


def test_the_page_runs_no_script_and_loads_nothing(store: Store) -> None:
    page = application(store).get("/", headers=HTML)
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"<script|<link|<img|\son\w+=|\sstyle=", page.text)


def test_the_page_names_nobody_unless_it_is_wished(store: Store) -> None:
    for show, shown in ((False, False), (True, True)):
        client = application(store, show_people=show)
        signed(client, ALICE, "alice")
        signed(client, MALLORY, "mallory", visibility="hidden")
        text = client.get("/", headers=HTML).text
        assert ("<li>alice</li>" in text) is shown
        assert "mallory" not in text


def test_the_page_repeats_no_host_that_is_none(store: Store) -> None:
    client = application(store)
    page = client.get("/", headers=HTML | {"Host": "<b>evil</b>"})
    assert "evil" not in page.text


def test_a_rendezvous_with_a_code_takes_only_those_who_bring_it(store: Store) -> None:
    client = application(store, signup_code="open sesame")
    assert client.get("/identity").get_json()["code_required"] is True
    assert "invitation code" in client.get("/", headers=HTML).text
    assert error(signed(client, ALICE, "alice")) == (403, "code_required")
    assert error(signed(client, ALICE, "alice", code="wrong")) == (403, "wrong_code")
    assert error(signed(client, ALICE, "alice", code=5)) == (403, "wrong_code")
    assert client.get("/user?id=alice").status_code == 404
    assert signed(client, ALICE, "alice", code="open sesame").status_code == 201
    assert signed(client, ALICE, "alice").status_code == 200
    assert error(signed(client, MALLORY, "alice")) == (403, "code_required")


def test_nobody_may_try_many_codes(store: Store) -> None:
    client = application(store, signup_code="open sesame", rules=read_rules("guess=3/minute"))
    assert [signed(client, ALICE, "alice", code=str(number)).status_code for number in range(5)] == [403] * 3 + [
        429
    ] * 2


@pytest.mark.parametrize("code", ["", "open sesame"])
def test_without_a_code_everybody_is_taken(store: Store, code: str) -> None:
    client = application(store)
    assert client.get("/identity").get_json()["code_required"] is False
    assert signed(client, ALICE, "alice", code=code).status_code == 201
    assert audience(client)


def test_the_page_says_how_much_the_relay_carries_or_that_there_is_none(store: Store) -> None:
    budgets = Rules.of(2_000_000, 500_000_000, 3_000_000_000)
    client = application(store, relay_address=":3478", stun_ports=(3478,), budgets=budgets)
    text = client.get("/", headers=HTML).text
    assert all(words in text for words in ("2 MB a second", "500 MB an hour", "3 GB an hour"))
    carried = {"rate": 2_000_000, "ticket_bytes": 500_000_000, "person_bytes": 3_000_000_000}
    assert client.get("/").get_json()["relay"] == {"address": ":3478"} | carried
    none = application(store, relay_address=":3478", stun_ports=(3478,), relays=False)
    assert "There is no relay here" in none.get("/", headers=HTML).text
    assert none.get("/").get_json()["relay"] is None
    about = none.get("/identity").get_json()
    assert (about["relay"], about["stun"]) == ([], [{"address": ":3478", "second_port": None}])


@pytest.mark.parametrize(
    ("count", "text"), [(1, "1 bytes"), (999, "999 bytes"), (1e6, "1 MB"), (12.5e6, "12.5 MB"), (5e13, "50 TB")]
)
def test_sizes_are_written_for_people(count: float, text: str) -> None:
    assert size(count) == text
