"""The flags of the agent: what they mean, and that wrong usage is one sentence and status 2."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from agent.settings import Settings, parse_settings


def test_no_flag_is_needed() -> None:
    assert parse_settings([], {}) == Settings()


def test_every_flag_is_understood() -> None:
    given = (
        "--port 5051 --peer-port 6000 --name بهار --rendezvous http://meet.test:8000/ --data /d "
        "--page-host 0.0.0.0 --allow-host Localhost:5001 --allow-host [::1]:5002 "
        "--allow-host localhost:5001 --no-browser --log-level debug "
        "--no-candidates 10.9.8.7/8,fd00::/8 --direct --no-lan"
    )
    assert parse_settings(given.split(), {}) == Settings(
        page_port=5051,
        peer_port=6000,
        name="بهار",
        rendezvous="http://meet.test:8000",
        rendezvous_given=True,
        data=Path("/d"),
        page_host="0.0.0.0",
        allow_hosts=("localhost:5001", "[::1]:5002"),
        open_browser=False,
        log_level="debug",
        no_candidates=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
        direct=True,
        lan=False,
    )


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://meet.test", "https://meet.test"),
        ("HTTP://Meet.Test:80/", "http://meet.test:80"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_a_rendezvous_address_is_understood(text: str, meant: str) -> None:
    assert parse_settings(["--rendezvous", text], {}).rendezvous == meant
    assert parse_settings([], {"TMGE_RENDEZVOUS": text}).rendezvous == meant


def test_the_flag_counts_before_the_environment() -> None:
    elsewhere = {"TMGE_RENDEZVOUS": "not an address"}
    assert parse_settings(["--rendezvous", "http://a"], elsewhere).rendezvous == "http://a"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *[("--port", text) for text in ("0", "65536", "-1", "x", "", "5e3", "٣", "1" * 5000)],
        ("--peer-port", "70000"),
        *[
            ("--rendezvous", text)
            for text in (
                "",
                "meet.test:8000",
                "ftp://meet.test",
                "http://",
                "http://:8000",
                "http://a:b",
                "http://a:0",
                "http://a:99999",
                "http://a/path",
                "http://a?x=1",
                "http://a#x",
                "http://user@a",
                "http://[::1",
                "http://a b",
                "http://a\n",
                "http://a\r\nX: y",
            )
        ],
        ("--name", " "),
        ("--data", ""),
        ("--data", "a\0b"),
        ("--page-host", "localhost:5000"),
        ("--page-host", "evil.test"),
        *[("--allow-host", text) for text in ("a", "a:", ":1", "a:0", "a b:1", "http://a:1", "a/:1")],
        ("--log-level", "loud"),
        *[("--no-candidates", text) for text in ("", ",", "10.0.0.0/33", "10/8", "lan", "10.0.0.0/8,")],
        ("--no-such-flag", "x"),
        ("--por", "5050"),
    ],
)
def test_wrong_usage_is_one_sentence_and_status_2(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings([flag, value], {})
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.endswith(".)\n")
    assert flag in said.err


def test_wrong_usage_in_the_environment_names_the_variable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings([], {"TMGE_RENDEZVOUS": "nonsense"})
    assert ended.value.code == 2
    assert "TMGE_RENDEZVOUS" in capsys.readouterr().err


def test_one_port_cannot_be_both_the_page_and_the_peers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(["--port", "6000", "--peer-port", "6000"], {})
    assert ended.value.code == 2
    assert "must differ" in capsys.readouterr().err
