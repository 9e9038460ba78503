"""What the doctor says of real reports: paths, tries, both networks, and what would help."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agent.diagnosis import PATIENCE, network
from agent.doctor import Doctor, Here, There
from agent.forecast import Reach
from agent.protocol.candidates import Candidate, Filtering, Found, Mapping, Nat, PathKind
from agent.protocol.packet import Address
from agent.protocol.relays import RelayStatus
from agent.protocol.report import Outcome, Report, Tried

BOB = b"b" * 32
CONE = Reach(Nat(Mapping.INDEPENDENT, Filtering.PORT), True)
SYMMETRIC = Reach(Nat(Mapping.DEPENDENT, Filtering.PORT), True)
OPEN = Reach(Nat(Mapping.NONE, Filtering.OPEN), True)
BLOCKED = Reach(Nat(Mapping.BLOCKED), False)
OUTSIDE = ("203.0.113.9", 4001)
MINE = Here(CONE, (Candidate(Found.HOST, ("192.168.1.4", 5051)), Candidate(Found.REFLEXIVE, OUTSIDE)), port=5051)


def tried(found: Found, address: Address, outcome: str, rtt: float | None = None) -> Tried:
    return Tried(found, address, Outcome(outcome), rtt)


def told(kind: PathKind | None, address: Address | None = None, nat: Nat = CONE.nat, **more: Any) -> Report:
    """Report a path in use since second 960, with a round trip of 23.4 ms."""
    plain: dict[str, Any] = {
        "rtt": 0.0234,
        "loss": 0.0,
        "since": 960.0,
        "here": (),
        "there": (),
        "initiated_relayed": False,
    }
    return Report(kind=kind, address=address, nat=nat, **(plain | more))


BINDING = RelayStatus(
    BOB, PathKind.RELAY_UDP, ("198.51.100.7", 3478), 90_000_000, 0.03, bound=True, peer=True, trouble=""
)


@dataclass(slots=True)
class Stand:
    """A core and relays as they may stand, at second 1000 of the core's clock."""

    reports: dict[bytes, Report] = field(default_factory=dict)
    open: bool = True
    opening: bool = False
    bindings: tuple[RelayStatus, ...] = ()
    mine: Here = MINE

    def report(self, key: bytes) -> Report | None:
        return self.reports.get(key)

    def in_session(self, key: bytes) -> bool:
        return self.open

    def needs(self, key: bytes) -> bool:
        return self.opening

    def doctor(self) -> Doctor:
        return Doctor(self, lambda: self.bindings, lambda: self.mine, lambda: 1000.0)


def bob(reach: Reach = CONE, **more: bool) -> There:
    return replace(There("Bob", BOB, True, reach), **more)  # type: ignore[arg-type]


def test_before_the_first_attempt_there_is_a_forecast_and_nothing_else() -> None:
    said = Stand(open=False).doctor().examine(bob())
    because = "Both networks keep to one port, so that each side can open the way for the other."
    assert said["forecast"] == {"path": "direct", "because": because}
    assert (said["connection"], said["path"], said["tried"], said["relay"]) == ("none", None, [], None)
    assert said["mine"]["mapping"] == "independent"
    assert said["theirs"]["sentence"] == "A NAT that keeps one port for everybody, but lets in answers only."
    assert said["advice"] == "Nothing has to be done: a direct path is looked for as soon as there is a connection."


def test_someone_whose_agent_tells_nothing_has_no_network_to_show() -> None:
    assert Stand(open=False).doctor().examine(bob(Reach()))["theirs"] is None


def test_a_path_in_use_is_told_with_its_address_round_trip_loss_and_age() -> None:
    stand = Stand({BOB: told(PathKind.PUNCHED, OUTSIDE, loss=0.0123456)})
    said = stand.doctor().examine(bob())
    path = said["path"]
    assert {name: path[name] for name in ("kind", "address", "rtt", "loss")} == {
        "kind": "punched",
        "address": "203.0.113.9:4001",
        "rtt": 23,
        "loss": 0.0123,
    }
    assert time.time() - path["since"] == pytest.approx(40.0, abs=5.0)
    assert said["connection"] == "open"
    assert said["advice"] == "Nothing has to be done: the connection is direct."
    assert stand.doctor().beside(bob())["path"] == "punched"


def test_the_address_of_a_relay_is_no_address_of_the_peer() -> None:
    stand = Stand({BOB: told(PathKind.RELAY_UDP, ("relay-udp", 3))}, bindings=(BINDING,))
    said = stand.doctor().examine(bob(SYMMETRIC))
    assert "address" not in said["path"]
    known = {"kind": "relay-udp", "server": "198.51.100.7:3478", "left": 90_000_000, "rtt": 30}
    assert said["relay"] == {**known, "bound": True, "peer": True}


def test_a_relay_over_the_web_names_no_server_and_anothers_binding_is_not_shown() -> None:
    web = replace(BINDING, kind=PathKind.RELAY_WS, server=("websocket", 1))
    assert Stand(bindings=(web,)).doctor().examine(bob())["relay"]["server"] is None
    assert Stand(bindings=(replace(web, key=b"c" * 32),)).doctor().examine(bob())["relay"] is None
    broken = replace(web, bound=False, trouble="The relay does not answer.")
    assert Stand(bindings=(broken,)).doctor().examine(bob())["relay"]["trouble"] == "The relay does not answer."
    assert Stand(bindings=(broken, BINDING)).doctor().examine(bob())["relay"]["bound"]


def test_each_try_of_both_sides_is_a_sentence() -> None:
    here = (
        tried(Found.HOST, ("10.0.0.7", 4001), "unreachable"),
        tried(Found.REFLEXIVE, OUTSIDE, "no_answer"),
        tried(Found.MAPPED, ("203.0.113.9", 4002), "refused"),
        tried(Found.HOST, ("2001:db8::7", 4001), "answered", 0.0123),
        tried(Found.HOST, ("relay-udp", 3), "answered", 0.040),
    )
    there = (
        tried(Found.HOST, ("192.168.1.4", 5051), "wrong_key"),
        tried(Found.REFLEXIVE, ("198.51.100.2", 5051), "blocked"),
        tried(Found.REFLEXIVE, ("198.51.100.2", 5052), "trying"),
    )
    said = Stand({BOB: told(PathKind.RELAY_UDP, ("relay-udp", 3), here=here, there=there)}).doctor().examine(bob())
    assert [one["sentence"] for one in said["tried"]] == [
        "Your 192.168.1.4:5051 → their 10.0.0.7:4001: there is no way to it",
        "Your 192.168.1.4:5051 → their 203.0.113.9:4001, as seen from outside: no answer",
        "Your 192.168.1.4:5051 → their 203.0.113.9:4002, opened by the router: refused: nothing listens there",
        "You → their [2001:db8::7]:4001: answered in 12.3 ms",
        "You → the relay: answered in 40 ms",
        "Bob → your 192.168.1.4:5051: somebody else answers there",
        "Bob → your 198.51.100.2:5051, as seen from outside: a firewall on their machine forbids it",
        "Bob → your 198.51.100.2:5052, as seen from outside: being tried",
    ]
    assert [one["side"] for one in said["tried"]] == ["here"] * 5 + ["there"] * 3
    assert said["tried"][3]["rtt"] == 12.3
    assert "rtt" not in said["tried"][0]


def test_the_tries_of_a_session_that_ended_are_still_told_but_not_its_path() -> None:
    ended = told(PathKind.LAN, OUTSIDE, here=(tried(Found.HOST, OUTSIDE, "no_answer"),))
    said = Stand({BOB: ended}, open=False, opening=True).doctor().examine(bob())
    assert (said["path"], said["connection"], len(said["tried"])) == (None, "opening", 1)


def test_what_the_peer_itself_has_told_of_its_nat_counts_more_than_the_directory() -> None:
    report = told(PathKind.RELAY_UDP, nat=SYMMETRIC.nat)
    assert Stand({BOB: report}).doctor().examine(bob(Reach()))["theirs"]["mapping"] == "dependent"


def relayed(mine: Reach, theirs: Reach, age: float = 60.0, **more: object) -> str:
    report = told(PathKind.RELAY_UDP, ("relay-udp", 1), theirs.nat, since=1000.0 - age, **more)
    advice: str = Stand({BOB: report}, mine=Here(mine, port=5051)).doctor().examine(bob(theirs))["advice"]
    return advice


def test_the_advice_names_who_can_do_what() -> None:
    assert "Let UDP port 5051 through the firewall of your network" in relayed(BLOCKED, CONE)
    assert "Bob would have to let UDP through" in relayed(CONE, BLOCKED)
    assert "your router opens" in relayed(SYMMETRIC, CONE)
    assert "the router of Bob, or yours, opens" in relayed(CONE, SYMMETRIC)
    assert "one of your two routers opens" in relayed(SYMMETRIC, SYMMETRIC)
    assert "still being found out" in relayed(CONE, Reach())
    assert "Wait a moment" in relayed(CONE, CONE, age=PATIENCE / 2)
    assert "No direct address answered" in relayed(CONE, CONE)
    blocked = (tried(Found.HOST, OUTSIDE, "blocked"),)
    assert "A firewall on this machine" in relayed(CONE, CONE, here=blocked)
    assert "A firewall on the machine of Bob" in relayed(CONE, CONE, there=blocked)


def test_loss_on_the_way_is_what_a_direct_path_is_advised_about() -> None:
    said = Stand({BOB: told(PathKind.DIRECT, OUTSIDE, loss=0.08)}).doctor().examine(bob())
    assert said["advice"].startswith("8% of the packets are lost on the way")


def test_the_advice_for_who_cannot_be_reached_fits_the_reason() -> None:
    offline = Stand(open=False).doctor().examine(bob(online=False))
    assert offline["forecast"]["path"] == "unreachable"
    assert "Ask Bob to start their agent" in offline["advice"]
    alone = Stand(open=False, mine=Here(CONE, rendezvous=False, port=5051)).doctor().examine(bob())
    assert "whether the address of the rendezvous is right" in alone["advice"]
    broken = Stand(open=False, mine=Here(BLOCKED, relay=False, port=5051)).doctor().examine(bob())
    assert "can repair its relay" in broken["advice"]
    stranger = Stand(open=False, mine=replace(MINE, relay=False)).doctor().examine(bob(stranger=True, direct=True))
    assert stranger["advice"] == "Whoever runs the rendezvous can repair its relay."
    both = Stand(open=False, mine=replace(MINE, relay=False, direct=True))
    assert both.doctor().examine(bob(stranger=True, direct=True))["forecast"]["path"] == "direct"
    keyless = Stand(open=False).doctor().examine(replace(bob(), key=None))
    assert "without a key" in keyless["forecast"]["because"]
    assert "makes a key" in keyless["advice"]


@pytest.mark.parametrize(
    ("reach", "words"),
    [
        (BLOCKED, "No UDP comes through."),
        (OPEN, "No address translation, and everybody is let in."),
        (
            Reach(Nat(Mapping.NONE, Filtering.PORT), True, ipv6=True),
            "but answers alone are let in. IPv6 works.",
        ),
        (Reach(Nat(Mapping.INDEPENDENT, Filtering.OPEN), True), "and lets them in."),
        (replace(SYMMETRIC, mapped=True), "(symmetric). The router has opened a port."),
        (Reach(udp=True), "UDP comes through; how it is translated is not known yet."),
        (Reach(), "Not known yet."),
    ],
)
def test_a_network_is_told_in_plain_words(reach: Reach, words: str) -> None:
    assert words in network(reach)


def test_an_address_that_every_machine_has_is_told_only_where_it_answered() -> None:
    own = [
        tried(Found.HOST, (host, 4001), outcome) for host in ("127.0.0.1", "::1") for outcome in ("refused", "answered")
    ]
    ours = (*MINE.candidates, Candidate(Found.HOST, ("127.0.0.1", 5051)))
    stand = Stand({BOB: told(PathKind.RELAY_UDP, here=tuple(own))}, mine=replace(MINE, candidates=ours))
    assert [one["sentence"] for one in stand.doctor().examine(bob())["tried"]] == [
        "Your 192.168.1.4:5051 → their 127.0.0.1:4001: answered",
        "You → their [::1]:4001: answered",
    ]
    assert [one["address"] for one in stand.doctor().mine()["candidates"]] == ["192.168.1.4:5051", "203.0.113.9:4001"]


def test_my_own_situation_is_told_with_addresses_servers_and_relays() -> None:
    stun = ({"server": "198.51.100.7:3478", "address": "203.0.113.9:4001"},)
    mine = Stand(bindings=(BINDING,), mine=replace(MINE, stun=stun)).doctor().mine()
    assert mine["nat"]["sentence"] == "A NAT that keeps one port for everybody, but lets in answers only."
    assert mine["candidates"][1] == {"found": "reflexive", "address": "203.0.113.9:4001"}
    assert mine["stun"] == list(stun)
    assert mine["notes"] == []
    assert mine["relays"][0]["left"] == 90_000_000
