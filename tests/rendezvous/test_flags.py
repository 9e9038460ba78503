"""The flags: their defaults, and one sentence for each wrong use."""

import os
from ipaddress import ip_network
from pathlib import Path

import pytest

from rendezvous.flags import for_workers, parse
from rendezvous.limits import Rules
from rendezvous.relay_budget import Rules as Budgets


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TMGE_")]:
        monkeypatch.delenv(name)


def test_without_flags_it_is_a_rendezvous_for_this_machine() -> None:
    flags = parse([])
    assert (flags.port, flags.host, flags.processes, flags.log_level) == (8000, "127.0.0.1", 1, "warning")
    assert (flags.udp_port, flags.udp_port_2, flags.redis, flags.data, flags.leash) == (None,) * 5
    assert flags.trusted_proxy == ()
    assert flags.limit == Rules()
    assert flags.data_for(8000) != flags.data_for(8001)


def test_the_environment_names_the_store_and_a_flag_overrides_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMGE_REDIS", "redis://one")
    assert parse([]).redis == "redis://one"
    assert parse(["--redis", "redis://two"]).redis == "redis://two"
    monkeypatch.setenv("TMGE_REDIS", "")
    assert parse([]).redis is None


def test_every_flag_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMGE_PORT", "9")
    monkeypatch.setenv("TMGE_LIMIT", "signup=5/minute, all=off, lookup=9/second")
    monkeypatch.setenv("TMGE_TRUSTED_PROXY", "10.0.0.0/8, ::1")
    flags = parse([])
    assert flags.port == 9
    assert (flags.limit.signup, flags.limit.search, flags.limit.lookup) == ("off", "off", "9/second")
    assert flags.trusted_proxy == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert parse(["--port", "10"]).port == 10


@pytest.mark.parametrize(("name", "value"), [("TMGE_PORT", "x"), ("TMGE_LOG_LEVEL", "loud"), ("TMGE_LIMIT", "a=b")])
def test_what_is_wrong_in_the_environment_is_wrong_usage(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        parse([])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_workers_are_told_in_their_environment_what_was_asked_for() -> None:
    given = for_workers(["--limit", "lookup=5/minute", "--log-level=debug"])
    assert given == {"TMGE_LIMIT": "lookup=5/minute", "TMGE_LOG_LEVEL": "debug"}


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
        ["--max-connections", "0"],
        ["--trusted-proxy", "10.0.0.1/8"],
        ["--trusted-proxy", "everybody"],
        ["--limit", "lookup"],
        ["--limit", "lookup=5"],
        ["--limit", "lookups=5/minute"],
        ["--limit", "lookup=many/minute"],
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


def test_bytes_may_be_written_short() -> None:
    flags = parse(["--relay-rate", "2M", "--relay-ticket-bytes", "5000", "--relay-person-bytes", "1g"])
    assert (flags.relay_rate, flags.relay_ticket_bytes, flags.relay_person_bytes) == (2 << 20, 5000, 1 << 30)
    assert (flags.budgets.ticket_rate, flags.budgets.person_rate) == (2 << 20, 4 << 20)
    assert parse([]).budgets == Budgets()
    assert parse(["--no-relay"]).no_relay
    assert not parse([]).no_relay


@pytest.mark.parametrize("text", ["", "M", "-1", "0", "1.5M", "8X", "9" * 20, "٣"])
def test_what_is_no_number_of_bytes_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--relay-rate", text])
    assert caught.value.code == 2
    assert "number of bytes" in capsys.readouterr().err
