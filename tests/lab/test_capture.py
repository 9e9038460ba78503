"""Who asks a stranger for a connection, and who is asked, learn each other's address only after the yes: read from
what their machines sent and received, packet by packet.
"""

import threading

import pytest

from tests.lab.capture import Capture
from tests.lab.crew import Crew, wait_for
from tests.lab.routers import Behind
from tests.lab.spaces import why_not
from tests.lab.topology import Cell, Machine, Side, Topology

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
LISTENS = 1.0
"""Seconds for which nobody answers: whatever would be sent by itself is sent by then."""


def addresses_of(machine: Machine) -> list[str]:
    """Return all addresses under which others could know a machine."""
    return [address for address in (machine.address, machine.public, machine.address_6) if address is not None]


@pytest.mark.parametrize("behind", [Behind.FULL_CONE, Behind.NONE])
def test_neither_side_of_a_question_sees_the_others_address_before_the_yes(behind: Behind) -> None:
    cell = Cell(Side(Behind.PORT, ipv6=True), Side(behind, ipv6=True))
    with Topology(cell) as topology, Crew(topology) as crew:
        a, b = crew.a, crew.b
        crew.settle()
        with Capture(a.machine) as at_a, Capture(b.machine) as at_b:
            views = ((at_a, addresses_of(b.machine)), (at_b, addresses_of(a.machine)))
            request = a.client.ask("connect_to", b.name)
            b.client.until_phase(request, "waiting")
            threading.Event().wait(LISTENS)
            for seen, others in views:
                assert seen.packets
                assert not [packet.data for packet in seen.naming(*others)]

            b.client.accept(request)
            for person in (a, b):
                person.client.until_phase(request, "done")
            for seen, others in views:
                wait_for("packets that come from the other", lambda: seen.naming(*others))  # noqa: B023
