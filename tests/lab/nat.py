"""`./run lab nat`: every cell of the matrix of NATs with real programs, and what came of it.

Reads the command line, runs cells side by side, prints. Exit status 0 if all went as it must, 1 with a sentence for
each cell that did not.
"""

import argparse
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from tests.lab import expectations
from tests.lab.exchange import Row, try_cell
from tests.lab.routers import Behind
from tests.lab.spaces import LabError, reap, remove_mine, why_not
from tests.lab.topology import RATE, ROUND_TRIP, Cell

FORECASTS = 0.95
COLUMNS = "{:42} {:13} {:9} {:>8} {:>8} {:>5} {:>8} {:>8}  {:11} {}"  # fmt: skip
HEAD = ("cell (asker:owner)", "path", "first", "connect", "quote", "RTTs", "direct", "picture", "forecast", "")


def main() -> int:
    """Run the lab; return the exit status."""
    options = _options()
    if options.list:
        print("\n".join(f"{cell!s:42} {expectations.expected(cell)}" for cell in options.cells))
        return 0
    if (obstacle := why_not()) is not None:
        print(obstacle, file=sys.stderr)
        return 1
    reap()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    status = 1
    try:
        status = _run(options)
    except LabError as problem:
        print(problem, file=sys.stderr)
    except KeyboardInterrupt:
        status = 130
    finally:
        remove_mine()
        sys.stdout.flush()
    os._exit(status)  # threads of cells that were interrupted wait for what is gone


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run lab nat", description="Two agents behind every kind of NAT.")
    parser.add_argument("--json", action="store_true", help="print one row a cell, as JSON")
    parser.add_argument("--cells", type=_cells, default=expectations.cells(), metavar="A:B,…", help="only these")
    parser.add_argument("--list", action="store_true", help="print the cells, and what is expected of each")
    parser.add_argument("--side-by-side", type=int, default=2, metavar="N", help="cells at a time (2)")
    parser.add_argument("--round-trip", type=float, default=ROUND_TRIP, metavar="MS", help=f"({ROUND_TRIP:.0f})")
    parser.add_argument("--logs", action="store_true", help="print what the programs of failed cells have said")
    return parser.parse_args()


def _cells(text: str) -> list[Cell]:
    try:
        return expectations.parse(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _run(options: argparse.Namespace) -> int:
    began = time.monotonic()
    table = not options.json
    if table:
        print(f"round trip {options.round_trip:.0f} ms, {2 * options.round_trip:.0f} ms over the relay; times in ms")
        print(COLUMNS.format(*HEAD))
    done: list[tuple[Cell, Row]] = []
    failed = []
    for cell, row in _side_by_side(options):
        wrong = list(expectations.objections(cell, row))
        done.append((cell, row))
        failed += [f"{cell}: {sentence}." for sentence in wrong]
        if table:
            print(_line(cell, row, bool(wrong)), flush=True)
        else:
            value = row.value() | {"expected": expectations.expected(cell), "result": expectations.result(row)}
            value |= {"forecast_right": expectations.forecast_is_right(cell, row), "ok": not wrong, "wrong": wrong}
            print(json.dumps(value), flush=True)
        if wrong and options.logs:
            print(row.log, file=sys.stderr)
    right, judged = expectations.right_forecasts(done)
    if right < FORECASTS * judged:
        failed.append(f"Only {right} of {judged} forecasts were right.")
    if table:
        print(_matrix(done))
        print(f"{len(done)} cells in {time.monotonic() - began:.0f} s; forecasts right: {right} of {judged}.")
    for sentence in failed:
        print(sentence, file=sys.stderr)
    return 1 if failed else 0


def _side_by_side(options: argparse.Namespace) -> Iterator[tuple[Cell, Row]]:
    """Try cells, some at a time; yield them as they are done."""
    waiting: queue.SimpleQueue[Cell] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Cell, Row]] = queue.SimpleQueue()
    for cell in options.cells:
        waiting.put(cell)

    def work() -> None:
        while not waiting.empty():
            cell = waiting.get()
            done.put((cell, try_cell(cell, round_trip=options.round_trip, rate=RATE)))

    for _ in range(options.side_by_side):
        threading.Thread(target=work, daemon=True).start()
    for _ in options.cells:
        yield done.get()


def _line(cell: Cell, row: Row, wrong: bool) -> str:
    paths = row.path_a if row.path_a == row.path_b else f"{row.path_a}/{row.path_b}"
    right = expectations.forecast_is_right(cell, row)
    marks = {True: "", False: " (wrong)", None: ""}
    values = (row.connect or row.ended_after, row.quote, row.quote_round_trips, row.direct, row.picture)
    numbers = [
        "-" if value is None else f"{value:.1f}" if index == 2 else f"{value:.0f}" for index, value in enumerate(values)
    ]
    what = paths if row.ended == "done" else expectations.result(row)
    tail = "FAILED" if wrong else ""
    return COLUMNS.format(
        str(cell), str(what), row.path_first or "-", *numbers, f"{row.forecast or '-'}{marks[right]}", tail
    ).rstrip()


def _matrix(done: Sequence[tuple[Cell, Row]]) -> str:
    """Draw what came of the pairs as a square."""
    words = {}
    for cell, row in done:
        if cell.b is not None and not cell.cut and not cell.a.ipv6:
            path = row.path_a if row.ended == "done" else "failed"
            for pair in ((cell.a.behind, cell.b.behind), (cell.b.behind, cell.a.behind)):
                words[pair] = "relay" if str(path).startswith("relay") else str(path)
    kinds = list(Behind)
    lines = [" " * 19 + "".join(f"{kind[:10]:>12}" for kind in kinds)]
    for one in kinds:
        lines.append(f"{one:19}" + "".join(f"{words.get((one, other), ''):>12}" for other in kinds))
    return "\n".join(["", *lines, ""])


if __name__ == "__main__":
    sys.exit(main())
