"""The directory with very many names: what each call takes, and what each person costs in Redis.

Two rendezvous, each on a store of its own: one with all the people, one with a thousand. Calls alternate between them,
so that what else the machine does slows both. Beside them a bare Flask view, on the same server, that does one Redis
GET. Lookups a second are those of eight connections that ask again at once.
"""

import argparse
import concurrent.futures
import contextlib
import itertools
import json
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from rendezvous.embedded import EmbeddedServer
from rendezvous.redis_client import Client
from tests.bench.support.contest import BenchError
from tests.bench.support.crowd import Crowd
from tests.bench.support.http_load import Connection, get, latencies, post, rate
from tests.bench.support.population import STEMS, load, name
from tests.bench.support.report import Report, machine, parser, progress, ratio, run
from tests.support.live_rendezvous import Rendezvous, Someone, running
from tests.support.programs import ROOT, environment

FEW: Final = 1000
MOST_BYTES: Final = 1024
LOADERS: Final = 2
ATTACHED: Final = 20
newcomers = itertools.count(10_000_000)
BARE_VALUE: Final = "x" * 500


@dataclass(frozen=True, slots=True)
class Place:
    """A rendezvous, and how many people it has."""

    people: int
    rendezvous: Rendezvous
    redis: Client
    tokens: list[str]

    def info(self, section: str, field: str) -> int:
        """Return one of the numbers that Redis counts."""
        lines = self.redis.call("INFO", section).decode().splitlines()
        return int(next(line for line in lines if line.startswith(f"{field}:")).partition(":")[2])

    @property
    def round_trips(self) -> int:
        """Return how often Redis has read something that was sent to it, while nothing else was."""
        return self.info("stats", "total_reads_processed")

    def names(self) -> Iterator[str]:
        """Return names of people, far from one another."""
        return (quote(name(number * 7919 % self.people)) for number in itertools.count())

    def lookups(self) -> Iterator[bytes]:
        """Return requests about one person each."""
        return (get(f"/user?id={one}") for one in self.names())

    def pages(self) -> Iterator[bytes]:
        """Return requests for pages, from anywhere in the list."""
        return (get(f"/users?after={one}") for one in self.names())

    def searches(self) -> Iterator[bytes]:
        """Return requests for people by how their names begin."""
        return (get(f"/users?query={STEMS[number % len(STEMS)][:3]}") for number in itertools.count())


def wait_for_rewrite(place: Place) -> None:
    """Wait until Redis writes its file anew no more: that takes half of the processors."""
    while place.info("persistence", "aof_rewrite_in_progress"):
        pass


@contextlib.contextmanager
def place_of(folder: Path, people: int, report: Report | None = None) -> Iterator[Place]:
    """Run a rendezvous with people in it."""
    with contextlib.ExitStack() as stack:
        server = EmbeddedServer(folder)
        server.start()
        stack.callback(server.stop)
        rendezvous = stack.enter_context(running(folder, "--redis", server.url, "--limit", "all=off"))
        place = Place(people, rendezvous, Client(server.url), [])
        before = place.info("memory", "used_memory")
        share = -(-people // LOADERS)
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(LOADERS, context) as loaders:
            parts = [
                loaders.submit(load, server.url, min(share, people - first), first) for first in range(0, people, share)
            ]
            place.tokens.extend(parts[0].result()[:ATTACHED])
            for part in parts:
                part.result()
        if report is not None:
            wait_for_rewrite(place)
            taken = (place.info("memory", "used_memory") - before) / people
            report.judge("bytes of Redis memory a person", taken, most=MOST_BYTES)
        yield place


@contextlib.contextmanager
def bare_view(redis: Client, url: str) -> Iterator[int]:
    """Run the view that lookups are measured against, and return its port."""
    redis.batch([("SET", f"bare:{number}", BARE_VALUE) for number in range(FEW)])
    command = [sys.executable, "-m", "tests.bench.sides.bare", url]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.strip().isdigit():
                raise BenchError("The bare view does not start.")
            yield int(line)
        finally:
            process.terminate()


def sign_ups(audience: str) -> Iterator[bytes]:
    """Return signed sign-ups of new people."""
    for number in newcomers:
        yield post("/signup", json.dumps(Someone(number).signup(f"new {number}", audience)).encode())


def heartbeats(place: Place, count: int) -> list[float]:
    """Return the seconds that heartbeats take, from when they are sent until they are acknowledged."""
    crowd = Crowd([place.rendezvous.port])
    crowd.attach([(number, name(number), token) for number, token in enumerate(place.tokens)], 30.0)
    for beat in range(count):
        crowd.beat(crowd.agents[beat % len(crowd.agents)])
        crowd.run(10.0, lambda: len(crowd.beat_seconds) == crowd.beats)
    crowd.close()
    return crowd.beat_seconds


def note(report: Report, title: str, round: int, seconds: list[float]) -> None:
    """Note the median and the 99th percentile of one round."""
    values = sorted(seconds)
    middle = values[len(values) // 2]
    report.add(f"{title}, median", round, middle * 1000, "ms")
    report.add(f"{title}, 99th percentile", round, values[len(values) * 99 // 100] * 1000, "ms")


def one_round(report: Report, many: Place, few: Place, round: int, calls: int) -> None:
    """Measure every call once; list and search at both places, in turn."""
    audience = json.loads(ask(many.rendezvous.port, get("/identity")))["key"]
    port = many.rendezvous.port
    note(report, "signup", round, latencies([(port, sign_ups(audience))], calls // 4)[0])
    note(report, "lookup", round, latencies([(port, many.lookups())], calls)[0])
    note(report, "heartbeat", round, heartbeats(many, calls))
    kinds: dict[str, Callable[[Place], Iterator[bytes]]] = {"page of the list": Place.pages, "search": Place.searches}
    for title, requests in kinds.items():
        asked = [(place.rendezvous.port, requests(place)) for place in (many, few)]
        for title_of, took in zip((title, f"{title}, {FEW} people"), latencies(asked, calls // 2), strict=True):
            note(report, title_of, round, took)


def ask(port: int, request: bytes) -> bytes:
    """Return the answer to one request."""
    connection = Connection(port)
    try:
        return connection.ask(request)
    finally:
        connection.close()


def against_bare(report: Report, many: Place, port: int, round: int, seconds: float) -> None:
    """Measure how many lookups and how many bare views a second, in turn; and the round trips of a lookup."""
    bare = (get(f"/bare?id=bare:{number % FEW}") for number in itertools.count())
    for turn in ("lookups", "bare views") if round % 2 else ("bare views", "lookups"):
        if turn == "bare views":
            report.add(turn, round, rate(port, bare, seconds)[0], "a second")
            continue
        before = many.round_trips
        each, answered = rate(many.rendezvous.port, many.lookups(), seconds)
        report.add(turn, round, each, "a second")
        report.add("round trips of a lookup", round, (many.round_trips - before) / answered, "")
    progress(f"round {round}: {report.values('lookups')[-1]:.0f} lookups, {report.values('bare views')[-1]:.0f} views")


def judge(report: Report) -> None:
    """Compare, round by round, with what the project promises."""
    report.judge("lookups / bare views", ratio(report.values("lookups"), report.values("bare views")), least=0.6)
    trips = report.values("round trips of a lookup")
    report.judge("round trips of a lookup", sum(trips) / len(trips), most=1.1)
    for title in ("page of the list", "search"):
        many, few = report.values(f"{title}, median"), report.values(f"{title}, {FEW} people, median")
        report.judge(f"{title}, all / {FEW}", ratio(many, few), most=1.5)


def measure(given: argparse.Namespace) -> Report:
    """Load both places, and run all rounds."""
    if given.people < FEW or given.rounds < 1 or given.calls < 8 or given.seconds <= 0:
        raise BenchError(f"There must be at least {FEW} people, one round, eight calls and some time.")
    params = {key: getattr(given, key) for key in ("people", "rounds", "calls", "seconds")}
    report = Report("directory", {**params, **machine()})
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tmge-")))
        many = stack.enter_context(place_of(folder / "many", given.people, report))
        progress(f"{given.people} people are there")
        few = stack.enter_context(place_of(folder / "few", FEW))
        port = stack.enter_context(bare_view(few.redis, url_of(folder / "few")))
        for round in range(1, given.rounds + 1):
            one_round(report, many, few, round, given.calls)
            against_bare(report, many, port, round, given.seconds)
    judge(report)
    return report


def url_of(folder: Path) -> str:
    """Return where the embedded server of a folder listens."""
    return EmbeddedServer(folder).url


def main() -> int:
    """Read the command line and measure."""
    flags = parser(__doc__)
    flags.add_argument("--people", type=int, default=1_000_000, help="names (%(default)s)")
    flags.add_argument("--rounds", type=int, default=5, help="times that everything is measured (%(default)s)")
    flags.add_argument("--calls", type=int, default=400, help="of each kind, a round (%(default)s)")
    flags.add_argument("--seconds", type=float, default=2, help="of lookups and bare views, a round (%(default)s)")
    return run(measure, flags.parse_args())


if __name__ == "__main__":
    sys.exit(main())
