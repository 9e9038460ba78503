"""How often somebody may ask: what a flood is answered, from one address, from many, by one key, over several
processes.
"""

import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from rendezvous.app import Settings, create_app
from rendezvous.limits import Limited, Limits, Rules, read_rules
from rendezvous.live_limits import CAPACITY, PER_SECOND, Bucket
from rendezvous.proxies import network_of
from rendezvous.redis_client import Client
from rendezvous.store import Store
from tests.rendezvous.test_routes import ALICE, audience, error, signed

FEW = Rules(**{"signup": "3/minute", "identity": "2/minute", "search": "3/minute", "lookup": "5/minute"})


@pytest.fixture
def few(store: Store) -> FlaskClient:
    """An application with few calls a minute."""
    return create_app(Settings(async_mode="threading", rules=FEW), store).test_client()


def elsewhere(address: str) -> Any:
    return {"environ_overrides": {"REMOTE_ADDR": address}}


def test_a_flood_of_lookups_is_answered_429_with_the_time_to_wait_and_others_are_served(few: FlaskClient) -> None:
    for _ in range(5):
        assert error(few.get("/user?id=bob")) == (404, "unknown_person")
    refused = few.get("/user?id=bob")
    assert error(refused) == (429, "limit")
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert error(few.get("/user?id=bob", **elsewhere("192.0.2.1")))[0] == 404


@pytest.mark.parametrize(("method", "path", "allowed"), [("GET", "/users", 3), ("POST", "/signup", 3)])
def test_a_flood_of_searches_or_sign_ups_is_answered_429(
    few: FlaskClient, method: str, path: str, allowed: int
) -> None:
    for _ in range(allowed):
        assert few.open(path, method=method).status_code != 429
    for _ in range(3):
        refused = few.open(path, method=method)
        assert error(refused) == (429, "limit")
        assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert few.open(path, method=method, **elsewhere("192.0.2.1")).status_code != 429


def test_one_key_signs_up_so_often_wherever_it_comes_from(few: FlaskClient) -> None:
    for number in range(2):
        body = ALICE.signup("alice", audience(few))
        assert few.post("/signup", json=body, **elsewhere(f"192.0.2.{number}")).status_code in (200, 201)
    body = ALICE.signup("alice", audience(few))
    assert error(few.post("/signup", json=body, **elsewhere("192.0.2.9"))) == (429, "limit")


def test_who_is_refused_costs_redis_nothing(few: FlaskClient, store: Store) -> None:
    for _ in range(5):
        few.get("/users")
    before = commands(store.client)
    for _ in range(50):
        assert few.get("/users").status_code == 429
    assert commands(store.client) - before < 20  # other parts go on meanwhile


def commands(client: Client) -> int:
    text = client.call("INFO", "stats").decode()
    return int(text.partition("total_commands_processed:")[2].split()[0])


def test_limits_hold_across_processes(store: Store) -> None:
    one, other = Limits(FEW, store.client), Limits(FEW, store.client)
    for limits in (one, other, one):
        limits.hit("search", "192.0.2.1")
    for limits in (one, other):
        with pytest.raises(Limited):
            limits.hit("search", "192.0.2.1")
    for _ in range(3):
        one.count("lookup", "192.0.2.1")
        other.count("lookup", "192.0.2.1")  # neither knows of the other yet
    one.share()
    other.share()  # now it knows of both; the first one does when it has counted once more
    one.count("lookup", "192.0.2.1")
    one.share()
    for limits in (one, other):
        with pytest.raises(Limited) as caught:
            limits.count("lookup", "192.0.2.1")
        assert 0 < caught.value.seconds <= 60


def test_a_count_ends_with_its_window(store: Store) -> None:
    limits = Limits(Rules(lookup="1/second", search="1/second"), store.client)
    for call in (limits.count, limits.hit):
        rule = "lookup" if call == limits.count else "search"
        call(rule, "x")
        with pytest.raises(Limited):
            call(rule, "x")
        deadline = time.monotonic() + 10
        while is_limited(call, rule):
            assert time.monotonic() < deadline


def is_limited(call: Any, rule: str) -> bool:
    try:
        call(rule, "x")
    except Limited:
        return True
    return False


def test_no_counter_stays_for_ever(store: Store) -> None:
    limits = Limits(FEW, store.client)
    limits.hit("search", "x")
    limits.count("lookup", "x")
    limits.share()
    keys = [key for key in store.client.call("SCAN", "0", "MATCH", "tmge:limit:*", "COUNT", 1000)[1]]
    assert len(keys) == 2
    assert all(0 < store.client.call("TTL", key) <= 60 for key in keys)


def test_without_its_redis_nothing_is_counted_there_and_nothing_fails_for_that() -> None:
    limits = Limits(FEW, Client("redis://127.0.0.1:1"))
    for _ in range(5):
        limits.hit("search", "x")


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("192.0.2.1") != network_of("192.0.2.2")


def test_health_is_never_limited(few: FlaskClient) -> None:
    assert {few.get("/healthz").status_code for _ in range(10)} & {429} == set()


def test_limits_can_be_switched_off(store: Store) -> None:
    client = create_app(Settings(async_mode="threading", rules=read_rules("all=off")), store).test_client()
    assert {signed(client, ALICE, "alice").status_code for _ in range(40)} == {200, 201}


def test_a_live_connection_pays_for_each_event_and_earns_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    bucket = Bucket()
    for _ in range(int(CAPACITY / 4)):
        assert bucket.take(4) == 0
    assert bucket.take(4) == pytest.approx(4 / PER_SECOND)
    assert bucket.refused == 1
    now += 4 / PER_SECOND + 0.01
    assert bucket.take(4) == 0
    assert bucket.refused == 1
    now += CAPACITY / PER_SECOND
    assert bucket.take(4) == 0
    assert bucket.refused == 0
