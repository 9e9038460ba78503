"""The page of two real agents while a large picture goes from one to the other: how soon it is answered, and memory.

A rendezvous and two agents on loopback, as people start them. Each page asks for the state, one question after the
other, from the moment when the giver says yes until the picture is kept. The bar is for the time when bytes move, and
for the time when the taker's child process checks what has arrived, each by itself: the latter is longer, and would
hide the former. What one agent uses, the other and we lack: two processors carry all of it.
"""

import argparse
import contextlib
import math
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.support.asking import asking
from tests.bench.support.contest import BenchError
from tests.bench.support.processes import cpu_seconds, forget_peak, has_children, peak, resident
from tests.bench.support.report import Report, machine, median, parser, progress, run
from tests.support.local_client import LocalClient, clients, connect
from tests.support.pictures import picture
from tests.support.programs import Agent, Programs

Waits = dict[tuple[str, str], list[float]]
"""Seconds until answers came: by side, and by what went on."""
MOVING, CHECKING = "moving", "checking"
QUIET, BUSY = "nobody asks", "both are asked"
GIVER, TAKER = "giver", "taker"
MOST_MB: Final = 104
"""What a picture may have, and some room for what a PNG adds."""
_POLL: Final = 0.002
_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Side:
    """An agent, and a page of it."""

    name: str
    agent: Agent
    page: LocalClient


@dataclass(frozen=True, slots=True)
class Moved:
    """A transfer: when the giver said yes, when all had arrived, when both knew it kept; CPU seconds until arrival."""

    began: float
    arrived: float
    kept: float
    used: list[float]


def percentile(ordered: list[float], share: float) -> float:
    """Return the value that so much of all is not above."""
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def measure(given: argparse.Namespace) -> Report:
    """Start all, and run all rounds."""
    if not 0.01 <= given.mb <= MOST_MB or given.rounds < 1:
        raise BenchError(f"There must be at least one round, of 0.01 to {MOST_MB} MB.")
    report = Report("page", {"mb": given.mb, "rounds": given.rounds, **machine()})
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tmge-")))
        programs = stack.enter_context(Programs(folder))
        rendezvous = programs.rendezvous()
        taker, giver = programs.agents(rendezvous.url, "alice", "bob")
        item, size = offer(taker, giver, given.mb)
        giver.stop()  # what the upload left behind is no room for the transfer
        giver.start()
        giver.wait_until_ready()
        pages = stack.enter_context(clients(giver.page_url, taker.page_url))
        sides = [Side(GIVER, giver, pages[0]), Side(TAKER, taker, pages[1])]
        present(*pages)
        waits: Waits = {}
        grown: dict[str, list[float]] = {GIVER: [], TAKER: []}
        at_first = {side.name: resident(side.agent.pid) for side in sides}
        for round in range(1, given.rounds + 1):
            quiet_round(report, sides, item, size, round)
            for key, seconds in busy_round(report, sides, item, size, round).items():
                waits.setdefault(key, []).extend(seconds)
            for side in sides:
                grown[side.name].append((peak(side.agent.pid) - at_first[side.name]) / 1e6)
                report.add(f"{side.name} above its beginning, peak", round, grown[side.name][-1], "MB")
                report.add(f"{side.name} above its beginning, after", round, above(side, at_first), "MB")
    judge(report, waits, grown)
    return report


def offer(taker: Agent, giver: Agent, mb: float) -> tuple[str, int]:
    """Connect two people, and have one of them offer a picture of noise; return its item and size."""
    with clients(taker.page_url, giver.page_url) as (asker, owner):
        present(asker, owner)
        connect(asker, owner)
        side = math.isqrt(int(mb * 1e6 / 3))
        added = owner.upload(picture("PNG", (side, side), seed=1, compress_level=0))
        return added["item"], added["bytes"]


def present(*pages: LocalClient) -> None:
    """Wait until all of these are known at the rendezvous."""
    for page in pages:
        page.until(lambda page=page: page.state["reachability"]["rendezvous"] == "up" and page.me, "its name")  # type: ignore[misc]


def transfer(sides: list[Side], item: str) -> Moved:
    """Have the picture asked for and given, and wait until it is kept."""
    giver, taker = sides
    assert giver.page.me is not None
    request = taker.page.ask("ask_image", giver.page.me)
    giver.page.until_phase(request, "waiting")
    spent = [cpu_seconds(side.agent.pid) for side in sides]
    began = time.monotonic()
    giver.page.accept(request, item=item)
    arrived = until_checked(taker, request)
    used = [cpu_seconds(side.agent.pid) - before for side, before in zip(sides, spent, strict=True)]
    for side in sides:
        side.page.until_phase(request, "done", _SECONDS)
    return Moved(began, arrived, time.monotonic(), used)


def quiet_round(report: Report, sides: list[Side], item: str, size: int, round: int) -> None:
    """Transfer the picture while nobody asks anything; note what it took."""
    moved = transfer(sides, item)
    report.add(QUIET, round, size / 1e6 / (moved.arrived - moved.began), "MB/s")
    report.add(f"{QUIET}, until kept", round, size / 1e6 / (moved.kept - moved.began), "MB/s")
    for side, used in zip(sides, moved.used, strict=True):
        report.add(f"{QUIET}, {side.name}", round, used / (size / 1e9), "CPU s/GB")


def busy_round(report: Report, sides: list[Side], item: str, size: int, round: int) -> Waits:
    """Transfer the picture while both pages ask; note what it took, and return how long they waited for answers."""
    for side in sides:
        forget_peak(side.agent.pid)
    with contextlib.ExitStack() as stack:
        asked = {side.name: stack.enter_context(asking(side.page)) for side in sides}
        moved = transfer(sides, item)
    report.add(BUSY, round, size / 1e6 / (moved.arrived - moved.began), "MB/s")
    report.add(f"{BUSY}, until kept", round, size / 1e6 / (moved.kept - moved.began), "MB/s")
    waits = {
        (name, what): asked[name].waits(*between)
        for what, between in ((MOVING, (moved.began, moved.arrived)), (CHECKING, (moved.arrived, moved.kept)))
        for name in asked
    }
    for (name, what), seconds in waits.items():
        for title, share in (("median", 0.5), ("p99", 0.99), ("slowest", 1.0)):
            report.add(f"get_state, {name}, {what}, {title}", round, percentile(seconds, share) * 1000, "ms")
        report.add(f"get_state, {name}, {what}, answers", round, len(seconds), "")
    progress(f"round {round}: {size / 1e6 / (moved.arrived - moved.began):.0f} MB/s")
    return waits


def until_checked(taker: Side, request: str) -> float:
    """Return when the child process has been started that checks what arrived."""
    ended = threading.Event()
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and not ended.wait(_POLL):
        if has_children(taker.agent.pid) or "done" in taker.page.phases(request):
            return time.monotonic()
    raise BenchError(f"The picture did not arrive in {_SECONDS:.0f} s.")


def above(side: Side, at_first: dict[str, int]) -> float:
    """Return how many megabytes an agent has now that it had not when all began."""
    return (resident(side.agent.pid) - at_first[side.name]) / 1e6


def judge(report: Report, waits: Waits, grown: dict[str, list[float]]) -> None:
    """Compare with what the project promises: the answers of all rounds together, the memory of the worst."""
    for (name, what), seconds in waits.items():
        slow = percentile(sorted(seconds), 0.99) * 1000 if seconds else None
        report.judge(f"get_state p99 ms, {name}, {what}", slow, most=20)
    for name, values in grown.items():
        report.judge(f"MB grown, {name}", max(values), most=32)
    report.ratios["MB/s while nobody asks"] = median(report.values(QUIET, "MB/s"))


def main() -> int:
    """Read the command line and measure."""
    flags = parser(__doc__)
    flags.add_argument("--mb", type=float, default=100, help="million bytes of the picture (%(default)s)")
    flags.add_argument("--rounds", type=int, default=3, help="transfers (%(default)s)")
    return run(measure, flags.parse_args())


if __name__ == "__main__":
    sys.exit(main())
