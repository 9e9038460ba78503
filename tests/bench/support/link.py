"""An impaired line between two namespaces: compiles and runs link.c, and reads what it noted.

The giver's namespace has two addresses, so that two flows can be told apart by their source.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.bench.support.contest import BenchError, Place
from tests.bench.support.namespaces import Namespaces, inside, run, why_not

GIVERS: Final = ("10.77.0.1", "10.77.0.2")  # link.c reads the flow from the last byte
TAKER: Final = "10.77.0.3"
DEVICE: Final = "line"
SAMPLE: Final = 0.01  # seconds; link.c's
BACKLOG: Final = "10000"  # packets between the kernel and link.c: never the bottleneck


@dataclass(frozen=True, slots=True)
class Line:
    """What a line does to packets, the same in both directions."""

    rate: float  # Mbit/s, IP headers counted
    rtt: float  # ms, without any waiting
    loss: float = 0.0  # %, by chance, after the queue
    queue: int = 250_000  # bytes that may wait
    seed: int = 1

    @property
    def bytes_per_second(self) -> float:
        """Return the rate in bytes a second."""
        return self.rate * 1e6 / 8


@dataclass(frozen=True, slots=True)
class Sample:
    """What went from giver to taker in 10 ms."""

    waiting: int  # bytes, at most
    delivered: tuple[int, int]  # bytes of each flow, IP headers counted
    dropped: int  # packets, for want of room


@dataclass(frozen=True, slots=True)
class Record:
    """All samples of a line, from `began` (monotonic) on, and how late its worst packet was, in seconds."""

    began: float
    late: float
    samples: Sequence[Sample]

    def between(self, start: float, stop: float) -> Sequence[Sample]:
        """Return the samples of a span of monotonic time."""
        first, last = (max(0, round((time - self.began) / SAMPLE)) for time in (start, stop))
        return self.samples[first:last]

    def share(self, start: float, stop: float) -> float:
        """Return what flow 0 had of all that was delivered in a span of monotonic time, 0 to 1; 0 of nothing."""
        both = [sample.delivered for sample in self.between(start, stop)]
        mine = sum(first for first, _ in both)
        return mine / max(1, mine + sum(second for _, second in both))


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory()


@cache
def _program() -> str:
    """Compile link.c, once for each process; BenchError with the compiler's words."""
    program = str(Path(_folder().name) / "link")
    source = str(Path(__file__).with_suffix(".c"))
    run("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source)
    return program


class Link:
    """Two namespaces joined by a line, until the end of the `with` block; a new one forgets all TCP learned."""

    def __init__(self, line: Line) -> None:
        if (obstacle := why_not()) is not None:
            raise BenchError(obstacle)
        self._line = line
        self._stack = ExitStack()

    def __enter__(self) -> "Link":
        try:
            self._spaces = self._stack.enter_context(Namespaces())
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *problem: object) -> None:
        self._stack.close()

    def place(self, flow: int = 0) -> Place:
        """Return where the sides of a flow run: ahead of others, for the path is measured and not the processor."""
        return Place(GIVERS[flow], inside(self._spaces.a), inside(self._spaces.b), ahead=True)

    def end(self) -> Record:
        """Stop the line and return what it noted."""
        output, _ = self._process.communicate()
        late, *samples = (line.split() for line in output.splitlines())
        read = [Sample(int(w), (int(a), int(b)), int(d)) for w, a, b, d in samples]
        return Record(self._began, int(late[1]) / 1e9, read)

    def _start(self) -> None:
        line, spaces = self._line, self._spaces
        numbers = (line.bytes_per_second, line.rtt / 2 * 1000, line.loss * 10_000, line.queue, line.seed)
        self._process = subprocess.Popen(
            [_program(), spaces.a, spaces.b, DEVICE, *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._stack.callback(self._process.communicate)
        self._stack.callback(self._process.kill)
        assert self._process.stdout is not None
        ready = self._process.stdout.readline().split()
        if not ready:
            raise BenchError(self._process.communicate()[1].strip())
        self._began = int(ready[1]) / 1e9
        for space, addresses in ((spaces.a, GIVERS), (spaces.b, (TAKER,))):
            for address in addresses:
                run("ip", "-n", space, "address", "add", f"{address}/24", "dev", DEVICE)
            run("ip", "-n", space, "link", "set", DEVICE, "mtu", "1500", "txqueuelen", BACKLOG, "up")


def congestion_controls() -> set[str]:
    """Return the TCP congestion controls that the kernel has, BBR's module loaded if there is one."""
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "--quiet", "tcp_bbr"], capture_output=True)
    return set(Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split())
