"""The HTTP API on a real store: what each call answers, and that an error changes nothing."""

import json
import time
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from rendezvous.app import Settings, create_app
from rendezvous.contract.encoding import to_text
from rendezvous.contract.identity import fingerprint
from rendezvous.contract.statement import read_statement
from rendezvous.store import Store
from tests.support.live_rendezvous import Someone

ALICE, MALLORY = Someone(1), Someone(2)


def error(response: TestResponse) -> tuple[int, str]:
    """Check that an answer is an error as the contract has it; return its status and code."""
    value: Any = response.get_json()
    assert set(value) == {"error"}
    assert set(value["error"]) == {"code", "message"}
    assert value["error"]["message"].endswith(".")
    return response.status_code, value["error"]["code"]


def audience(client: FlaskClient) -> str:
    return str(client.get("/identity").get_json()["key"])


def signed(client: FlaskClient, who: Someone, name: str, **changes: object) -> TestResponse:
    return client.post("/signup", json=who.signup(name, audience(client), **changes))


def unsigned(client: FlaskClient, name: str, **options: Any) -> TestResponse:
    return client.post("/signup", json={"username": name, "port": 5001}, **options)


def test_it_says_what_it_is_and_which_key_it_has(client: FlaskClient) -> None:
    assert client.get("/").get_json()["service"] == "tmge-rendezvous"
    value = client.get("/identity").get_json()
    assert client.get("/identity").get_json() == value
    assert len(value["fingerprint"]) == 39


def test_a_signed_sign_up_is_found_with_its_keys_and_the_address_it_came_from(
    client: FlaskClient,
) -> None:
    response = signed(client, ALICE, "Alice", ip="10.9.9.9", direct=True)
    assert response.status_code == 201
    assert response.get_json()["host"] == "127.0.0.1"
    person = client.get("/user", query_string={"id": "alice"}).get_json()
    assert person.pop("last_seen") > 0
    statement = read_statement(person.pop("statement"))
    assert statement.holds()
    assert statement == read_statement(response.get_json()["statement"])
    assert (statement.name, statement.key, statement.box_key) == ("Alice", ALICE.key, ALICE.box_key)
    assert (to_text(statement.server), statement.seq) == (audience(client), ALICE.seq)
    assert abs(statement.time - time.time()) < 60
    assert person == {
        "username": "Alice",
        "key": to_text(ALICE.key),
        "box_key": to_text(ALICE.box_key),
        "box_signature": to_text(ALICE.box_signature("Alice")),
        "seq": ALICE.seq,
        "online": True,
        "host": "127.0.0.1",
        "port": 5001,
        "direct": True,
        "relay": None,
        "reach": None,
        "same_network": True,
    }
    assert signed(client, ALICE, "Alice").status_code == 200


def test_a_sign_up_that_nobody_signed_claims_nothing(client: FlaskClient) -> None:
    assert error(unsigned(client, "bob")) == (401, "unsigned")
    assert client.get("/users").get_json() == {"users": [], "people": [], "next": None}


def test_nobody_takes_a_name_that_someone_else_holds(client: FlaskClient) -> None:
    signed(client, ALICE, "alice")
    before = client.get("/user?id=alice").get_json()
    assert error(signed(client, MALLORY, "alice")) == (409, "name_taken")
    assert error(signed(client, MALLORY, "ALICE")) == (409, "name_taken")
    assert error(signed(client, ALICE, "ALICE")) == (409, "name_taken")
    assert error(signed(client, MALLORY, "\u0430lice")) == (400, "bad_request")  # a Cyrillic letter among Latin ones
    assert error(signed(client, MALLORY, "\u13aa\u13de\u13a5\u13df\u13ac")) == (409, "name_taken")  # all Cherokee
    assert client.get("/user?id=alice").get_json() == before


def test_a_sign_up_that_is_replayed_or_older_is_refused(client: FlaskClient) -> None:
    first = ALICE.signup("alice", audience(client))
    assert client.post("/signup", json=first).status_code == 201
    assert error(client.post("/signup", json=first)) == (400, "old_seq")
    assert signed(client, ALICE, "alice").status_code == 200
    assert error(client.post("/signup", json=first)) == (400, "old_seq")


def test_a_bad_signature_or_audience_or_time_claims_nothing(client: FlaskClient) -> None:
    assert error(signed(client, ALICE, "alice", key=to_text(MALLORY.key)))[0] == 401
    assert error(signed(client, ALICE, "alice", audience=to_text(bytes(32))))[0] == 400
    assert error(signed(client, ALICE, "alice", time=1)) == (400, "wrong_time")
    assert error(client.get("/user?id=alice")) == (404, "unknown_person")
    assert client.get("/users").get_json()["users"] == []


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"{}", "text/plain", (415, "unsupported_media_type")),
        (b"{}", "application/x-www-form-urlencoded", (415, "unsupported_media_type")),
        (b"{}", None, (415, "unsupported_media_type")),
        (b"{}", "application/json", (400, "bad_request")),
        (b"not json", "application/json", (400, "bad_request")),
        (b" " * (16 * 1024 + 1), "application/json", (413, "too_large")),
    ],
)
def test_a_body_that_is_no_sign_up_is_refused_with_the_right_status(
    client: FlaskClient, body: bytes, content_type: str | None, expected: tuple[int, str]
) -> None:
    assert error(client.post("/signup", data=body, content_type=content_type)) == expected


def test_a_sign_up_may_take_all_of_the_limit(client: FlaskClient) -> None:
    body = json.dumps(ALICE.signup("alice", audience(client))).encode()
    padded = body + b" " * (16 * 1024 - len(body))
    response = client.post("/signup", data=padded, content_type="application/json")
    assert response.status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/signup", "POST"), ("POST", "/users", "GET"), ("DELETE", "/user", "GET")],
)
def test_a_wrong_method_is_told_the_right_ones(client: FlaskClient, method: str, path: str, allowed: str) -> None:
    response = client.open(path, method=method)
    assert error(response) == (405, "method_not_allowed")
    assert allowed in response.headers["Allow"]


@pytest.mark.parametrize("path", ["/nothing", "/signup/", "/users/alice", "/%ff", "/static/x"])
def test_a_path_that_is_not_there_is_a_json_error(client: FlaskClient, path: str) -> None:
    assert error(client.get(path)) == (404, "not_found")


@pytest.mark.parametrize("query", ["", "?id=", "?name=alice", "?id=" + "x" * 129])
def test_a_question_about_no_name_is_refused(client: FlaskClient, query: str) -> None:
    assert error(client.get("/user" + query)) == (400, "bad_request")


@pytest.mark.parametrize("name", ["nobody", "a%00b", "%ed%a0%80", "%F0%9F%98%80", "*", "{0}"])
def test_nobody_is_404_whatever_the_name(client: FlaskClient, name: str) -> None:
    assert error(client.get(f"/user?id={name}")) == (404, "unknown_person")


@pytest.mark.parametrize("limit", ["0", "-1", "501", "x", "1.5", "", "٣", "9" * 99, "1e2"])
def test_a_limit_is_a_number_of_people(client: FlaskClient, limit: str) -> None:
    assert error(client.get("/users", query_string={"limit": limit})) == (400, "bad_request")


def test_pages_follow_each_other_to_the_end(client: FlaskClient) -> None:
    names = [f"user{number}" for number in range(7)]
    for number, name in enumerate([*names, "other"], 10):
        signed(client, Someone(number), name)
    got: list[str] = []
    after: str | None = ""
    while after is not None:
        query = {"query": "USER", "limit": "3", "after": after}
        value = client.get("/users", query_string=query).get_json()
        got += value["users"]
        after = value["next"]
    assert got == names


def test_without_its_store_it_says_so_and_needs_no_page_of_a_traceback() -> None:
    nowhere = create_app(Settings(async_mode="threading"), Store("redis://127.0.0.1:1"))
    client = nowhere.test_client()
    for response in (client.post("/signup", json={}), client.get("/users"), client.get("/user?id=bob")):
        assert error(response) == (503, "unavailable")


def test_the_fingerprint_of_the_server_is_that_of_its_key(client: FlaskClient, store: Store) -> None:
    value = client.get("/identity").get_json()
    assert value["key"] == audience(client)
    assert value["fingerprint"] != fingerprint(store.identity())


# Released, hidden, and other keys


def look(client: FlaskClient, name: str, token: str | None = None, **query: str) -> TestResponse:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return client.get("/user", query_string={"id": name, **query}, headers=headers)


def test_who_wishes_it_is_forgotten_with_a_signed_statement(client: FlaskClient) -> None:
    first = ALICE.signup("Alice", audience(client))
    taken = read_statement(client.post("/signup", json=first).get_json()["statement"])
    late = ALICE.signup("Alice", audience(client))  # signed before the release, and sent after it
    stolen = MALLORY.forget("Alice", audience(client))
    assert error(client.post("/forget", json=stolen)) == (404, "unknown_person")
    wish = ALICE.forget("alice", audience(client))
    assert error(client.post("/forget", json=wish | {"seq": 1000}))[0] == 401
    answer = client.post("/forget", json=wish)
    statement = read_statement(answer.get_json()["statement"])
    assert answer.status_code == 200
    assert statement.holds()
    assert statement.released
    assert (statement.name, statement.key, statement.claimed) == ("Alice", ALICE.key, taken.claimed)
    assert error(look(client, "Alice")) == (404, "unknown_person")
    assert client.get("/users").get_json()["people"] == []
    for replayed in (first, late):
        assert error(client.post("/signup", json=replayed)) == (400, "old_seq")
    assert error(client.post("/forget", json=wish)) == (404, "unknown_person")
    mallorys = read_statement(signed(client, MALLORY, "alice").get_json()["statement"])
    assert not mallorys.contradicts(taken)
    assert not mallorys.contradicts(statement)
    assert error(client.post("/forget", json=wish)) == (404, "unknown_person")


def test_unknown_hidden_and_other_key_names_look_alike(client: FlaskClient) -> None:
    signed(client, ALICE, "hidden", visibility="hidden")
    signed(client, Someone(3), "private", visibility="contacts")
    signed(client, Someone(4), "other")
    bobs = signed(client, Someone(5), "bob").get_json()["token"]
    asked = [("nobody", ""), ("hidden", ""), ("private", ""), ("other", fingerprint(MALLORY.key))]
    for token in (None, bobs, "x.y.z"):
        answers = {(r.status_code, r.data, str(r.headers)) for r in (look(client, n, token, fp=fp) for n, fp in asked)}
        assert len(answers) == 1
        assert error(look(client, "nobody", token)) == (404, "unknown_person")
    assert look(client, "other", fp=fingerprint(Someone(4).key)).status_code == 200
    assert client.get("/users").get_json()["users"] == ["bob", "other"]
    assert client.get("/users?query=hid").get_json()["users"] == []
    assert error(signed(client, MALLORY, "hidden")) == (409, "name_taken")  # as it must be: there is one owner


def test_somebody_hidden_sees_themselves_and_comes_back_when_they_wish(client: FlaskClient) -> None:
    token = signed(client, ALICE, "hidden", visibility="hidden").get_json()["token"]
    assert look(client, "hidden", token).status_code == 200
    signed(client, ALICE, "hidden")
    assert look(client, "hidden").status_code == 200


@pytest.mark.parametrize("look", ["", "x", "AAAA", to_text(bytes(16)), "%00"])
def test_a_secret_that_opens_nothing_is_as_none(client: FlaskClient, look: str) -> None:
    signed(client, ALICE, "hidden", visibility="hidden")
    assert error(client.get(f"/user?id=hidden&look={look}")) == (404, "unknown_person")


def test_an_invite_link_in_a_browser_says_how_to_go_on(client: FlaskClient) -> None:
    answer = client.get("/invite")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert "agent --invite" in answer.get_data(as_text=True)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
