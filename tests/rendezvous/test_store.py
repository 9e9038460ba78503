"""The store on a real server: who gets a name, who is here, and what a page of the list holds."""

import threading
from collections.abc import Iterator

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.contract.names import fold
from rendezvous.embedded import EmbeddedServer
from rendezvous.store import Claim, Claimed, Store, Unavailable, new_token
from tests.support.live_rendezvous import Heard


def claim(name: str, key: bytes = b"", seq: int = 0, host: str = "192.0.2.1") -> Claim:
    box = (b"b" * 32, b"s" * 64) if key else (b"", b"")
    return Claim(name, key, *box, seq, host, 5001)


ALICE = b"a" * 32
MALLORY = b"m" * 32


def test_the_first_claim_is_new_and_the_same_key_renews_it_with_a_higher_seq(store: Store) -> None:
    assert store.claim(claim("Alice", ALICE, 1), None)[0] is Claimed.NEW
    assert store.claim(claim("Alice", ALICE, 2, "192.0.2.9"), None)[0] is Claimed.RENEWED
    person = store.find("alice")
    assert person is not None
    assert (person.name, person.key, person.seq, person.host) == ("Alice", ALICE, 2, "192.0.2.9")
    assert person.online


@pytest.mark.parametrize(
    ("second", "outcome", "detail"),
    [
        (claim("Alice", MALLORY, 9), Claimed.TAKEN, "0"),
        (claim("ALICE", MALLORY, 9), Claimed.TAKEN, "0"),
        (claim("Alice"), Claimed.TAKEN, "0"),
        (claim("Alice", ALICE, 5), Claimed.OLD_SEQ, "5"),
        (claim("Alice", ALICE, 4), Claimed.OLD_SEQ, "5"),
        (claim("alice", ALICE, 6), Claimed.SPELLING, "Alice"),
    ],
)
def test_a_claim_that_is_not_carried_out_changes_nothing(
    store: Store, second: Claim, outcome: Claimed, detail: str
) -> None:
    _, token = store.claim(claim("Alice", ALICE, 5), None)
    before = store.find("Alice")
    assert store.claim(second, None) == (outcome, detail)
    assert store.find("Alice") == before
    assert store.attach(token, "c1", "192.0.2.1") == "Alice"


def test_a_name_without_a_key_is_renewed_by_its_session_or_from_its_address(store: Store) -> None:
    _, token = store.claim(claim("bob"), None)
    assert store.claim(claim("bob", host="192.0.2.2"), None)[0] is Claimed.TAKEN
    assert store.claim(claim("bob", host="192.0.2.2"), new_token("bob"))[0] is Claimed.TAKEN
    assert store.claim(claim("bob", host="192.0.2.2"), token)[0] is Claimed.RENEWED
    assert store.claim(claim("bob", host="192.0.2.2"), None)[0] is Claimed.RENEWED
    assert store.claim(claim("bob", ALICE, 1, "192.0.2.2"), None)[0] is Claimed.RENEWED
    assert store.claim(claim("bob", host="192.0.2.2"), None)[0] is Claimed.TAKEN


def test_of_many_who_race_for_a_name_exactly_one_gets_it(store: Store) -> None:
    outcomes = Heard[tuple[Claimed, bytes]]()
    start = threading.Barrier(48)

    def race(number: int) -> None:
        key = number.to_bytes(32, "big")
        start.wait()
        outcomes((store.claim(claim("prize", key, 1), None)[0], key))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(1, 49)]
    for thread in threads:
        thread.start()
    results = [outcomes.until(lambda _: True) for _ in threads]
    winners = [key for outcome, key in results if outcome is Claimed.NEW]
    person = store.find("prize")
    assert person is not None
    assert winners == [person.key]
    assert {outcome for outcome, _ in results} == {Claimed.NEW, Claimed.TAKEN}


def test_the_same_claim_sent_twice_by_the_network_counts_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rendezvous.store.new_token", lambda name: f"{name.encode().hex()}.same")
    assert store.claim(claim("Alice", ALICE, 1), None)[0] is Claimed.NEW
    assert store.claim(claim("Alice", ALICE, 1), None)[0] is Claimed.RENEWED


def test_presence_follows_the_newest_connection(store: Store) -> None:
    _, token = store.claim(claim("Alice", ALICE, 1), None)
    assert store.attach(token, "old", "192.0.2.1") == "Alice"
    assert store.attach(token, "new", "192.0.2.7") == "Alice"
    store.detach("Alice", "old")
    assert not store.beat("Alice", "old")
    assert store.beat("Alice", "new")
    person = store.find("Alice")
    assert person is not None
    assert person.online
    assert person.host == "192.0.2.7"
    store.detach("Alice", "new")
    person = store.find("Alice")
    assert person is not None
    assert not person.online


TOKENS = {"none": "", "x": "x", "zz": "zz.zz", "ff": "ff.ff", "Alice's": new_token("Alice"), "Eve's": new_token("eve")}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS.keys())
def test_a_token_that_was_never_given_opens_nothing(store: Store, token: str) -> None:
    store.claim(claim("Alice", ALICE, 1), None)
    assert store.attach(token, "c", "192.0.2.1") is None


def test_whoever_is_silent_is_swept_offline_and_comes_back_with_a_heartbeat(
    server: EmbeddedServer, store: Store
) -> None:
    hasty = Store(server.url, ttl=-1)
    _, token = hasty.claim(claim("Alice", ALICE, 1), None)
    hasty.attach(token, "c", "192.0.2.1")
    store.claim(claim("bob", MALLORY, 1), None)
    store.sweep()
    assert [(p.name, p.online) for p in store.page("", "", 9)[0]] == [
        ("Alice", False),
        ("bob", True),
    ]
    assert store.beat("Alice", "c")
    assert store.page("", "", 1)[0][0].online


def test_who_comes_goes_or_moves_is_told_to_whoever_listens(server: EmbeddedServer, store: Store) -> None:
    told: Iterator[str | None] = store.changes()
    assert next(told) is None
    _, token = store.claim(claim("Alice", ALICE, 1), None)
    assert next(told) == "alice"
    store.attach(token, "c", "192.0.2.1")
    assert next(told) == "alice"
    store.beat("Alice", "c")  # tells nobody: nothing changed
    store.claim(claim("bob", MALLORY, 1), None)
    assert next(told) == "bob"
    store.detach("Alice", "c")
    assert next(told) == "alice"
    Store(server.url, ttl=-1).claim(claim("bob", MALLORY, 2), None)
    assert next(told) == "bob"
    store.sweep()
    assert next(told) == "bob"


NAMES = ["Alice", "alan", "Zoë", "bob", "Bobby", "علی", "علی رضا", "名前", "al", "a b", "a-b", "öl"]


@settings(max_examples=60, deadline=None)
@given(
    query=st.sampled_from(["", "a", "AL", "bob", "ع", "z", "名", "nobody", "\0", "\xff"]),
    limit=st.integers(1, 5),
)
def test_pages_hold_every_name_once_in_order(server: EmbeddedServer, query: str, limit: int) -> None:
    store = Store(server.url)
    for number, name in enumerate(NAMES, 1):
        if store.find(name) is None:
            store.claim(claim(name, number.to_bytes(32, "big"), 1), None)
    wanted = sorted((n for n in NAMES if fold(n).startswith(fold(query))), key=fold)
    got: list[str] = []
    after: str | None = ""
    while after is not None:
        people, after = store.page(query, after, limit)
        assert len(people) <= limit
        got += [person.name for person in people]
    assert got == wanted


def test_the_identity_of_the_server_is_made_once(server: EmbeddedServer, store: Store) -> None:
    seed = store.identity()
    assert len(seed) == 32
    assert Store(server.url).identity() == seed


def test_a_person_takes_less_than_a_kilobyte(store: Store, empty_redis: "redis.Redis") -> None:
    def used() -> int:
        return int(empty_redis.info("memory")["used_memory"])

    before = used()
    for number in range(500):
        store.claim(claim(f"somebody-with-a-name-{number}", number.to_bytes(32, "big"), 1), None)
    assert (used() - before) / 500 < 1024


def test_a_store_that_nobody_serves_is_unavailable() -> None:
    store = Store("redis://127.0.0.1:1")
    with pytest.raises(Unavailable):
        store.find("Alice")
    with pytest.raises(Unavailable):
        store.claim(claim("Alice", ALICE, 1), None)


@pytest.mark.parametrize("url", ["", "localhost", "http://127.0.0.1", "redis://127.0.0.1:port"])
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Store(url)
