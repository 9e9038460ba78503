"""Two people behind NATs find the best path between them: direct wherever that is possible, else over the relay."""

from itertools import combinations_with_replacement

import pytest

from agent.protocol.candidates import PathKind
from agent.protocol.report import Outcome
from agent.protocol.request import Kind, Phase
from tests.support.meeting import (
    ADDRESS_RESTRICTED,
    BLOCKED,
    DOUBLE,
    FULL_CONE,
    IPV6,
    NONE,
    PORT_RESTRICTED,
    SYMMETRIC,
    Front,
    Meeting,
)

NAMES = {
    "none": NONE,
    "full cone": FULL_CONE,
    "address-restricted": ADDRESS_RESTRICTED,
    "port-restricted": PORT_RESTRICTED,
    "symmetric": SYMMETRIC,
    "double": DOUBLE,
    "blocked": BLOCKED,
}
RELAYED = [{"port-restricted", "symmetric"}, {"symmetric"}, {"symmetric", "double"}]
CELLS = list(combinations_with_replacement(NAMES, 2))


def expected(one: str, other: str) -> PathKind:
    if {one, other} in RELAYED or "blocked" in (one, other):
        return PathKind.RELAY_UDP
    return PathKind.DIRECT if "none" in (one, other) else PathKind.PUNCHED


@pytest.mark.parametrize(("one", "other"), CELLS + [(b, a) for a, b in CELLS if a != b])
def test_every_pair_ends_on_the_best_path_that_there_is(one: str, other: str) -> None:
    relay = ("relay-ws" if "blocked" in (one, other) else "relay-udp", 1)
    meeting = Meeting(NAMES[one], NAMES[other], relay=relay).start()
    meeting.connect()
    kind = expected(one, other)
    if kind.relayed:
        meeting.net.run_for(20)
        assert {found and found.relayed for found in meeting.kinds()} == {True}
    else:
        assert meeting.until(kind, seconds=2.0), meeting.kinds()
        meeting.net.run_for(20)
        assert meeting.kinds() == (kind, kind)
        assert [len(meeting.changes(person)) for person in (meeting.alice, meeting.bob)] == [1, 1]


@pytest.mark.parametrize("hairpin", [True, False])
@pytest.mark.parametrize("name", ["full cone", "port-restricted", "symmetric", "double"])
def test_neighbours_behind_one_nat_meet_in_their_lan(name: str, hairpin: bool) -> None:
    front = NAMES[name]
    front = Front(front.filters, front.symmetric, front.carrier, hairpin=hairpin)
    meeting = Meeting(front, together=True).start()
    meeting.connect()
    assert meeting.until(PathKind.LAN)


def test_with_ipv6_on_both_sides_nothing_is_in_the_way() -> None:
    meeting = Meeting(IPV6, IPV6).start()
    meeting.connect()
    assert meeting.until(PathKind.DIRECT, seconds=1.0)
    assert {meeting.report(person).address for person in (meeting.alice, meeting.bob)} == {
        side.address for side in meeting.sides
    }


def test_a_port_that_a_router_has_opened_is_used_where_nothing_else_gets_through() -> None:
    meeting = Meeting(SYMMETRIC, SYMMETRIC)
    side = meeting.sides[0]
    side.mapped = side.nats[0].open_port(side.address)
    meeting.start()
    meeting.connect()
    assert meeting.until(PathKind.MAPPED)


def test_both_sides_know_what_both_have_tried() -> None:
    meeting = Meeting(PORT_RESTRICTED, SYMMETRIC).start()
    meeting.connect()
    meeting.net.run_for(10)
    reports = [meeting.report(meeting.alice), meeting.report(meeting.bob)]
    for report, other, side in zip(reports, reports[::-1], meeting.sides[::-1], strict=True):
        assert report.initiated_relayed
        assert report.nat == side.behaviour()
        assert {tried.address for tried in report.here} >= {candidate.address for candidate in side.candidates()[:1]}
        assert {tried.outcome for tried in report.here} == {Outcome.NO_ANSWER}
        assert report.there == other.here


def test_contacts_who_meet_at_a_remembered_address_need_no_relay_and_know_the_kind() -> None:
    meeting = Meeting(NONE, FULL_CONE, connected=True)
    for side in meeting.sides:
        side.gather()
    meeting.bob.core.meet(meeting.alice.card.key, [meeting.sides[0].address])
    meeting.alice.says = lambda asked: False
    id = meeting.bob.ask(Kind.QUOTE, meeting.alice)
    assert meeting.net.run_until(lambda: meeting.bob.phase(id) is Phase.REJECTED, 1.0)
    assert meeting.until(PathKind.DIRECT)
    assert not meeting.report(meeting.bob).initiated_relayed
