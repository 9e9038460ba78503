"""Two people behind NATs find the best path between them: direct wherever that is possible, else over the relay."""

from itertools import combinations_with_replacement

import pytest

from agent.protocol.candidates import PathKind
from tests.support.meeting import (
    ADDRESS_RESTRICTED,
    BLOCKED,
    DOUBLE,
    FULL_CONE,
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
