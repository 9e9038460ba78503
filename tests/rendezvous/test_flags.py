"""The flags: their defaults, and one sentence for each wrong use."""

from pathlib import Path

import pytest

from rendezvous.flags import Flags, parse


@pytest.fixture(autouse=True)
def no_redis_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMGE_REDIS", raising=False)


def test_without_flags_it_is_a_rendezvous_for_this_machine() -> None:
    flags = parse([])
    assert flags == Flags(8000, "127.0.0.1", None, None, None, None, 1, "warning", None)
    assert flags.data_for(8000) != flags.data_for(8001)


def test_the_environment_names_the_store_and_a_flag_overrides_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMGE_REDIS", "redis://one")
    assert parse([]).redis == "redis://one"
    assert parse(["--redis", "redis://two"]).redis == "redis://two"
    monkeypatch.setenv("TMGE_REDIS", "")
    assert parse([]).redis is None


def test_a_data_folder_that_is_named_is_used() -> None:
    assert parse(["--data", "x"]).data_for(8000) == Path("x")


@pytest.mark.parametrize(
    "flags",
    [
        ["--port", "65536"],
        ["--port", "-1"],
        ["--port", "x"],
        ["--port", "٣"],
        ["--udp-port", "9" * 99],
        ["--processes", "0"],
        ["--processes", "65"],
        ["--log-level", "loud"],
        ["--nonsense"],
        ["--por", "1"],
        ["extra"],
        ["--port"],
    ],
)
def test_wrong_usage_is_one_sentence_and_status_2(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(flags)
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("rendezvous: ")
    assert said.err.count("\n") == 1
