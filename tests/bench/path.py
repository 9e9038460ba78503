"""A transfer over an impaired link, against the best that any sender could do there.

Needs Linux, root, /dev/net/tun and gcc. The clock runs from the giver's start to the taker's verified hash; the session
is open before, but knows nothing of the path beyond one small quote. Each seed has a link and a session of its own.

The bound is that of an ideal sender: ten packets at first, twice as many each round trip until the link is full, our
headers counted, divided by 1 - loss. TCP, plain, over the same link stands beside it: it seals nothing.

The queue is measured in one longer transfer: the most that waited in the link's buffer once the transfer has run for
fifteen round trips.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from agent.protocol.packet import LARGEST_DATAGRAM
from agent.protocol.sealing import PIECE_OVERHEAD
from agent.protocol.transfer import MAX_IMAGE
from tests.bench.support.contest import BenchError, Pair, Round, file_of
from tests.bench.support.link import Line, Link, Record, congestion_controls
from tests.bench.support.report import Report, machine, parser, progress, run

IP_UDP: Final = 28  # bytes of headers around each datagram
FIRST: Final = 10  # packets
TCP_SEEDS: Final = 3
TCP_CONTROLS: Final = ("cubic", "bbr")
SETTLED: Final = (
    15  # round trips, after which the queue counts: the ideal sender itself needs nine to fill the longest path
)
LATE: Final = 0.005  # seconds by which the link may be late before it is said

BARS: Final = {(0, 50): 1.05, (1, 50): 1.10, (5, 50): 1.25, (0, 300): 1.20}
"""By loss in % and round trip in ms: how many times the bound a transfer may take."""
RATES: Final = (20, 100)


def bound(size: int, line: Line) -> float:
    """Return the seconds that an ideal sender needs for `size` bytes, to the last bit's arrival."""
    payload = LARGEST_DATAGRAM - PIECE_OVERHEAD
    packet = LARGEST_DATAGRAM + IP_UDP
    rate, rtt = line.bytes_per_second, line.rtt / 1000
    left = size * packet / payload
    seconds, window = 0.0, FIRST * packet
    while window < rate * rtt and window < left:
        seconds += rtt
        left -= window
        window *= 2
    return (seconds + left / rate + rtt / 2) / (1 - line.loss / 100)


def bar(line: Line) -> float:
    """Return the bar for a line: that of the nearest in the list that is no easier."""
    if line.rtt > 50:
        return BARS[0, 300]
    return next((most for (loss, rtt), most in BARS.items() if rtt == 50 and line.loss <= loss), BARS[5, 50])


def one_transfer(line: Line, module: str, options: Sequence[str], file: Path) -> tuple[Round, Record]:
    """Transfer a file once, over a link and a session of its own."""
    with Link(line) as link:
        with Pair(module, file, options, link.place()) as pair:
            took = pair.fetch()
        return took, link.end()


def measure_line(report: Report, given: argparse.Namespace, rate: float, rtt: float, loss: float) -> None:
    """Measure all contestants on one line, and judge ours."""
    size = int(given.mb * 1e6)
    where = f"{rate:g} Mbit/s, {rtt:g} ms, {loss:g} %"
    least = bound(size, Line(rate, rtt, loss))
    report.add(f"{where}: bound", 1, least, "s")
    seconds = []
    with file_of(size) as file:
        for seed in range(1, given.seeds + 1):
            line = Line(rate, rtt, loss, given.queue, seed)
            took = timed(report, f"{where}: ours", line, "ours", [], file)
            seconds.append(took)
        for control in given.controls:
            for seed in range(1, min(TCP_SEEDS, given.seeds) + 1):
                line = Line(rate, rtt, loss, given.queue, seed)
                timed(report, f"{where}: TCP {control}", line, "tcp", ["--congestion", control], file)
    report.judge(f"{where}: ours / bound", median(seconds) / least, most=bar(line))
    if given.steady > 0:
        measure_queue(report, given, where, Line(rate, rtt, loss, given.queue))


def timed(report: Report, name: str, line: Line, module: str, options: Sequence[str], file: Path) -> float:
    """Transfer once and note the time."""
    took, record = one_transfer(line, module, options, file)
    report.add(name, line.seed, took.since_start, "s")
    if record.late > LATE:
        report.notes.append(
            f"{name}, seed {line.seed}: the link was up to {record.late * 1000:.0f} ms late: busy machine."
        )
    progress(f"{name}: {took.since_start:.3f} s")
    return took.since_start


def measure_queue(report: Report, given: argparse.Namespace, where: str, line: Line) -> None:
    """See how much waits in the link's buffer while a longer transfer runs."""
    settling = SETTLED * line.rtt / 1000
    size = min(int(line.bytes_per_second * (settling + given.steady)), MAX_IMAGE)
    with file_of(size) as file:
        took, record = one_transfer(line, "ours", [], file)
    waiting = sorted(sample.waiting for sample in record.between(took.began + settling, took.arrived))
    dropped = sum(sample.dropped for sample in record.samples)
    report.add(f"{where}: queue, most", 1, waiting[-1] / 1000, "KB")
    report.add(f"{where}: queue, median", 1, waiting[len(waiting) // 2] / 1000, "KB")
    report.add(f"{where}: queue, drops in all", 1, dropped, "packets")
    report.judge(f"{where}: queue / buffer", waiting[-1] / line.queue, most=0.5)


def measure(given: argparse.Namespace) -> Report:
    """Measure one line, or all that have a bar."""
    if min(given.rate, given.rtt, given.mb, given.seeds) <= 0 or not 0 <= given.loss < 100:
        raise BenchError("Rate, round trip, size and seeds must be above 0, and loss from 0 to below 100 %.")
    names = ("mb", "seeds", "queue") if given.all else ("rate", "rtt", "loss", "mb", "seeds", "queue")
    report = Report("path", {**{name: getattr(given, name) for name in names}, **machine()})
    there = congestion_controls()
    given.controls = [control for control in TCP_CONTROLS if control in there and not given.ours_only]
    if "bbr" not in there:
        report.notes.append("This kernel has no TCP BBR, so it is left out.")
    if not given.all:
        measure_line(report, given, given.rate, given.rtt, given.loss)
        return report
    for rate in RATES:
        for loss, rtt in BARS:
            measure_line(report, given, rate, rtt, loss)
    return report


def main() -> int:
    """Read the command line and measure."""
    flags = parser(__doc__)
    flags.add_argument("--rate", type=float, default=20, help="Mbit/s (%(default)s)")
    flags.add_argument("--rtt", type=float, default=50, help="round trip of the empty path, in ms (%(default)s)")
    flags.add_argument("--loss", type=float, default=1, help="%% of packets lost, each way (%(default)s)")
    flags.add_argument("--mb", type=float, default=4, help="million bytes of each transfer (%(default)s)")
    flags.add_argument("--seeds", type=int, default=9, help="transfers, each with a fate of its own (%(default)s)")
    flags.add_argument("--queue", type=int, default=250_000, help="bytes that may wait (%(default)s)")
    flags.add_argument("--steady", type=float, default=5, help="seconds in which the queue counts; 0: not measured")
    flags.add_argument("--all", action="store_true", help="measure every line that has a bar")
    flags.add_argument("--ours-only", action="store_true", help="leave TCP out")
    return run(measure, flags.parse_args())


if __name__ == "__main__":
    sys.exit(main())
