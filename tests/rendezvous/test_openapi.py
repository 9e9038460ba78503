"""The OpenAPI document against the running program: it names every path, and what schemathesis thinks of to ask is
answered as it says.
"""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from rendezvous.app import Settings, create_app
from rendezvous.embedded import EmbeddedServer
from rendezvous.limits import read_rules
from rendezvous.openapi import DOCUMENT, PATHS, SCHEMAS
from rendezvous.store import Store
from tests.rendezvous.test_routes import ALICE, MALLORY, audience, signed
from tests.support.live_rendezvous import running


@pytest.fixture(scope="module")
def application(server: EmbeddedServer) -> Flask:
    return create_app(Settings(async_mode="threading", rules=read_rules("all=off")), Store(server.url))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("data"), "--limit", "all=off") as rendezvous:
        yield rendezvous.url


found: Any = schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
OPERATIONS = {operation.ok().label: operation.ok() for operation in found}


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_is_asked_is_answered_as_the_document_says(label: str, url: str) -> None:
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    cases = st.one_of(*[OPERATIONS[label].as_strategy(generation_mode=mode) for mode in modes])

    @settings(max_examples=60, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(cases)
    def ask(case: Any) -> None:
        # No schema says what a valid signature is, or how to open a WebSocket.
        valid = label.startswith("GET") and label != "GET /relay"
        excluded = [] if valid else [positive_data_acceptance]
        case.call_and_validate(base_url=url, excluded_checks=excluded)

    ask()


def test_the_document_names_every_path_and_no_other(application: Flask) -> None:
    rules = {rule.rule: rule.methods or set() for rule in application.url_map.iter_rules()}
    assert set(rules) == set(PATHS)
    for path, calls in PATHS.items():
        assert rules[path] - {"HEAD", "OPTIONS"} == {method.upper() for method in calls}


def test_every_success_is_as_the_document_says(application: Flask) -> None:
    client = application.test_client()
    application.extensions["store"].client.call("FLUSHALL")
    body = ALICE.signup("alice", audience(client), visibility="listed")
    answers = {
        ("/signup", "POST", 201): client.post("/signup", json=body),
        ("/signup", "POST", 200): signed(client, ALICE, "alice"),
        ("/signup", "POST", 409): signed(client, MALLORY, "alice"),
        ("/signup", "POST", 401): signed(client, MALLORY, "bob", key=body["key"]),
        ("/users", "GET", 200): client.get("/users?query=A&limit=1"),
        ("/user", "GET", 200): client.get("/user?id=alice"),
        ("/user", "GET", 404): client.get("/user?id=nobody"),
        ("/identity", "GET", 200): client.get("/identity"),
        ("/", "GET", 200): client.get("/"),
        ("/", "GET", 405): client.put("/"),
    }
    for (path, method, status), answer in answers.items():
        assert answer.status_code == status, (path, method, answer.text)
        described = PATHS[path]["get" if method == "GET" else "post"]["responses"][str(status)]
        assert_valid(answer.get_json(), described["content"]["application/json"]["schema"])


def assert_valid(value: Any, schema: dict[str, Any]) -> None:
    jsonschema_rs.validate({**schema, "components": DOCUMENT["components"]}, value)


def test_the_schemas_are_used(application: Flask) -> None:
    text = application.test_client().get("/openapi.json").text
    assert all(f"#/components/schemas/{name}" in text for name in SCHEMAS)
