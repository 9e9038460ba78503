"""Everything that stands between two cores: NATs, a real relay and STUN server, fronts; and what may go wrong."""

from collections.abc import Callable

import pytest

from agent.protocol.candidates import PathKind
from tests.support.meeting import NONE, PORT_RESTRICTED, SYMMETRIC, Front
from tests.support.nats import Filters, Nat
from tests.support.reachable import RELAY, STUN
from tests.support.whole import Whole

SIZE, RATE = 400_000, 2e5  # two seconds


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (PORT_RESTRICTED, PORT_RESTRICTED, PathKind.PUNCHED),
        (NONE, SYMMETRIC, PathKind.DIRECT),
        (SYMMETRIC, SYMMETRIC, PathKind.RELAY_UDP),
        (PORT_RESTRICTED, SYMMETRIC, PathKind.RELAY_UDP),
    ],
    ids=["port-restricted", "none, symmetric", "symmetric", "port-restricted, symmetric"],
)
def test_strangers_meet_through_the_relay_and_go_on_directly_where_that_is_possible(
    one: Front, other: Front, kind: PathKind
) -> None:
    whole = Whole(one, other).start()
    began = whole.connect()
    addresses = {side.address for side in whole.sides}
    before = [sent for sent in whole.net.sent if sent.source in addresses and sent.time < began - 0.1]
    assert {sent.destination for sent in before} <= {RELAY, STUN, (STUN[0], 3479)}
    assert whole.until(kind, seconds=2.0)
    whole.net.run_for(10.0)
    assert whole.kinds() == (kind, kind)


def flush(whole: Whole) -> None:
    for side in whole.sides:
        for nat in side.nats:
            nat.flush()


def flush_one(whole: Whole) -> None:
    for nat in whole.sides[0].nats:
        nat.flush()


def restart(whole: Whole) -> None:
    whole.server.restart()


def move(whole: Whole) -> None:
    cafe = whole.net.lan(Nat("203.0.113.77", Filters.PORT))
    whole.move(whole.sides[0], ("192.168.77.2", 4001), cafe)


def time_of(front: Front, happens: Callable[[Whole], None] | None) -> float:
    """Return the seconds that a picture takes in which something happens."""
    whole = Whole(front, front, rate=RATE).start()
    whole.connect()
    whole.net.run_for(3.0)
    began = whole.net.now
    id = whole.fetch(SIZE)
    whole.net.run_for(0.7)
    if happens is not None:
        happens(whole)
    assert whole.done(id)
    took = whole.net.now - began
    whole.net.run_for(20.0)
    assert whole.kinds() == ((PathKind.RELAY_UDP,) * 2 if front is SYMMETRIC else (PathKind.PUNCHED,) * 2)
    return took


@pytest.mark.parametrize("front", [PORT_RESTRICTED, SYMMETRIC], ids=["punched", "relayed"])
@pytest.mark.parametrize(
    ("happens", "most"),
    [(restart, 3.0), (flush_one, 3.0), (flush, 3.0), (move, 5.0)],
    ids=["the relay forgets", "a NAT forgets", "both NATs forget", "another network"],
)
def test_a_transfer_goes_on_after_a_fault_with_little_time_lost_and_back_to_the_best_path(
    front: Front, happens: Callable[[Whole], None], most: float
) -> None:
    assert time_of(front, happens) - time_of(front, None) < most
