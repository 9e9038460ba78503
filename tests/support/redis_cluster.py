"""A real cluster of Valkey on loopback for tests: masters and replicas, each a process that a test may kill.

Owns the processes, their ports and their folder; knows nothing of what is kept in them. Nobody starts a node again: a
cluster lives for one test.
"""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from rendezvous.embedded import binary
from tests.support.programs import free_port

MASTERS: Final = 3
NODE_TIMEOUT: Final = 2.0
"""Seconds of silence after which the others count a node as gone."""
_PATIENCE: Final = 30.0
_SLOTS: Final = 16384

_OPTIONS: Final = (
    *("--bind", "127.0.0.1", "--daemonize", "no", "--dir", ".", "--loglevel", "warning"),
    *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"),
    *("--cluster-enabled", "yes", "--cluster-node-timeout", str(int(NODE_TIMEOUT * 1000))),
    *("--cluster-allow-replica-migration", "no", "--repl-diskless-sync-delay", "0"),
)


@dataclass
class Node:
    """One server of the cluster."""

    port: int
    process: "subprocess.Popen[bytes]"

    def call(self, *words: object) -> Any:
        """Say one command to this very node; None while it does not answer."""
        with (
            contextlib.suppress(redis.exceptions.ConnectionError, redis.exceptions.TimeoutError),
            redis.Redis(port=self.port, socket_timeout=2, decode_responses=True) as client,
        ):
            return client.execute_command(*words)
        return None

    @property
    def is_master(self) -> bool:
        """Say whether it takes writes now."""
        role = self.call("ROLE")
        return role is not None and role[0] == "master"

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


@dataclass
class Cluster:
    """Three masters, then the replica of each, in this order."""

    nodes: list[Node]

    @property
    def url(self) -> str:
        """Return what the store takes: any of the nodes leads to the others."""
        return "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def master_of(self, key: str) -> Node:
        """Return the node that takes writes for a key now."""
        asked = next(node for node in self.nodes if node.process.poll() is None)
        slot = asked.call("CLUSTER", "KEYSLOT", key)
        ranges = asked.call("CLUSTER", "SLOTS")
        port = next(entry[2][1] for entry in ranges if entry[0] <= slot <= entry[1])
        return next(node for node in self.nodes if node.port == port)

    def replica_of(self, master: Node) -> Node:
        """Return the replica that a master began with."""
        return self.nodes[self.nodes.index(master) + MASTERS]

    def is_whole(self) -> bool:
        """Say whether all nodes that live agree that every slot is served."""
        living = [node for node in self.nodes if node.process.poll() is None]
        return all("cluster_state:ok" in (node.call("CLUSTER", "INFO") or "") for node in living)


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Run a cluster for the length of a block, from when every slot has its master and each master its replica."""
    cluster = Cluster([])
    try:
        for number in range(2 * MASTERS):
            cluster.nodes.append(_start(folder / f"node-{number}"))
        _join(cluster)
        yield cluster
    finally:
        for node in cluster.nodes:
            node.kill()


def wait_until(done: Callable[[], bool], what: str, seconds: float = _PATIENCE) -> None:
    """Look again and again until something is so; fail, saying what, when that takes too long."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.02)


def _start(folder: Path) -> Node:
    folder.mkdir(parents=True)
    port, bus = free_port(), free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary(), "--port", str(port), "--cluster-port", str(bus), *_OPTIONS],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return Node(port, process)


def _join(cluster: Cluster) -> None:
    """Make one cluster of nodes that have just started."""
    nodes = cluster.nodes
    wait_until(lambda: all(node.call("PING") for node in nodes), "every node answers")
    share = -(-_SLOTS // MASTERS)
    for number, node in enumerate(nodes):
        node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        if number < MASTERS:
            node.call("CLUSTER", "ADDSLOTSRANGE", number * share, min(_SLOTS, (number + 1) * share) - 1)
        bus = int(node.call("CONFIG", "GET", "cluster-port")["cluster-port"])
        nodes[0].call("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
    known = f"cluster_known_nodes:{len(nodes)}\r\n"
    wait_until(lambda: all(known in node.call("CLUSTER", "INFO") for node in nodes), "every node knows all")
    for replica, master in zip(nodes[MASTERS:], nodes[:MASTERS], strict=True):
        replica.call("CLUSTER", "REPLICATE", master.call("CLUSTER", "MYID"))
    wait_until(lambda: all(_follows(node) for node in nodes[MASTERS:]), "every replica follows")
    wait_until(cluster.is_whole, "every slot is served")


def _follows(replica: Node) -> bool:
    role = replica.call("ROLE")
    return role is not None and role[0] == "slave" and role[3] == "connected"
