"""Three machines and a Redis Cluster: one machine ends, then a master of the cluster, and everybody is back."""

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import requests

from agent.protocol.errors import UsageError
from tests.support.balancer import balanced
from tests.support.directory_client import Client, client
from tests.support.live_rendezvous import Rendezvous, Someone, running
from tests.support.redis_cluster import Cluster, running_cluster, wait_until
from tests.support.returning_agent import ReturningAgent

BACK = 10.0
"""Seconds after the takeover within which every agent must be here again."""


class Claimer:
    """Someone who claims name after name, and notes which were acknowledged."""

    def __init__(self, url: str) -> None:
        self.who = Someone(99)
        self.acknowledged: list[str] = []
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Claim no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._ended.wait(0.02):
            number += 1
            with contextlib.suppress(requests.RequestException, KeyError):
                audience = requests.get(f"{self._url}/identity", timeout=3).json()["key"]
                body: Any = self.who.signup(f"name {number:04d}", audience)
                if requests.post(f"{self._url}/signup", json=body, timeout=3).status_code == 201:
                    self.acknowledged.append(f"name {number:04d}")


def signed_up(client: Client, name: str) -> bool:
    with contextlib.suppress(UsageError):
        client.directory.sign_up(name, 5001)
    return client.directory.name is not None


def online(url: str, name: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        answer = requests.get(f"{url}/user", params={"id": name}, timeout=3)
        return answer.ok and bool(answer.json()["online"])
    return False


def introduced(agents: list[ReturningAgent], word: str) -> bool:
    """Introduce each agent to the next, until every one of them has heard."""
    waiting = list(range(len(agents)))
    deadline = time.monotonic() + BACK
    while waiting and time.monotonic() < deadline:
        for number in list(waiting):
            other = agents[(number + 1) % len(agents)]
            if agents[number].introduce(other.name, word.encode()):
                other.introductions.until(lambda _: True)
                waiting.remove(number)
    return not waiting


def all_here(agents: list[ReturningAgent], moment: float) -> bool:
    return all(agent.is_here_since(moment) for agent in agents)


def listed(url: str, query: str) -> list[str]:
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        page = requests.get(f"{url}/users", params={"query": query, "after": after, "limit": "500"}, timeout=10).json()
        names += page["users"]
        after = page["next"]
    return names


def take_a_master_away(cluster: Cluster) -> float:
    """Kill the master that serves the list of names; return when its replica has taken over."""
    master = cluster.master_of("{names}")
    replica = cluster.replica_of(master)
    master.kill()
    wait_until(lambda: replica.is_master and cluster.is_whole(), "the replica takes over")
    return time.monotonic()


def test_a_machine_and_then_a_master_end_and_every_agent_and_every_name_is_there_again(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(running_cluster(tmp_path / "cluster"))
        flags = ("--redis", cluster.url, "--limit", "all=off")
        machines: list[Rendezvous] = [
            stack.enter_context(running(tmp_path / f"machine-{number}", *flags)) for number in range(3)
        ]
        url = stack.enter_context(balanced([machine.port for machine in machines])).url
        agents = [ReturningAgent(url, Someone(number), f"agent {number}") for number in range(1, 10)]
        for agent in agents:
            agent.start()
            stack.callback(agent.stop)
        real = stack.enter_context(client(url, Someone(50)))
        wait_until(lambda: signed_up(real, "real"), "the real agent has signed up")
        wait_until(lambda: all_here(agents, 0.0), "every agent is attached")
        assert introduced(agents, "before")
        claimer = Claimer(url)
        stack.callback(claimer.stop)

        wait_until(lambda: len(claimer.acknowledged) >= 30, "names are claimed")
        machines[0].kill()
        killed = time.monotonic()
        wait_until(lambda: all_here(agents, killed), "every agent is at another machine", BACK)

        took_over = take_a_master_away(cluster)
        wait_until(lambda: all_here(agents, took_over), "every agent is back", BACK)
        wait_until(lambda: online(url, "real"), "the real agent is back", took_over + BACK - time.monotonic())
        assert introduced(agents, "after")
        assert time.monotonic() - took_over < BACK
        survived = len(claimer.acknowledged)
        wait_until(lambda: len(claimer.acknowledged) > survived + 10, "names are claimed again")
        claimer.stop()

        names = listed(url, "name ")
        assert len(names) == len(set(names))
        assert set(claimer.acknowledged) <= set(names)
        keys = {requests.get(f"{url}/user", params={"id": name}, timeout=3).json()["key"] for name in names}
        assert len(keys) == 1
