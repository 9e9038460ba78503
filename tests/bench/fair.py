"""How one transfer shares a bottleneck with TCP cubic, with TCP BBR and with another transfer.

Needs Linux, root, /dev/net/tun and gcc. Both flows start together, one picture after the other; the link
counts what it delivers of each, headers included. The share is ours of both over the whole time.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from tests.bench.support.contest import BenchError, Pair, file_of
from tests.bench.support.link import Line, Link, congestion_controls
from tests.bench.support.report import Report, machine, parser, progress, run

TIMES: Final = 1000  # more files than any measurement has time for
SLICE: Final = 5.0  # seconds for which a share is shown
RIVALS: Final = {
    "TCP cubic": ("tcp", ["--congestion", "cubic"], 0.25),
    "TCP bbr": ("tcp", ["--congestion", "bbr"], 0.2),
    "another transfer": ("ours", [], 0.25),
}
"""Module, options and the least share; the most is what is then left for the rival."""


def compete(report: Report, given: argparse.Namespace, rival: str, file: Path) -> None:
    """Run one transfer beside a rival, and judge its share."""
    module, options, least = RIVALS[rival]
    with Link(Line(given.rate, given.rtt, 0.0, given.queue)) as link:
        with Pair("ours", file, (), link.place(0)) as ours, Pair(module, file, options, link.place(1)) as theirs:
            began = time.monotonic()
            for pair in (ours, theirs):
                pair.fetch_again_and_again(TIMES)
            time.sleep(given.seconds)
            for pair in (ours, theirs):
                pair.giver_says()  # or BenchError, should one have ended
        record = link.end()
    slices = max(1, round(given.seconds / SLICE))
    length = given.seconds / slices
    for index in range(slices):
        share = record.share(began + index * length, began + (index + 1) * length)
        report.add(f"share against {rival}", index + 1, share, f"of {length:g} s")
    whole = record.between(began, began + given.seconds)
    rate = sum(sum(sample.delivered) for sample in whole) * 8 / given.seconds / 1e6
    report.add(f"both, with {rival}", 1, rate, "Mbit/s")
    report.add(f"queue, with {rival}", 1, max(sample.waiting for sample in whole) / 1000, "KB, most")
    share = record.share(began, began + given.seconds)
    report.judge(f"share against {rival}", share, least=least, most=1 - least)
    progress(f"share against {rival}: {share:.2f}")


def measure(given: argparse.Namespace) -> Report:
    """Compete with every rival that there is."""
    if min(given.seconds, given.rate, given.rtt, given.queue, given.mb) <= 0:
        raise BenchError("Seconds, rate, round trip, queue and size must be above 0.")
    params = {name: getattr(given, name) for name in ("seconds", "rate", "rtt", "queue", "mb")}
    report = Report("fair", {**params, **machine()})
    there = congestion_controls()
    with file_of(int(given.mb * 1e6)) as file:
        for rival in given.against or RIVALS:
            if rival == "TCP bbr" and "bbr" not in there:
                report.notes.append("This kernel has no TCP BBR, so the share against it is not measured.")
                continue
            compete(report, given, rival, file)
    return report


def main() -> int:
    """Read the command line and measure."""
    flags = parser(__doc__)
    flags.add_argument("--seconds", type=float, default=60, help="time against each rival (%(default)s)")
    flags.add_argument("--rate", type=float, default=20, help="Mbit/s (%(default)s)")
    flags.add_argument("--rtt", type=float, default=50, help="round trip of the empty path, in ms (%(default)s)")
    flags.add_argument("--queue", type=int, default=250_000, help="bytes that may wait (%(default)s)")
    flags.add_argument("--against", action="append", choices=RIVALS, help="only this rival; may be said again")
    flags.add_argument("--mb", type=float, default=100, help="million bytes of each picture (%(default)s)")
    return run(measure, flags.parse_args())


if __name__ == "__main__":
    sys.exit(main())
