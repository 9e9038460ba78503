"""One cell of the matrix with real programs: two agents behind NATs that keep to one port punch a hole.

`./run lab nat` tries all cells, and measures; this one shows that it can.
"""

import pytest

from tests.lab.exchange import try_cell
from tests.lab.expectations import expected, forecast_is_right, parse, result
from tests.lab.spaces import why_not
from tests.lab.topology import RATE

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


def test_two_agents_behind_port_restricted_nats_exchange_over_a_punched_hole() -> None:
    cell = parse("port-restricted:port-restricted")[0]
    row = try_cell(cell, round_trip=20.0, rate=RATE)
    assert row.problem is None, f"{row.problem}\n{row.log}"
    assert result(row) == expected(cell) == "direct", row.log
    assert row.path_a == row.path_b == "punched"
    assert row.picture_equal
    assert forecast_is_right(cell, row)
