"""What `agent doctor` prints of the values of the local contract."""

import time
from typing import Any

import pytest

from agent.doctor_command import clock_ahead, clock_text, is_well, lines_about, own_lines, relay_text

NAT = {"mapping": "independent", "udp": True, "sentence": "A NAT that keeps one port for everybody, and lets them in."}
RELAY = {"kind": "relay-udp", "server": "198.51.100.7:3478", "left": 90_000_000, "rtt": 31, "bound": True}
FORECAST = {"path": "relayed", "because": "The network of Bob lets no UDP through, which a direct path needs."}


def state(**reach: Any) -> dict[str, Any]:
    known = {
        "rendezvous": "up",
        "message": "",
        "peer_port": 4001,
        "nat": NAT,
        "candidates": [],
        "stun": [],
        "relays": [],
    }
    people = [{"name": "Bob", "path": "punched"}, {"name": "Dora", "path": None}]
    settings = {"rendezvous": "http://127.0.0.1:8000"}
    return {"me": {"name": "Alice"}, "settings": settings, "people": people, "reachability": known | reach}


def about(**more: Any) -> dict[str, Any]:
    known = {"forecast": FORECAST, "connection": "none", "mine": NAT, "theirs": None, "path": None, "relay": None}
    return {**known, "tried": [], "advice": "Use another network.", **more}


def test_this_machine_is_told_line_by_line() -> None:
    candidates = [{"found": "host", "address": "10.0.0.4:4001"}, {"found": "mapped", "address": "203.0.113.9:6000"}]
    stun = [{"server": "198.51.100.7:3478", "address": "203.0.113.9:4001"}]
    assert list(own_lines(state(candidates=candidates, stun=stun, relays=[RELAY]), 0.0)) == [
        "You             Alice",
        "Rendezvous      http://127.0.0.1:8000, reached",
        "UDP             comes through (port 4001)",
        "Network         A NAT that keeps one port for everybody, and lets them in.",
        "Addresses       10.0.0.4:4001                of this machine",
        "                203.0.113.9:6000             opened by the router",
        "Router port     203.0.113.9:6000",
        "STUN            198.51.100.7:3478 saw 203.0.113.9:4001",
        "Relays          198.51.100.7:3478 over UDP, 31 ms, 90.0 MB left",
        "Clock           agrees with that of the rendezvous",
        "Connected       Bob directly, through holes punched in both networks",
    ]


def test_an_agent_that_knows_little_says_so() -> None:
    bare = state(rendezvous="down", message="The rendezvous does not answer.")
    del bare["reachability"]["nat"]
    lines = "\n".join(own_lines({**bare, "me": {"name": None}, "people": []}, None))
    for text in ("not signed up", "The rendezvous does not answer.", "not known yet (port 4001)", "not compared yet"):
        assert text in lines


def test_a_router_that_opens_nothing_has_its_reason_told() -> None:
    lines = list(own_lines(state(notes=["The router at 192.168.1.1 answers neither PCP nor UPnP."]), None))
    assert "Router port     The router at 192.168.1.1 answers neither PCP nor UPnP." in lines


def test_it_is_well_only_with_a_name_a_rendezvous_and_a_clock_that_is_believed() -> None:
    assert is_well(state(), 30.0)
    assert is_well(state(), None)
    assert not is_well(state(), -700.0)
    assert not is_well(state(rendezvous="down"), 0.0)
    assert not is_well({**state(), "me": {"name": None}}, 0.0)


@pytest.mark.parametrize(
    ("ahead", "text"),
    [
        (None, "not compared yet"),
        (-12.0, "agrees with that of the rendezvous"),
        (200.0, "3 min ahead of that of the rendezvous: set it right"),
        (-720.0, "12 min behind that of the rendezvous: set it right, or it refuses you"),
    ],
)
def test_a_wrong_clock_is_told(ahead: float | None, text: str) -> None:
    assert clock_text(ahead) == text


def test_a_rendezvous_that_is_not_there_compares_no_clock() -> None:
    assert clock_ahead("http://127.0.0.1:1") is None


def test_before_a_connection_the_forecast_and_the_advice_come_first() -> None:
    assert list(lines_about("Bob", about())) == [
        "Bob             not connected now; will be relayed",
        "Why             The network of Bob lets no UDP through, which a direct path needs.",
        "Advice          Use another network.",
        "Your network    A NAT that keeps one port for everybody, and lets them in.",
        "Their network   Their agent has not told.",
    ]


def test_a_connection_is_told_with_its_path_and_what_was_tried() -> None:
    path = {"kind": "punched", "address": "203.0.113.9:4001", "rtt": 23.4, "loss": 0.012, "since": time.time() - 7300}
    tried = [
        {"side": "here", "outcome": "answered", "sentence": "You → their 203.0.113.9:4001: answered in 23 ms"},
        {"side": "there", "outcome": "no_answer", "sentence": "Bob → your 10.0.0.4:4001: no answer"},
    ]
    lines = list(lines_about("Bob", about(path=path, connection="open", tried=tried, relay=RELAY, theirs=NAT)))
    assert lines[0] == "Bob             directly, through holes punched in both networks"
    assert "Path            23.4 ms round trip, 1.2% lost, for 2 h" in lines
    assert "Their address   203.0.113.9:4001" in lines
    assert not [line for line in lines if line.startswith("Why")]
    assert lines[-6:] == [
        "",
        "Tried from here",
        "  + You → their 203.0.113.9:4001: answered in 23 ms",
        "",
        "Tried by Bob",
        "  - Bob → your 10.0.0.4:4001: no answer",
    ]


def test_a_relay_is_told_as_it_is_used() -> None:
    web = {**RELAY, "kind": "relay-ws", "server": None, "rtt": None}
    assert relay_text(web) == "the rendezvous over the web, 90.0 MB left"
    assert relay_text({**RELAY, "bound": False, "trouble": "It refuses."}) == "198.51.100.7:3478 over UDP: It refuses."
