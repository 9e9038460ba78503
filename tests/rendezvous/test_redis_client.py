"""The client of Redis on one server and on a cluster: the same answers, whatever happens to a node."""

import signal
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from rendezvous.people import Delivery
from rendezvous.redis_client import Client, Unavailable
from rendezvous.store import Claim, Claimed, Store
from tests.support.live_rendezvous import Heard
from tests.support.redis_cluster import Cluster, running_cluster, wait_until

T = TypeVar("T")
ONE = b"1" * 32


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def claim(name: str, seq: int = 1) -> Claim:
    return Claim(name, ONE, ONE, ONE * 2, seq, "192.0.2.1", 5001)


def unproven(claimed: int, at: int) -> bytes:
    return b"p" * 64


def insistently(work: Callable[[], object]) -> None:
    """Do something until it is not unavailable, as an agent does."""

    def works() -> bool:
        try:
            work()
        except Unavailable:
            return False
        return True

    wait_until(works, "Redis answers again")


def hear(messages: Iterator[T], heard: Heard[T]) -> None:
    """Pass on what comes, in the background."""

    def run() -> None:
        for message in messages:
            heard(message)

    threading.Thread(target=run, daemon=True).start()


def test_a_node_leads_to_all_keys_of_its_cluster(cluster: Cluster) -> None:
    client = Client(f"redis://127.0.0.1:{cluster.nodes[4].port}")
    keys = [f"tmge:{{{number}}}:test" for number in range(64)]
    assert client.batch([("SET", key, key) for key in keys]) == [b"OK"] * 64
    assert client.batch([("GET", key) for key in keys]) == [key.encode() for key in keys]
    assert len({cluster.master_of(key).port for key in keys}) == 3


def test_a_script_runs_on_every_node_that_has_never_seen_it(cluster: Cluster) -> None:
    client = Client(cluster.url)
    script = client.script("return {KEYS[1], ARGV[1]}")
    for number in range(16):
        assert script([f"{{{number}}}"], [number]) == [f"{{{number}}}".encode(), str(number).encode()]


def test_a_slot_that_moves_is_followed_while_and_after_it_moves(cluster: Cluster) -> None:
    client = Client(cluster.url)
    key = "{moving}:key"
    client.call("SET", key, "before")
    source = cluster.master_of(key)
    target = next(node for node in cluster.nodes[:3] if node is not source)
    slot = source.call("CLUSTER", "KEYSLOT", key)
    target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.call("CLUSTER", "MYID"))
    source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.call("CLUSTER", "MYID"))
    client.call("SET", "{moving}:other", "asked there")
    assert client.call("GET", "{moving}:other") == b"asked there"
    assert source.call("MIGRATE", "127.0.0.1", target.port, key, 0, 5000) == "OK"
    assert client.call("GET", key) == b"before"
    for node in (target, source):
        node.call("CLUSTER", "SETSLOT", slot, "NODE", target.call("CLUSTER", "MYID"))
    assert client.batch([("GET", key), ("GET", "{moving}:other")]) == [b"before", b"asked there"]


def test_a_message_reaches_whoever_listens_at_another_node(cluster: Cluster) -> None:
    heard = Heard[bytes | None]()
    client = Client(cluster.url)
    for _ in range(3):
        hear(Client(cluster.url).listen("news"), heard)
    for _ in range(3):
        heard.until(lambda message: message is None)
    client.call("PUBLISH", "news", "hello")
    for _ in range(3):
        heard.until(lambda message: message == b"hello")


def test_no_replica_confirms_and_the_claim_may_be_made_again(cluster: Cluster) -> None:
    store = Store(cluster.url)
    store.claim(claim("patient"), unproven)
    for replica in cluster.nodes[3:]:
        replica.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable, match="no replica"):
            store.claim(claim("patient", 2), unproven)
    finally:
        for replica in cluster.nodes[3:]:
            replica.process.send_signal(signal.SIGCONT)
    insistently(lambda: store.claim(claim("patient", 3), unproven))
    person = store.find("patient")
    assert person is not None
    assert person.seq == 3


def test_what_was_acknowledged_survives_the_end_of_a_master(cluster: Cluster) -> None:
    store = Store(cluster.url)
    names = [f"person {number}" for number in range(50)]
    for name in names:
        assert store.claim(claim(name), unproven)[0] is Claimed.NEW
    changes = Heard[str | Delivery | None]()
    hear(store.changes(), changes)
    changes.until(lambda change: change is None)
    cluster.master_of("{names}").kill()
    insistently(lambda: store.page("", "", 100))
    changes.until(lambda change: change is None)  # the cluster has changed, or the line is open again
    assert [person.name for person in store.page("person", "", 100)[0]] == sorted(names)
    insistently(lambda: store.claim(claim("afterwards"), unproven))
    changes.until(lambda change: change == "afterwards")


def test_a_url_may_name_several_nodes_and_a_dead_one_does_not_matter(cluster: Cluster) -> None:
    client = Client(f"redis://127.0.0.1:1,127.0.0.1:{cluster.nodes[4].port}")
    assert client.call("SET", "{a}", 1) == b"OK"


def test_a_command_that_redis_refuses_is_said(cluster: Cluster) -> None:
    client = Client(cluster.url)
    client.call("SET", "{a}", "text")
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        client.call("ZADD", "{a}", 1, "x")
