"""The store on a real server: who gets a name, who is here, and what a page of the list holds."""

import threading
import time
from collections.abc import Iterator

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.contract.names import fold
from rendezvous.contract.presence import looker
from rendezvous.embedded import EmbeddedServer
from rendezvous.layout import keys_of, new_token
from rendezvous.people import Delivery, Person
from rendezvous.store import Claim, Claimed, Store, Unavailable
from tests.support.live_rendezvous import PATIENCE, Heard

ALICE = b"a" * 32
MALLORY = b"m" * 32


def claim(name: str, key: bytes = ALICE, seq: int = 1, host: str = "192.0.2.1", visibility: str = "listed") -> Claim:
    return Claim(name, key, b"b" * 32, b"s" * 64, seq, host, 5001, visibility)


def proof(claimed: int, at: int) -> bytes:
    return f"{claimed} {at}".encode().ljust(64)


def token_of(store: Store, wanted: Claim) -> str:
    outcome, token = store.claim(wanted, proof)
    assert outcome in (Claimed.NEW, Claimed.RENEWED), outcome
    return token


def found(store: Store, name: str) -> Person:
    person = store.find(name)
    assert person is not None
    assert person.proof == proof(person.claimed, person.time)
    return person


def test_the_first_claim_is_new_and_the_same_key_renews_it_with_a_higher_seq(store: Store) -> None:
    assert store.claim(claim("Alice", ALICE, 1), proof)[0] is Claimed.NEW
    assert store.claim(claim("Alice", ALICE, 2, "192.0.2.9"), proof)[0] is Claimed.RENEWED
    person = store.find("alice")
    assert person is not None
    assert (person.name, person.key, person.seq, person.host) == ("Alice", ALICE, 2, "192.0.2.9")
    assert person.online


@pytest.mark.parametrize(
    ("second", "outcome", "detail"),
    [
        (claim("Alice", MALLORY, 9), Claimed.TAKEN, "0"),
        (claim("ALICE", MALLORY, 9), Claimed.TAKEN, "0"),
        (claim("aLiCe", MALLORY, 9), Claimed.TAKEN, "0"),
        (claim("\u13aa\u13de\u13a5\u13df\u13ac", MALLORY, 9), Claimed.TAKEN, "0"),  # Cherokee, and looks the same
        (claim("Alice", ALICE, 5), Claimed.OLD_SEQ, "5"),
        (claim("Alice", ALICE, 4), Claimed.OLD_SEQ, "5"),
        (claim("alice", ALICE, 6), Claimed.SPELLING, "Alice"),
    ],
)
def test_a_claim_that_is_not_carried_out_changes_nothing(
    store: Store, second: Claim, outcome: Claimed, detail: str
) -> None:
    _, token = store.claim(claim("Alice", ALICE, 5), proof)
    before = store.find("Alice")
    assert store.claim(second, proof) == (outcome, detail)
    assert store.find("Alice") == before
    assert store.attach(token, "c1", "192.0.2.1") == ("Alice", ALICE)


def test_of_a_hundred_who_race_for_a_name_exactly_one_gets_it(store: Store) -> None:
    outcomes = Heard[tuple[Claimed, bytes]]()
    start = threading.Barrier(100)

    def race(number: int) -> None:
        key = number.to_bytes(32, "big")
        start.wait()
        outcomes((store.claim(claim("prize", key, 1), proof)[0], key))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(1, 101)]
    for thread in threads:
        thread.start()
    results = [outcomes.until(lambda _: True) for _ in threads]
    winners = [key for outcome, key in results if outcome is Claimed.NEW]
    person = store.find("prize")
    assert person is not None
    assert winners == [person.key]
    assert {outcome for outcome, _ in results} == {Claimed.NEW, Claimed.TAKEN}


def test_the_same_claim_sent_twice_by_the_network_counts_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rendezvous.store.new_token", lambda name, key: f"{name.encode().hex()}.00.same")
    assert store.claim(claim("Alice", ALICE, 1), proof)[0] is Claimed.NEW
    assert store.claim(claim("Alice", ALICE, 1), proof)[0] is Claimed.RENEWED


def test_presence_follows_the_newest_connection(store: Store) -> None:
    _, token = store.claim(claim("Alice", ALICE, 1), proof)
    assert store.attach(token, "old", "192.0.2.1") == ("Alice", ALICE)
    assert store.attach(token, "new", "192.0.2.7") == ("Alice", ALICE)
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


TOKENS = {
    "none": "",
    "x": "x",
    "zz": "zz.zz",
    "ff": "ff.ff",
    "Alice's": new_token("Alice", ALICE),
    "Eve's": new_token("eve", MALLORY),
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS.keys())
def test_a_token_that_was_never_given_opens_nothing(store: Store, token: str) -> None:
    store.claim(claim("Alice", ALICE, 1), proof)
    assert store.attach(token, "c", "192.0.2.1") is None


def test_whoever_is_silent_is_swept_offline_and_comes_back_with_a_heartbeat(
    server: EmbeddedServer, store: Store
) -> None:
    hasty = Store(server.url, ttl=-1)
    _, token = hasty.claim(claim("Alice", ALICE, 1), proof)
    hasty.attach(token, "c", "192.0.2.1")
    store.claim(claim("bob", MALLORY, 1), proof)
    store.sweep()
    assert [(p.name, p.online) for p in store.page("", "", 9)[0]] == [
        ("Alice", False),
        ("bob", True),
    ]
    assert store.beat("Alice", "c")
    assert store.page("", "", 1)[0][0].online


def test_who_comes_goes_or_moves_is_told_to_whoever_listens(server: EmbeddedServer, store: Store) -> None:
    told: Iterator[str | Delivery | None] = store.changes()
    assert next(told) is None
    _, token = store.claim(claim("Alice", ALICE, 1), proof)
    assert next(told) == "alice"
    store.attach(token, "c", "192.0.2.1")
    assert next(told) == "alice"
    store.beat("Alice", "c")  # tells nobody: nothing changed
    store.claim(claim("bob", MALLORY, 1), proof)
    assert next(told) == "bob"
    store.detach("Alice", "c")
    assert next(told) == "alice"
    Store(server.url, ttl=-1).claim(claim("bob", MALLORY, 2), proof)
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
            store.claim(claim(name, number.to_bytes(32, "big"), 1), proof)
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
        store.claim(claim(f"somebody-with-a-name-{number}", number.to_bytes(32, "big"), 1), proof)
    assert (used() - before) / 500 < 1024, (used() - before) / 500


def test_a_store_that_nobody_serves_is_unavailable() -> None:
    store = Store("redis://127.0.0.1:1")
    with pytest.raises(Unavailable):
        store.find("Alice")
    with pytest.raises(Unavailable):
        store.claim(claim("Alice", ALICE, 1), proof)


@pytest.mark.parametrize("url", ["", "localhost", "http://127.0.0.1", "redis://127.0.0.1:port"])
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Store(url)


def test_what_is_for_one_connection_is_heard_by_every_process(server: EmbeddedServer, store: Store) -> None:
    told = Store(server.url).changes()
    assert next(told) is None
    delivery = Delivery("sid", "introduction", {"from": "Zoë", "payload": "AA"})
    store.deliver(delivery)
    assert next(told) == delivery


# Names that are released, and names that nobody uses


def test_a_released_name_is_gone_with_all_that_was_known_and_free_at_once(
    store: Store, empty_redis: "redis.Redis"
) -> None:
    store.attach(token_of(store, claim("Alice", seq=4, visibility="contacts")), "c", "192.0.2.1")
    assert store.allow("Alice", "c", [looker(MALLORY)])
    before = store.find("alice", invite=MALLORY)
    assert before is not None
    assert store.forget("alice", MALLORY, 9) is None
    assert store.forget("alice", ALICE, 4) == 4
    released = store.forget("ALICE", ALICE, 5)
    assert released is not None
    assert not isinstance(released, int)
    assert (released.name, released.key, released.seq, released.released) == ("Alice", ALICE, 5, True)
    assert released.claimed == before.claimed
    assert store.forget("alice", ALICE, 6) is None
    assert [key for key in empty_redis.scan_iter() if b"gone" not in key] == []
    assert 1200 < empty_redis.ttl(next(empty_redis.scan_iter())) <= 1320
    assert not store.beat("Alice", "c")
    assert store.claim(claim("alice", MALLORY, 1), proof)[0] is Claimed.NEW


def test_a_sign_up_from_before_a_release_does_not_bring_the_name_back(store: Store) -> None:
    token_of(store, claim("Alice", seq=4))
    store.forget("Alice", ALICE, 6)
    for seq in (4, 5, 6):
        assert store.claim(claim("Alice", seq=seq), proof) == (Claimed.OLD_SEQ, "6")
    # Not even where somebody else has had the name in between.
    token_of(store, claim("alice", MALLORY, 1))
    store.forget("alice", MALLORY, 2)
    assert store.claim(claim("Alice", seq=6), proof) == (Claimed.OLD_SEQ, "6")
    assert store.claim(claim("Alice", seq=7), proof)[0] is Claimed.NEW


def test_the_spans_of_two_owners_of_a_name_never_overlap(store: Store) -> None:
    token_of(store, claim("Alice"))
    first = found(store, "Alice")
    token_of(store, claim("Alice", seq=2))
    renewed = found(store, "Alice")
    assert renewed.claimed == first.claimed <= renewed.time
    store.forget("Alice", ALICE, 3)
    token_of(store, claim("alice", MALLORY))
    assert found(store, "alice").claimed > renewed.time


def test_a_name_that_nobody_uses_is_free_again_and_leaves_the_list(server: EmbeddedServer, store: Store) -> None:
    hasty = Store(server.url, unused=1)
    token_of(hasty, claim("Alice"))
    token_of(store, claim("bob", MALLORY))
    deadline = time.monotonic() + PATIENCE
    while hasty.find("Alice") is not None:
        assert time.monotonic() < deadline
    assert [person.name for person in store.page("", "", 9)[0]] == ["bob"]
    assert store.sweep_names() == b""
    assert token_of(store, claim("alice", MALLORY))
    assert [person.name for person in store.page("", "", 9)[0]] == ["alice", "bob"]


def test_the_sweep_of_the_list_goes_on_where_it_stopped_and_harms_nobody(
    store: Store, empty_redis: "redis.Redis"
) -> None:
    for number in range(5):
        token_of(store, claim(f"name{number:03}", number.to_bytes(32, "big")))
    empty_redis.zadd("tmge:{names}:all", {f"gone{number:03}\0gone{number:03}": 0 for number in range(150)})
    empty_redis.zadd("tmge:{names}:all", {"name001\0NAME001": 0})
    reached, turns = b"", 0
    while (reached := store.sweep_names(reached)) or not turns:
        turns += 1
    assert turns == 1
    assert empty_redis.zcard("tmge:{names}:all") == 5


def test_what_an_earlier_version_kept_is_renewed_by_its_key_and_free_without_one(
    store: Store, empty_redis: "redis.Redis"
) -> None:
    for name, key in (("alice", ALICE), ("keyless", b"")):
        kept: dict[str, str | int | bytes] = {
            "name": name,
            "key": key,
            "box_key": key,
            "box_signature": key,
            "seq": 4,
            "host": "192.0.2.1",
        }
        kept |= {"port": 5001, "session": b"s", "last_seen": 1}
        empty_redis.hset(keys_of(name).person, mapping=kept)  # type: ignore[arg-type]
        empty_redis.zadd("tmge:{names}:all", {f"{name}\0{name}": 0})
    assert store.find("alice") is None
    assert store.page("", "", 9)[0] == []
    assert store.claim(claim("alice", MALLORY, 9), proof)[0] is Claimed.TAKEN
    assert store.claim(claim("alice", ALICE, 4), proof) == (Claimed.OLD_SEQ, "4")
    assert store.claim(claim("alice", ALICE, 5), proof)[0] is Claimed.RENEWED
    assert store.claim(claim("keyless", MALLORY, 1), proof)[0] is Claimed.NEW
    assert [person.name for person in store.page("", "", 9)[0]] == ["alice", "keyless"]


# Who sees whom


@pytest.mark.parametrize("visibility", ["contacts", "hidden"])
def test_somebody_who_is_not_listed_is_seen_by_those_whom_they_allow(store: Store, visibility: str) -> None:
    bob, carol = b"o" * 32, b"c" * 32
    alices = token_of(store, claim("Alice", visibility=visibility))
    bobs, carols = token_of(store, claim("bob", bob)), token_of(store, claim("carol", carol))
    store.attach(alices, "c", "192.0.2.1")
    assert store.find("alice", bobs) is None
    assert store.allow("Alice", "c", [looker(bob), looker(b"secret")])
    assert store.find("alice") is None
    assert store.find("alice", carols) is None
    assert store.find("alice", bobs + "x") is None
    assert store.find("alice", new_token("bob", bob)) is None
    assert store.find("alice", "", b"other") is None
    for person in (store.find("ALICE", bobs), store.find("alice", alices), store.find("alice", None, b"secret")):
        assert person is not None
        assert person.name == "Alice"
    assert [p and p.name for p in store.find_many(["alice", "bob", "no"], looker(bob))] == ["Alice", "bob", None]
    assert store.find_many(["alice"], looker(carol)) == [None]
    assert [p.name for p in store.page("", "", 9)[0]] == ["bob", "carol"]
    person, allowed = store.find_with_allowed(["alice"])[0]
    assert person is not None
    assert allowed == {looker(bob), looker(b"secret")}
    assert not store.allow("Alice", "another", [])
    assert store.allow("Alice", "c", [])
    assert store.find("alice", bobs) is None
    token_of(store, claim("Alice", seq=2))
    assert store.find("alice") is not None
    assert [p.name for p in store.page("al", "", 9)[0]] == ["Alice"]


def test_who_is_not_seen_costs_the_store_the_same_as_nobody(store: Store, empty_redis: "redis.Redis") -> None:
    token_of(store, claim("hidden", visibility="hidden"))
    bobs = token_of(store, claim("bob", MALLORY))

    def commands(name: str, token: str | None) -> dict[str, int]:
        empty_redis.config_resetstat()
        assert store.find(name, token, b"invite") is None
        stats: dict[str, dict[str, int]] = empty_redis.info("commandstats")
        return {name: stat["calls"] for name, stat in stats.items() if "info" not in name and "config" not in name}

    for token in (None, bobs):
        assert commands("hidden", token) == commands("nobody", token) != {}
