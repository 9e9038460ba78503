"""What a measurement found, printed as a table or as JSON, and whether it holds its bars.

Also owns the way every measurement starts and ends: flags that all have, and one sentence where it could not run.
"""

import argparse
import json
import os
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.bench.support.contest import BenchError


@dataclass(frozen=True, slots=True)
class Row:
    """One value of one round."""

    name: str
    round: int
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Bar:
    """What a ratio must not be below, or not above; it holds only for a ratio that was measured."""

    ratio: str
    least: float = 0.0
    most: float = float("inf")

    def holds(self, value: float | None) -> bool:
        """Tell whether a measured value is within."""
        return value is not None and self.least <= value <= self.most

    def __str__(self) -> str:
        if self.least and self.most < float("inf"):
            return f"{self.least:g} to {self.most:g}"
        return f"at least {self.least:g}" if self.least else f"at most {self.most:g}"


@dataclass(slots=True)
class Report:
    """Everything that one measurement found."""

    bench: str
    params: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    ratios: dict[str, float | None] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, round: int, value: float, unit: str) -> None:
        """Note one value."""
        self.rows.append(Row(name, round, round_off(value), unit))

    def values(self, name: str, unit: str | None = None) -> list[float]:
        """Return the values of one name, in the order of the rounds."""
        return [row.value for row in self.rows if row.name == name and unit in (None, row.unit)]

    def judge(self, ratio: str, value: float | None, *, least: float = 0.0, most: float = float("inf")) -> None:
        """Note a ratio and its bar."""
        self.ratios[ratio] = None if value is None else round_off(value)
        self.bars.append(Bar(ratio, least, most))

    @property
    def passed(self) -> bool:
        """Tell whether every bar holds."""
        return all(bar.holds(self.ratios[bar.ratio]) for bar in self.bars)

    def as_json(self) -> str:
        """Return the one line that scripts read."""
        params = {**self.params, "notes": self.notes, "bars": {bar.ratio: str(bar) for bar in self.bars}}
        rows = [asdict(row) for row in self.rows]
        return json.dumps(
            {"bench": self.bench, "params": params, "rows": rows, "ratios": self.ratios, "pass": self.passed}
        )

    def as_table(self) -> str:
        """Return what people read: medians and quartiles, ratios and their bars."""
        names = list(dict.fromkeys((row.name, row.unit) for row in self.rows))
        width = max(map(len, [*(name for name, _ in names), *self.ratios]), default=0)
        lines = [f"{self.bench}: " + ", ".join(f"{name} {value}" for name, value in self.params.items()), ""]
        lines.append(f"{'':{width}}  {'median':>9}  {'quartiles':>19}  rounds")
        for name, unit in names:
            values = self.values(name, unit)
            low, middle, high = quartiles(values)
            spread = f"{low:.4g} – {high:.4g}"
            lines.append(f"{name:{width}}  {middle:>9.4g}  {spread:>19}  {len(values):>6}  {unit}")
        lines.append("")
        bars = {bar.ratio: bar for bar in self.bars}
        for ratio, value in self.ratios.items():
            shown = "not measured" if value is None else f"{value:.4g}"
            bar = bars.get(ratio)
            verdict = f"  (bar: {bar}: {'held' if bar.holds(value) else 'MISSED'})" if bar else ""
            lines.append(f"{ratio:{width}}  {shown:>9}{verdict}")
        lines += ["", *self.notes, "All bars held." if self.passed else "Not all bars held."]
        return "\n".join(lines)


def round_off(value: float) -> float:
    """Return a value with six significant digits: more were not measured."""
    return float(f"{value:.6g}")


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def median(values: Sequence[float]) -> float | None:
    """Return the median, None of nothing."""
    return statistics.median(values) if values else None


def ratio(over: Sequence[float], under: Sequence[float]) -> float | None:
    """Return the median of the ratios round by round: what slowed both in one round then does not count."""
    return median([a / b for a, b in zip(over, under, strict=True)])


def machine() -> dict[str, Any]:
    """Return what else decides a figure: the processors and how busy they were when the measurement began."""
    return {"processors": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "python": sys.version.split()[0]}


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the flags that all measurements have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    return made


def run(measure: Callable[[argparse.Namespace], Report], given: argparse.Namespace) -> int:
    """Measure and print; return the exit status: 0 if it ran, whatever it found, 1 and a sentence if it did not."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was made is removed
    try:
        report = measure(given)
    except BenchError as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(report.as_json() if given.json else report.as_table())
    return 0


def progress(line: str) -> None:
    """Say what goes on, to the person who waits."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)
