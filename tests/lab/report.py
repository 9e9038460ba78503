"""How the lab's results are printed: a line for each cell and fault as it is done, the matrix at the end. Pure."""

from collections.abc import Sequence
from typing import Final

from tests.lab import expectations
from tests.lab.exchange import Row
from tests.lab.faults import Loss
from tests.lab.routers import Behind
from tests.lab.topology import Cell

_CELL: Final = "{:36} {:20} {:>8} {:>8} {:>5} {:>8} {:>8}  {:17} {}"
_HEAD: Final = ("cell (asker:owner)", "path", "connect", "quote", "RTTs", "direct", "picture", "forecast", "")
_FAULT: Final = "{:40} {:32} {:21} {:>6} {:>6} {:>6} {:>6}  {}"
_FAULT_HEAD: Final = ("fault", "cell", "path before, after", "took", "calm", "lost", "still", "")


def introduction(round_trip: float, side_by_side: int) -> str:
    """Say what the figures are, and name the columns."""
    return (
        f"Round trips take {round_trip:.0f} ms, over the relay {2 * round_trip:.0f}; cells at a time: {side_by_side}."
        " Times are in ms: from the question to the connection; from the yes to the quote, and that in round trips of"
        " its path; from the yes to a direct path.\n" + _CELL.format(*_HEAD).rstrip()
    )


def cell_line(cell: Cell, row: Row, wrong: bool) -> str:
    """Return one line of a cell."""
    path = row.path_a if row.path_a == row.path_b else f"{row.path_a}/{row.path_b}"
    said = {True: "", False: " (wrong)", None: ""}[expectations.forecast_is_right(cell, row)]
    what = path if row.ended == "done" else expectations.result(row)
    numbers = [_number(value) for value in (row.connect or row.ended_after, row.quote)]
    trips = _number(row.quote_round_trips, 1)
    numbers += [trips, *(_number(value) for value in (row.direct, row.picture))]
    forecast = f"{row.forecast or '-'}{said}"
    return _CELL.format(str(cell), str(what), *numbers, forecast, "FAILED" if wrong else "").rstrip()


def matrix(done: Sequence[tuple[Cell, Row]]) -> str:
    """Draw what came of the pairs as a square."""
    words: dict[tuple[Behind, Behind], str] = {}
    for cell, row in done:
        if cell.b is None or cell.cut or cell.a.ipv6:
            continue
        path = str(row.path_a) if row.ended == "done" else "failed"
        for pair in ((cell.a.behind, cell.b.behind), (cell.b.behind, cell.a.behind)):
            words[pair] = "relay" if path.startswith("relay") else path
    lines = [" " * 19 + "".join(f"{kind.partition('-')[0]:>11}" for kind in Behind)]
    for one in Behind:
        lines.append(f"{one:19}" + "".join(f"{words.get((one, other), ''):>11}" for other in Behind))
    return "\n".join(["", *lines, ""])


def faults_head() -> str:
    """Name the columns of the faults."""
    about = "Faults while 20 MB move, in seconds: with the fault, without, the difference, the longest standstill"
    return f"{about}.\n" + _FAULT.format(*_FAULT_HEAD).rstrip()


def fault_line(loss: Loss) -> str:
    """Return one line of a fault."""
    paths = f"{loss.path_before}, {loss.path_after}"
    numbers = [_number(value, 2) for value in (loss.disturbed, loss.undisturbed, loss.lost)]
    numbers.append(_number(loss.silence, 2))
    tail = "FAILED" if loss.objections() else "(second try)" if loss.tries > 1 else ""
    return _FAULT.format(loss.fault, loss.cell, paths, *numbers, tail).rstrip()


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
