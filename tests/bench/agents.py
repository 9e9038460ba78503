"""Agents at rest: what each costs in memory, whether every heartbeat is kept, how soon a change of presence is seen.

Every agent is a real live connection from an address of its own; each watches ten others. Signing up over HTTP is left
out: they are loaded into the store. Needs as many open files as agents in each process (`ulimit -n`).
"""

import argparse
import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rendezvous.embedded import EmbeddedServer
from tests.bench.support.contest import BenchError
from tests.bench.support.crowd import Crowd
from tests.bench.support.population import load, name
from tests.bench.support.processes import cpu_seconds, resident
from tests.bench.support.report import Report, machine, parser, progress, run
from tests.support.live_rendezvous import Rendezvous, children, running

WATCHED: Final = 10
FIRST: Final = 50
"""Agents that attach before memory is measured: what the first ones load is not theirs."""
MOST_IN_ONE: Final = 12_000
"""Agents of one process on our side."""
_SECONDS: Final = 300.0
_SPARE_FILES: Final = 300


@dataclass(frozen=True, slots=True)
class Rested:
    """What agents have seen while they rested."""

    beats: int
    kept: int
    lost: int
    seconds: list[float]


class Side:
    """Some of the agents, in a process of ours."""

    def __init__(self, port: int, first: int, tokens: list[str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_live, args=(theirs, port, first, tokens), daemon=True)
        self._process.start()

    def tell(self, *call: object) -> None:
        """Ask for something."""
        self._pipe.send(call)

    def hear(self) -> Any:
        """Wait for the answer."""
        try:
            if not self._pipe.poll(_SECONDS):
                raise BenchError("The agents do not get on.")
            answer = self._pipe.recv()
        except EOFError:
            raise BenchError("The agents have ended by themselves.") from None
        if isinstance(answer, str):
            raise BenchError(answer)
        return answer

    def end(self) -> None:
        """End all agents, as a power cut would."""
        self._process.kill()
        self._process.join()


def _live(pipe: "multiprocessing.connection.Connection", port: int, first: int, tokens: list[str]) -> None:
    """Be some of the agents, and do what is asked."""
    gc.disable()  # its pauses are not to be measured
    crowd = Crowd([port])
    count = len(tokens)
    calls: dict[str, Callable[..., object]] = {
        "attach": lambda low, high: crowd.attach(
            [(first + one, name(first + one), tokens[one]) for one in range(low, min(high, count))], _SECONDS
        ),
        "watch": lambda: crowd.watch(
            lambda number: [name(first + (number - first + step) % count) for step in range(1, WATCHED + 1)], _SECONDS
        ),
        "rest": lambda seconds: _rest(crowd, seconds),
        "leave": lambda changes: _leave(crowd, changes),
    }
    while True:
        call, *arguments = pipe.recv()
        try:
            pipe.send(calls[call](*arguments))
        except BenchError as problem:
            pipe.send(str(problem))


def _rest(crowd: Crowd, seconds: float) -> Rested:
    crowd.beats, crowd.beat_seconds = 0, []
    crowd.run(seconds, beating=True)
    crowd.run(5.0, lambda: len(crowd.beat_seconds) >= crowd.beats)
    return Rested(crowd.beats, len(crowd.beat_seconds), len(crowd.lost), crowd.beat_seconds)


def _leave(crowd: Crowd, changes: int) -> list[float]:
    """Let agents leave one by one, and return after how many seconds each of their watchers knew; -1 for never."""
    gone, expected = {}, 0
    leaving = [agent for agent in crowd.agents[:: max(1, len(crowd.agents) // changes)] if agent.phase == "on"]
    crowd.told.clear()
    for agent in leaving[:changes]:
        crowd.leave(agent)
        gone[agent.name] = crowd.now()
        crowd.run(0.05)
    left = set(gone)
    index = {agent.name: at for at, agent in enumerate(crowd.agents)}
    for who in gone:
        watchers = [crowd.agents[(index[who] - step) % len(crowd.agents)] for step in range(1, WATCHED + 1)]
        expected += sum(watcher.name not in left for watcher in watchers)
    crowd.run(3.0)
    seen = [
        at - gone[told["username"]] for at, _, told in crowd.told if told["username"] in gone and not told["online"]
    ]
    return seen + [-1.0] * (expected - len(seen))


@contextlib.contextmanager
def sides(port: int, tokens: list[str]) -> Iterator[list[Side]]:
    """Run the processes of our side for the length of a block."""
    count = -(-len(tokens) // MOST_IN_ONE)
    share = -(-len(tokens) // count)
    made = [Side(port, first, tokens[first : first + share]) for first in range(0, len(tokens), share)]
    try:
        yield made
    finally:
        for side in made:
            side.end()


def all_of(made: list[Side], *call: object) -> list[Any]:
    """Ask all, and return what they answer."""
    for side in made:
        side.tell(*call)
    return [side.hear() for side in made]


def serving(rendezvous: Rendezvous) -> list[int]:
    """Return the processes that serve agents."""
    pid = rendezvous.process.pid
    return [child for child, line in children(pid).items() if "--leash" in line] or [pid]


def measure(given: argparse.Namespace) -> Report:
    """Attach all, let them rest, let some leave."""
    if (
        given.agents <= FIRST
        or given.processes < 1
        or given.seconds <= 0
        or not 0 < given.changes <= given.agents // 20
    ):
        raise BenchError(f"There must be more than {FIRST} agents, some seconds, and changes by at most one in twenty.")
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if given.agents / given.processes + _SPARE_FILES > files:
        raise BenchError(f"So many agents need more open files than {files} (ulimit -Hn).")
    params = {key: getattr(given, key) for key in ("agents", "processes", "seconds", "changes")}
    report = Report("agents", {**params, **machine()})
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tmge-")))
        server = EmbeddedServer(folder / "store")
        server.start()
        stack.callback(server.stop)
        tokens = load(server.url, given.agents)
        flags = ("--redis", server.url, "--limit", "all=off", "--max-connections", str(given.agents + 1000))
        rendezvous = stack.enter_context(running(folder, *flags, "--processes", str(given.processes)))
        made = stack.enter_context(sides(rendezvous.port, tokens))
        all_of(made, "attach", 0, FIRST)
        pids = serving(rendezvous)
        before = sum(map(resident, pids))
        all_of(made, "attach", FIRST, given.agents)
        progress("all are attached")
        all_of(made, "watch")
        spent = sum(map(cpu_seconds, pids))
        rested: list[Rested] = all_of(made, "rest", given.seconds)
        cpu = (sum(map(cpu_seconds, pids)) - spent) / given.seconds
        memory = (sum(map(resident, pids)) - before) / (given.agents - FIRST * len(made))
        seen = [seconds for some in all_of(made, "leave", given.changes // len(made)) for seconds in some]
        rendezvous.kill()
    beats = sorted(seconds for one in rested for seconds in one.seconds)
    seen = sorted(seconds if seconds >= 0 else float("inf") for seconds in seen)
    for title, values in (("heartbeat", beats), ("change seen", seen)):
        report.add(f"{title}, median", 1, values[len(values) // 2] * 1000, "ms")
        report.add(f"{title}, 99th percentile", 1, values[len(values) * 99 // 100] * 1000, "ms")
    report.add("processor", 1, cpu, "of one core")
    report.add("connections lost", 1, sum(one.lost for one in rested), "")
    report.judge("KB an agent", memory / 1024, most=80)
    kept = sum(one.kept for one in rested) / max(1, sum(one.beats for one in rested))
    report.judge("heartbeats kept", kept, least=1)
    report.judge("s until 99 % of the watchers know", seen[len(seen) * 99 // 100], most=1)
    return report


def main() -> int:
    """Read the command line and measure."""
    flags = parser(__doc__)
    flags.add_argument("--agents", type=int, default=10_000, help="agents, in all (%(default)s)")
    flags.add_argument("--processes", type=int, default=1, help="processes that serve them (%(default)s)")
    flags.add_argument("--seconds", type=float, default=30, help="time at rest (%(default)s)")
    flags.add_argument("--changes", type=int, default=200, help="agents that leave (%(default)s)")
    return run(measure, flags.parse_args())


if __name__ == "__main__":
    sys.exit(main())
