"""Five clients race for names while the processes that serve them are killed: one owner of each, nothing taken back.

`TMGE_RACE_SECONDS` (12) says for how long.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from rendezvous.contract.encoding import to_text
from tests.support.histories import Claimed, Outcome, objections
from tests.support.live_rendezvous import Rendezvous, Someone, children, running
from tests.support.redis_cluster import wait_until

SECONDS = float(os.environ.get("TMGE_RACE_SECONDS", "12"))
NAMES = [f"prize {number:03d}" for number in range(200)]
CLIENTS = 5
BETWEEN_KILLS = 2.0


class Racer:
    """One client: claims names, those that have just become free to claim and some of before, and notes each answer."""

    def __init__(self, number: int, url: str, audience: str, eligible: Callable[[], int]) -> None:
        self.history: list[Claimed] = []
        self.who = Someone(number)
        self.client = to_text(self.who.key)
        self._url, self._audience, self._eligible = url, audience, eligible
        self._chance = random.Random(number)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Claim no more."""
        self._ended.set()
        self._thread.join()

    def claim(self, name: str) -> None:
        """Claim one name."""
        body: Any = self.who.signup(name, self._audience)
        begin = time.monotonic()
        try:
            answer = requests.post(f"{self._url}/signup", json=body, timeout=5)
            outcome = {201: Outcome.NEW, 200: Outcome.RENEWED, 409: Outcome.TAKEN}.get(answer.status_code)
        except requests.RequestException:
            outcome = None
        self.history.append(Claimed(self.client, name, begin, time.monotonic(), outcome or Outcome.UNKNOWN))

    def _run(self) -> None:
        done = 0
        while not self._ended.is_set():
            if done < self._eligible():
                self.claim(NAMES[done])
                done += 1
            else:
                self.claim(self._chance.choice(NAMES[max(0, done - 20) : done + 1]))


def kill_in_turn(rendezvous: Rendezvous, seconds: float) -> int:
    """Kill a worker, the store, the other worker and so on, each 2 s after the last; return how many."""
    killed, ended, deadline = 0, threading.Event(), time.monotonic() + seconds
    while not ended.wait(min(BETWEEN_KILLS, max(0.0, deadline - time.monotonic()))) and time.monotonic() < deadline:
        of_kind = "valkey-server" if killed % 3 == 1 else "--leash"
        victims = [pid for pid, line in children(rendezvous.process.pid).items() if of_kind in line]
        if victims:
            os.kill(victims[killed % len(victims)], signal.SIGKILL)
            killed += 1
    return killed


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/users", timeout=5).ok
    except requests.RequestException:
        return False


@pytest.mark.timeout(SECONDS + 110)
def test_of_five_who_race_while_processes_are_killed_one_owns_each_name_and_keeps_it(tmp_path: Path) -> None:
    with running(tmp_path, "--processes", "2", "--limit", "all=off") as rendezvous:
        audience = requests.get(f"{rendezvous.url}/identity", timeout=5).json()["key"]
        began = time.monotonic()

        def eligible() -> int:
            return min(len(NAMES), int((time.monotonic() - began) / SECONDS * len(NAMES)) + 1)

        racers = [Racer(number, rendezvous.url, audience, eligible) for number in range(1, CLIENTS + 1)]
        killed = kill_in_turn(rendezvous, SECONDS)
        for racer in racers:
            racer.stop()
        wait_until(lambda: answers(rendezvous.url), "it serves again")
        for name in NAMES:
            racers[0].claim(name)  # nobody may have reached the last ones
        history = [call for racer in racers for call in racer.history]
        owners = {}
        for name in NAMES:
            person = requests.get(f"{rendezvous.url}/user", params={"id": name}, timeout=10).json()
            owners[name] = person["key"]
        names = requests.get(f"{rendezvous.url}/users", params={"limit": "500"}, timeout=10).json()["users"]
    assert killed >= SECONDS / BETWEEN_KILLS * 0.6
    assert sum(call.given for call in history) >= len(NAMES)
    assert sum(call.outcome is Outcome.TAKEN for call in history) >= len(NAMES)
    assert list(objections(history, owners)) == []
    assert sorted(names) == NAMES


NEW, RENEWED, TAKEN, UNKNOWN = Outcome.NEW, Outcome.RENEWED, Outcome.TAKEN, Outcome.UNKNOWN


def call(client: str, begin: float, end: float, outcome: Outcome) -> Claimed:
    return Claimed(client, "prize", begin, end, outcome)


@pytest.mark.parametrize(
    "history",
    [
        [call("a", 0, 1, NEW), call("b", 2, 3, TAKEN), call("a", 4, 5, RENEWED)],
        [call("a", 0, 5, NEW), call("b", 1, 2, TAKEN)],  # a's claim took effect before b's
        [call("a", 0, 1, UNKNOWN), call("b", 2, 3, TAKEN), call("a", 4, 5, RENEWED)],
        [call("b", 0, 1, UNKNOWN), call("a", 2, 3, NEW)],
        [call("a", 0, 1, UNKNOWN)],
    ],
)
def test_the_checker_accepts_what_one_register_would_have_answered(history: list[Claimed]) -> None:
    assert list(objections(history, {"prize": "a"})) == []


@pytest.mark.parametrize(
    ("history", "owner"),
    [
        ([call("a", 0, 1, NEW), call("b", 2, 3, NEW)], "a"),  # doubled
        ([call("a", 0, 1, NEW)], "b"),  # stolen
        ([call("a", 0, 1, NEW)], None),  # lost
        ([call("a", 0, 1, NEW), call("a", 2, 3, TAKEN)], "a"),
        ([call("b", 0, 1, TAKEN), call("a", 2, 3, NEW)], "a"),  # refused before anybody had it
        ([call("a", 0, 1, NEW), call("a", 2, 3, NEW)], "a"),  # lost in between
        ([call("a", 0, 1, RENEWED), call("a", 2, 3, NEW)], "a"),
        ([call("a", 0, 1, TAKEN)], "a"),
    ],
)
def test_the_checker_objects_to_what_no_register_would_have_answered(history: list[Claimed], owner: str | None) -> None:
    assert list(objections(history, {"prize": owner} if owner else {}))
