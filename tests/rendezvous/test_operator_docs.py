"""docs/rendezvous.md says what the program does: its flags, its limits, its metrics."""

import re
from dataclasses import fields

import pytest
from prometheus_client import REGISTRY

from rendezvous import metrics
from rendezvous.flags import parse
from rendezvous.limits import Rules
from tests.support.programs import ROOT

TEXT = (ROOT / "docs" / "rendezvous.md").read_text(encoding="utf-8")


def test_every_flag_and_no_other_stands_there_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    flags = set(re.findall(r"(--[a-z0-9-]+)", capsys.readouterr().out)) - {"--help", "--some-thing"}
    rows = dict(re.findall(r"^\| `(--[a-z0-9-]+)[^`]*` \| ([^|]+) \|", TEXT, re.M))
    assert set(rows) == flags
    for flag, default in rows.items():
        value = getattr(parse([]), flag.removeprefix("--").replace("-", "_"))
        if isinstance(value, int) and not isinstance(value, bool):
            assert default == str(value), flag


def test_every_rate_stands_there_as_it_is() -> None:
    rows = dict(re.findall(r"^\| `([a-z]+)` \| (\d+/\w+) \|", TEXT, re.M))
    assert rows == {field.name: getattr(Rules(), field.name) for field in fields(Rules)}


def test_every_metric_stands_there() -> None:
    assert metrics.HTTP
    ours = {family.name for family in REGISTRY.collect() if family.name.startswith("tmge_")}
    told = {name.removesuffix("_total") for name in re.findall(r"`(tmge_\w+)`", TEXT)}
    assert told == ours
