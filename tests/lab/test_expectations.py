"""The lab's own rules: which cells there are, what each must come to, and that a wrong result is called wrong."""

import dataclasses
import subprocess
import sys

import pytest

from tests.lab.exchange import Row
from tests.lab.expectations import KINDS, cells, expected, forecast_is_right, objections, parse, result
from tests.lab.faults import Loss
from tests.lab.routers import Behind
from tests.lab.topology import Side
from tests.support.programs import ROOT, environment

GOOD = Row(
    "port-restricted:port-restricted",
    40.0,
    forecast="direct",
    ended="done",
    ended_after=500.0,
    path_a="punched",
    path_b="punched",
    quote=100.0,
    quote_path="punched",
    direct=400.0,
    picture_equal=True,
)


def test_every_pair_of_kinds_is_tried_once() -> None:
    pairs = [frozenset((c.a.behind, c.b.behind)) for c in cells() if c.b is not None and not c.cut and not c.a.ipv6]
    assert len(pairs) == len(set(pairs)) == len(KINDS) * (len(KINDS) + 1) // 2


def test_cells_are_read_as_they_are_written() -> None:
    assert parse(",".join(map(str, cells()))) == cells()


@pytest.mark.parametrize("text", ["none", "none:nowhere", "same-network:none", "none+wings:none"])
def test_what_is_no_cell_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        parse(text)


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        ("symmetric:port-restricted", "relayed"),
        ("address-restricted:symmetric", "direct"),
        ("double-nat:double-nat", "direct"),
        ("none:udp-blocked", "relayed"),
        ("symmetric+ipv6:symmetric+ipv6", "direct"),
        ("symmetric:same-network", "lan"),
        ("none:cut-off", "unreachable"),
    ],
)
def test_the_table_says_what_networks_allow(cell: str, word: str) -> None:
    assert expected(parse(cell)[0]) == word


def test_a_good_row_is_not_objected_to() -> None:
    cell = parse(GOOD.cell)[0]
    assert list(objections(cell, GOOD)) == []
    assert result(GOOD) == "direct"
    assert forecast_is_right(cell, GOOD)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"path_a": "relay-udp", "path_b": "relay-udp"}, "instead of direct"),
        ({"ended_after": 12_000.0}, "12.0 s"),
        ({"picture_equal": False}, "picture"),
        ({"direct": 2500.0}, "2.5 s"),
        ({"quote": 400.0, "quote_path": "relay-udp"}, "400 ms"),
        ({"ended": "unreachable", "reason": "Nobody answered."}, "Nobody answered."),
        ({"problem": "AssertionError: nothing came"}, "nothing came"),
    ],
)
def test_a_bad_row_is_objected_to_in_a_sentence(change: dict[str, object], word: str) -> None:
    row = dataclasses.replace(GOOD, **change)  # type: ignore[arg-type]
    assert any(word in sentence for sentence in objections(parse(GOOD.cell)[0], row))


def test_a_blocked_side_must_use_the_websocket() -> None:
    cell = parse("none:udp-blocked")[0]
    row = dataclasses.replace(GOOD, path_a="relay-udp", path_b="relay-udp", direct=None)
    assert [sentence for sentence in objections(cell, row) if "relay-ws" in sentence]
    assert cell.b == Side(Behind.UDP_BLOCKED)


def test_a_loss_is_what_a_transfer_took_longer() -> None:
    loss = Loss("a fault", GOOD.cell, 3.0, undisturbed=4.0, disturbed=6.5, picture_equal=True)
    assert (loss.lost, loss.objections()) == (2.5, [])
    loss.disturbed = 7.5
    assert loss.objections() == ["3.5 s were lost; it may be 3"]


def test_the_list_of_cells_needs_no_root_and_a_wrong_cell_is_refused() -> None:
    command = [sys.executable, "-m", "tests.lab.nat"]
    listed = subprocess.run([*command, "--list"], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) == len(cells())
    wrong = subprocess.run([*command, "--cells", "a:b"], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "is none of none, full-cone" in wrong.stderr
