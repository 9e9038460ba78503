"""`./run lab nat`: every cell of the matrix of NATs with real programs, then what breaks while a picture moves.

Reads the command line, runs cells side by side and faults one after the other, prints. Exit status 0 if all went as it
must, 1 with a sentence for each cell or fault that did not.
"""

import argparse
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator

from tests.lab import expectations, report
from tests.lab.exchange import Row, try_cell
from tests.lab.faults import FAULTS, measure_fault
from tests.lab.spaces import reap, remove_mine, why_not
from tests.lab.topology import RATE, ROUND_TRIP, Cell

FORECASTS = 0.95
"""How many of the forecasts must be right."""


def main() -> int:
    """Run the lab; return the exit status."""
    options = _options()
    if options.list:
        print("\n".join(f"{cell!s:36} {expectations.expected(cell)}" for cell in options.cells))
        return 0
    if (obstacle := why_not()) is not None:
        print(obstacle, file=sys.stderr)
        return 1
    reap()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        failed = [*_run_cells(options), *_run_faults(options)]
        status = 1 if failed else 0
        for sentence in failed:
            print(sentence, file=sys.stderr)
    except (KeyboardInterrupt, SystemExit) as end:
        status = 130 if isinstance(end, KeyboardInterrupt) else 143
    finally:
        remove_mine()
    sys.stdout.flush()
    os._exit(status)  # threads of cells that were interrupted wait for what is gone


def _options() -> argparse.Namespace:
    about = "Two agents behind every kind of NAT, in network namespaces; then faults while a picture moves."
    parser = argparse.ArgumentParser(prog="./run lab nat", description=about)
    add = parser.add_argument
    add("--json", action="store_true", help="print one row a cell or fault, as JSON")
    add("--cells", type=_cells, default=None, metavar="A:B,…", help="only these cells")
    add("--faults", action="store_true", help="only the faults")
    add("--list", action="store_true", help="print the cells, and what is expected of each")
    add("--side-by-side", type=int, default=2, metavar="N", help="cells at a time (2)")
    add("--round-trip", type=float, default=ROUND_TRIP, metavar="MS", help=f"({ROUND_TRIP:.0f})")
    add("--logs", action="store_true", help="print what the programs of failed cells have said")
    options = parser.parse_args()
    options.faults_too = options.faults or options.cells is None
    options.cells = options.cells or ([] if options.faults else expectations.cells())
    return options


def _cells(text: str) -> list[Cell]:
    try:
        return expectations.parse(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _run_cells(options: argparse.Namespace) -> Iterator[str]:
    """Try all cells, and print; yield a sentence for what went wrong."""
    if not options.cells:
        return
    began = time.monotonic()
    if not options.json:
        print(report.introduction(options.round_trip, options.side_by_side))
    done: list[tuple[Cell, Row]] = []
    for cell, row in _side_by_side(options):
        wrong = list(expectations.objections(cell, row))
        done.append((cell, row))
        if options.json:
            print(json.dumps(row.value() | expectations.judged(cell, row)), flush=True)
        else:
            print(report.cell_line(cell, row, bool(wrong)), flush=True)
        if wrong and options.logs:
            print(row.log, file=sys.stderr)
        yield from (f"{cell}: {sentence}." for sentence in wrong)
    right, judged = expectations.right_forecasts(done)
    if right < FORECASTS * judged:
        yield f"Only {right} of {judged} forecasts were right."
    if not options.json:
        print(report.matrix(done))
        print(f"{len(done)} cells in {time.monotonic() - began:.0f} s; forecasts right: {right} of {judged}.")


def _side_by_side(options: argparse.Namespace) -> Iterator[tuple[Cell, Row]]:
    """Try cells, some at a time; yield them as they are done."""
    waiting: queue.SimpleQueue[Cell] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Cell, Row]] = queue.SimpleQueue()
    for cell in options.cells:
        waiting.put(cell)

    def work() -> None:
        while True:
            try:
                cell = waiting.get_nowait()
            except queue.Empty:
                return
            done.put((cell, try_cell(cell, round_trip=options.round_trip, rate=RATE)))

    for _ in range(options.side_by_side):
        threading.Thread(target=work, daemon=True).start()
    for _ in options.cells:
        yield done.get()


def _run_faults(options: argparse.Namespace) -> Iterator[str]:
    """Try all faults, and print; yield a sentence for what went wrong."""
    if not options.faults_too:
        return
    if not options.json:
        print(report.faults_head())
    for fault in FAULTS:
        loss = measure_fault(fault, round_trip=options.round_trip)
        print(json.dumps(loss.value()) if options.json else report.fault_line(loss), flush=True)
        if loss.objections() and options.logs:
            print(loss.log, file=sys.stderr)
        yield from (f"{fault.name} ({fault.cell}): {sentence}." for sentence in loss.objections())


if __name__ == "__main__":
    sys.exit(main())
