"""What each cell of the matrix must come to: the cells, one table, and the sentences for what is otherwise.

Pure. The table follows from how NATs map and filter (RFC 4787), not from what was seen: a hole can be punched where at
least one side's mapping is the same for all, unless the other's depends on the endpoint and the first wants to have
sent to exactly that port.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from tests.lab.exchange import RELAYED, Row
from tests.lab.routers import Behind
from tests.lab.topology import CUT_OFF, SAME_NETWORK, Cell, Side

KINDS: Final = tuple(Behind)
EXPECTED: Final = """
                    none  full-cone  address-r.  port-r.  symmetric  double-nat  udp-blocked  http-only
none                D     D          D           D        D          D           r            r
full-cone           .     D          D           D        D          D           r            r
address-restricted  .     .          D           D        D          D           r            r
port-restricted     .     .          .           D        r          D           r            r
symmetric           .     .          .           .        r          r           r            r
double-nat          .     .          .           .        .          D           r            r
udp-blocked         .     .          .           .        .          .           r            r
http-only           .     .          .           .        .          .           .            r
"""
"""D: a direct path, r: over the relay. The other half is the same, the roles of asker and owner exchanged."""

CONNECTS: Final = 10_000.0
"""ms within which a connection ends, one way or the other."""
PUNCHES: Final = 2_000.0
QUOTE_ROUND_TRIPS: Final = 3
QUOTE_MORE: Final = 100.0
_BLOCKED: Final = {"udp-blocked", "http-only"}


def _table() -> dict[frozenset[str], str]:
    rows = EXPECTED.strip().splitlines()[1:]
    found: dict[frozenset[str], str] = {}
    for kind, row in zip(KINDS, rows, strict=True):
        name, *words = row.split()
        assert name == kind
        for other, word in zip(KINDS, words, strict=True):
            if word != ".":
                found[frozenset((kind, other))] = "direct" if word == "D" else "relayed"
    return found


_EXPECTED: Final = _table()


def cells() -> list[Cell]:
    """Return all cells: each pair once, the asker in front of the owner in turns; then the special ones."""
    pairs = [(one, other) for index, one in enumerate(KINDS) for other in KINDS[index:]]
    matrix = [
        Cell(Side(one), Side(other)) if number % 2 else Cell(Side(other), Side(one))
        for number, (one, other) in enumerate(pairs)
    ]
    cone, port, symmetric = Side(Behind.FULL_CONE), Side(Behind.PORT), Side(Behind.SYMMETRIC)
    same = [Cell(side, None) for side in (cone, Side(Behind.FULL_CONE, hairpin=True), port, symmetric)]
    both = [Side(behind, ipv6=True) for behind in (Behind.NONE, Behind.SYMMETRIC)]
    ipv6 = [Cell(one, other) for one, other in (both, (both[1], both[1]))]
    return [*matrix, *same, *ipv6, Cell(port, port, cut="b"), Cell(port, port, cut="a")]


def parse(text: str) -> list[Cell]:
    """Read `A:B,…`; ValueError with a sentence."""
    return [_parse_one(part) for part in text.split(",") if part]


def _parse_one(text: str) -> Cell:
    first, colon, second = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r} is not a cell: say A:B, as in port-restricted:symmetric.")
    cut = "".join(who for who, word in (("a", first), ("b", second)) if word == CUT_OFF)
    sides = [None if word == SAME_NETWORK else _side(word) for word in (first, second)]
    if sides[0] is None:
        raise ValueError(f"{text!r} is not a cell: {SAME_NETWORK} stands behind the colon.")
    return Cell(sides[0], sides[1], cut)


def _side(text: str) -> Side:
    behind, *more = text.replace(CUT_OFF, Behind.PORT).split("+")
    if behind not in set(KINDS) or not {"ipv6", "hairpin"}.issuperset(more):
        raise ValueError(f"{text!r} is none of {', '.join(KINDS)}, {SAME_NETWORK}, {CUT_OFF} (+ipv6, +hairpin).")
    return Side(Behind(behind), ipv6="ipv6" in more, hairpin="hairpin" in more)


def expected(cell: Cell) -> str:
    """Return what a cell must come to: `direct`, `lan`, `relayed` or `unreachable`."""
    if cell.cut:
        return "unreachable"
    if cell.b is None:
        return "lan"
    if cell.a.ipv6 and cell.b.ipv6:
        return "direct"
    return _EXPECTED[frozenset((cell.a.behind, cell.b.behind))]


def result(row: Row) -> str:
    """Return what a cell came to, in the same words."""
    paths = {row.path_a, row.path_b}
    if row.ended != "done":
        return "unreachable" if row.ended in ("unreachable", "rendezvous_down") else f"{row.ended or 'nothing'}"
    if None in paths:
        return "unknown"
    if paths == {"lan"}:
        return "lan"
    return "relayed" if paths & set(RELAYED) else "direct"


def forecast_is_right(cell: Cell, row: Row) -> bool | None:
    """Tell whether the doctor knew beforehand; None where nobody could, or nobody was asked."""
    if cell.cut or row.forecast is None:
        return None
    return row.forecast == {"lan": "direct"}.get(result(row), result(row))


def objections(cell: Cell, row: Row) -> Iterator[str]:
    """Say in sentences what is not as it must be."""
    if row.problem is not None:
        yield f"it stopped: {row.problem}"
        return
    came, must = result(row), expected(cell)
    if came != must:
        yield f"it came to {came} ({row.path_a}, {row.path_b}; {row.reason or 'no reason'}) instead of {must}"
    if row.ended_after is None or row.ended_after > CONNECTS:
        yield f"the connection took {_seconds(row.ended_after)} to end; it should in {_seconds(CONNECTS)}"
    if must == "unreachable":
        if not row.reason:
            yield "no reason was given"
        return
    if row.picture_equal is not True:
        yield "the picture did not arrive as it left"
    yield from _of_paths(cell, row, must)
    yield from _of_times(row, must)


def judged(cell: Cell, row: Row) -> dict[str, object]:
    """Return what `--json` prints of a row beside what was measured."""
    wrong = list(objections(cell, row))
    right = forecast_is_right(cell, row)
    return {"expected": expected(cell), "result": result(row), "forecast_right": right, "ok": not wrong, "wrong": wrong}


def _of_paths(cell: Cell, row: Row, must: str) -> Iterator[str]:
    """Where UDP is blocked, the relay is reached over WebSocket, and only there."""
    if must != "relayed" or cell.b is None:
        return
    for side, path in ((cell.a, row.path_a), (cell.b, row.path_b)):
        should = RELAYED[1] if side.behind in _BLOCKED else RELAYED[0]
        if path in RELAYED and path != should:
            yield f"the side behind {side} uses {path} instead of {should}"


def _of_times(row: Row, must: str) -> Iterator[str]:
    if row.quote is None:
        yield "no quote came"
    elif row.quote_path in RELAYED:
        limit = QUOTE_ROUND_TRIPS * 2 * row.round_trip + QUOTE_MORE
        if row.quote > limit:
            yield f"the quote took {row.quote:.0f} ms from the yes over the relay; it should take {limit:.0f}"
    if must != "relayed" and row.direct is not None and row.direct > PUNCHES:
        yield f"the direct path took {_seconds(row.direct)}; it should take {_seconds(PUNCHES)}"


def _seconds(milliseconds: float | None) -> str:
    return "for ever" if milliseconds is None else f"{milliseconds / 1000:.1f} s"


def right_forecasts(rows: Sequence[tuple[Cell, Row]]) -> tuple[int, int]:
    """Return how many forecasts were right, and of how many."""
    judged = [right for cell, row in rows if (right := forecast_is_right(cell, row)) is not None]
    return sum(judged), len(judged)
