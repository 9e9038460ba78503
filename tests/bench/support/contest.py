"""Runs the two sides of a measured transfer as processes, and asks them for rounds.

Knows the JSON lines of `sides/talk.py`, and nothing of what is measured. Used by every measurement.
"""

import contextlib
import json
import os
import random
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.programs import ROOT, environment

PATIENCE: Final = 300.0
"""Seconds until a side that says nothing counts as stuck: the slowest contestants take minutes on bad paths."""


class BenchError(Exception):
    """A measurement could not be made; the message is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class Round:
    """One transfer: seconds from the question and from the giver's start to the verified hash, CPU seconds used."""

    seconds: float
    since_start: float
    began: float
    arrived: float
    giver_cpu: float
    taker_cpu: float


class Side:
    """One process that speaks JSON lines. `inside` is what runs it somewhere else, as `ip netns exec NAME`."""

    def __init__(self, module: str, arguments: Sequence[str], inside: Sequence[str] = ()) -> None:
        self._name = f"{module} {arguments[0]}"
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(
            [*inside, sys.executable, "-m", f"tests.bench.sides.{module}", *arguments],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
        )

    def tell(self, lines: int = 1) -> None:
        """Ask for a round, or for what was used."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `hear` says why
            self._process.stdin.write("\n" * lines)
            self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Return the next line; BenchError if the process ends instead, or says nothing for long."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            raise BenchError(f"{self._name} said nothing for {PATIENCE:.0f} s.")
        line = self._process.stdout.readline()
        if not line:
            self._complaints.seek(0)
            last = self._complaints.read().strip().rpartition("\n")[2]
            raise BenchError(f"{self._name} ended: {last or 'without a word'}")
        said: dict[str, Any] = json.loads(line)
        return said

    def go_ahead(self) -> None:
        """Let its threads run before those of ordinary processes; nothing changes where that is not allowed."""
        for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(1))

    def end(self) -> None:
        """See to it that it has ended."""
        self._process.kill()
        self._process.communicate()
        self._complaints.close()


@dataclass(frozen=True, slots=True)
class Place:
    """Where the sides run, and the giver's address."""

    host: str = "127.0.0.1"
    giver: Sequence[str] = ()
    taker: Sequence[str] = ()
    ahead: bool = False
    """Whether both sides run ahead of all else on the machine, once they have started."""


class Pair:
    """A giver of one file and its taker, connected; to be used in a `with` block."""

    def __init__(self, module: str, file: Path, options: Sequence[str] = (), place: Place | None = None) -> None:
        self._module, self._file, self._options = module, file, list(options)
        self._place = place or Place()
        self._folder = tempfile.TemporaryDirectory()
        self._sides: list[Side] = []

    def __enter__(self) -> "Pair":
        try:
            self._connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *problem: object) -> None:
        for side in self._sides:
            side.end()
        self._folder.cleanup()

    def fetch(self) -> Round:
        """Transfer the file once."""
        taker = self._sides[1]
        before = self.giver_says()["cpu"]
        taker.tell()
        took = taker.hear()
        gave = self.giver_says()
        arrived, began = took["arrived"], gave["began"]
        return Round(arrived - took["asked"], arrived - began, began, arrived, gave["cpu"] - before, took["cpu"])

    def fetch_again_and_again(self, times: int) -> None:
        """Begin to transfer the file so many times, one after the other, without waiting for any."""
        self._sides[1].tell(times)

    def giver_says(self) -> dict[str, Any]:
        """Return what the giver has used, and when its last transfer began."""
        self._sides[0].tell()
        return self._sides[0].hear()

    def _connect(self) -> None:
        place, host = self._place, ["--host", self._place.host]
        self._sides.append(Side(self._module, ["giver", str(self._file), *host, *self._options], place.giver))
        host += ["--port", str(self._sides[0].hear()["port"])]
        self._sides.append(Side(self._module, ["taker", self._folder.name, *host, *self._options], place.taker))
        self._sides[1].hear()
        if place.ahead:
            for side in self._sides:
                side.go_ahead()


@contextlib.contextmanager
def file_of(size: int) -> Iterator[Path]:
    """Make a file of so many bytes that no one can compress; removed at the end of the block."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given"
        path.write_bytes(random.Random(size).randbytes(size))
        yield path
