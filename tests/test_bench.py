"""The measurements run, and say what they found in one shape; how fast anything is, no test asserts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.protocol.packet import LARGEST_DATAGRAM
from agent.protocol.sealing import PIECE_OVERHEAD
from tests.bench.path import BARS, IP_UDP, bar, bound
from tests.bench.support.link import Line, Record, Sample
from tests.bench.support.namespaces import why_not
from tests.bench.support.report import Report, ratio

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    "transfer": ("--mb", "1", "--rounds", "1"),
    "path": ("--mb", "0.1", "--rate", "50", "--rtt", "10", "--seeds", "1", "--steady", "0.3"),
    "fair": ("--seconds", "1", "--mb", "1", "--against", "TCP cubic"),
    "directory": ("--people", "1000", "--rounds", "1", "--calls", "16", "--seconds", "0.2"),
    "relay": ("--rounds", "1", "--seconds", "0.2"),
    "agents": ("--agents", "120", "--seconds", "1", "--changes", "4"),
    "page": ("--mb", "0.2", "--rounds", "1"),
}
PAYLOAD = LARGEST_DATAGRAM - PIECE_OVERHEAD
PACKET = LARGEST_DATAGRAM + IP_UDP


def measure(bench: str, *flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", f"tests.bench.{bench}", *flags]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110)


def check_shape(found: dict[str, Any], bench: str) -> None:
    assert set(found) == {"bench", "params", "rows", "ratios", "pass"}
    assert found["bench"] == bench
    assert isinstance(found["pass"], bool)
    assert found["rows"]
    for row in found["rows"]:
        assert set(row) == {"name", "round", "value", "unit"}
        assert isinstance(row["round"], int)
        assert isinstance(row["value"], float)
    assert found["ratios"]
    assert all(value is None or isinstance(value, float) for value in found["ratios"].values())


def test_the_transfer_bench_runs_and_says_what_it_found() -> None:
    ended = measure("transfer", *SMALL["transfer"], "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    check_shape(found, "transfer")
    assert {"ours", "TLS 1.3 over TCP"} <= {row["name"] for row in found["rows"]}


@pytest.mark.parametrize("bench", ["path", "fair"])
def test_a_bench_over_an_impaired_link_runs_or_says_in_one_line_why_it_cannot(bench: str) -> None:
    ended = measure(bench, *SMALL[bench], "--json")
    if ended.returncode == 0:
        check_shape(json.loads(ended.stdout), bench)
    else:
        assert ended.returncode == 1
        assert why_not() is not None, ended.stderr
        assert ended.stderr.strip().count("\n") == 0
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("bench", ["directory", "agents", "relay"])
def test_a_bench_of_the_rendezvous_runs_and_says_what_it_found(bench: str) -> None:
    ended = measure(bench, *SMALL[bench], "--json")
    assert ended.returncode == 0, ended.stderr
    check_shape(json.loads(ended.stdout), bench)


def test_the_bench_of_the_page_runs_and_says_what_it_found() -> None:
    ended = measure("page", *SMALL["page"], "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    check_shape(found, "page")
    rows = {row["name"]: row["value"] for row in found["rows"]}
    for side in ("giver", "taker"):
        assert rows[f"get_state, {side}, moving, answers"] > 0
        assert found["ratios"][f"get_state p99 ms, {side}, checking"] > 0


def test_the_table_for_people_has_the_medians_and_the_verdicts() -> None:
    report = Report("transfer", {"mb": 1})
    for round, value in enumerate((5.0, 1.0, 3.0), 1):
        report.add("ours", round, value, "MB/s")
    report.judge("ours / TLS", 0.75, least=0.8)
    report.judge("ours / aioquic", 20.0, least=15)
    table = report.as_table()
    assert "3" in next(line for line in table.splitlines() if line.startswith("ours ")).split()
    assert "at least 0.8: MISSED" in table
    assert "at least 15: held" in table
    assert not report.passed


def test_a_bar_does_not_hold_for_what_was_not_measured() -> None:
    report = Report("transfer", {})
    report.judge("ours / aioquic", None, least=15)
    assert not report.passed


def test_impossible_sizes_are_refused_in_one_sentence() -> None:
    wrong = {
        "transfer": (("--mb", "0"), ("--rounds", "0")),
        "directory": (("--people", "1"),),
        "agents": (("--agents", "1"),),
        "page": (("--mb", "105"), ("--rounds", "0")),
    }
    for bench, flags in ((bench, flags) for bench, several in wrong.items() for flags in several):
        ended = measure(bench, *flags)
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)


def test_ratios_are_taken_round_by_round() -> None:
    assert ratio([1.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == 2.0
    assert ratio([], []) is None


def test_the_bound_of_ten_packets_is_their_time_on_the_line_and_one_way() -> None:
    line = Line(rate=20, rtt=50)
    assert bound(10 * PAYLOAD, line) == pytest.approx(10 * PACKET / 2.5e6 + 0.025)


def test_the_bound_doubles_each_round_trip_until_the_link_is_full() -> None:
    line = Line(rate=20, rtt=50)  # which holds 84 packets: a round of 80 leaves it idle, one of 160 does not
    packets = 10 + 20 + 40 + 80 + 1000
    assert bound(packets * PAYLOAD, line) == pytest.approx(4 * 0.05 + 1000 * PACKET / 2.5e6 + 0.025)


def test_what_chance_takes_is_added_to_the_bound() -> None:
    assert bound(4_000_000, Line(20, 50, loss=5)) == pytest.approx(bound(4_000_000, Line(20, 50)) / 0.95)


def test_every_line_has_a_bar_no_stricter_than_asked() -> None:
    for (loss, rtt), most in BARS.items():
        assert bar(Line(20, rtt, loss)) == most
    assert bar(Line(20, 50, 0.5)) == BARS[1, 50]
    assert bar(Line(20, 200, 0)) == BARS[0, 300]


def test_the_share_is_counted_over_the_time_asked_for() -> None:
    samples = [Sample(0, (100, 0), 0)] * 10 + [Sample(0, (30, 10), 0)] * 10
    record = Record(began=5.0, late=0.0, samples=samples)
    assert record.share(5.1, 5.2) == pytest.approx(0.75)
    assert record.share(5.0, 5.1) == 1.0
    assert record.share(7.0, 8.0) == 0.0
