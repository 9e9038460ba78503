"""Alice and Bob with all that stands in front of a core: fronts, a relay, a STUN server, NATs."""

from dataclasses import replace
from typing import Any

from agent.protocol.candidates import Candidate, Found
from agent.protocol.front import Front
from agent.protocol.packet import Address, Datagrams
from agent.protocol.reach_events import Reflexive
from agent.protocol.request import Kind, Phase
from tests.support.handshakes import ALICE, BOB
from tests.support.meeting import Meeting, Side
from tests.support.nats import Lan
from tests.support.network import Host
from tests.support.pair import Person, picture
from tests.support.reachable import RELAY, RelayHost, StunHost
from tests.support.relayed import secret_of, sign


class Reached(Person):
    """A person whose core has its front, and is told what STUN finds."""

    def _new_host(self, **host: Any) -> Host:
        self.front = Front(self.core, self.network.random.randbytes)
        return Host(self.network, self.where, self.front, on_event=self._on_event, datagrams=Datagrams, **host)

    def _on_event(self, event: Any) -> None:
        if isinstance(event, Reflexive):
            seen = [Candidate(Found.REFLEXIVE, address) for address in event.addresses if address != self.where]
            self.core.set_candidates([Candidate(Found.HOST, self.where), *seen], event.nat, self.network.now)
        super()._on_event(event)


class Whole(Meeting):
    """A meeting with servers; `start` gives both a ticket and the STUN server."""

    person = Reached

    def __init__(self, *sides: Any, **more: Any) -> None:
        super().__init__(*sides, **more)
        self.net.settle(RELAY[0])
        free: dict[str, Any] = {"ticket_rate": 1e9, "ticket_burst": 1e8, "person_rate": 1e9, "person_burst": 1e8}
        self.server, self.stun = RelayHost(self.net, **free), StunHost(self.net)

    def start(self) -> "Whole":
        """Let both know the servers, and bind."""
        tickets = self.server.tickets()
        for side, other in (self.sides, self.sides[::-1]):
            front, now = front_of(side), self.net.now
            ticket = sign(replace(tickets[side.person.name], asker=ALICE.key, other=BOB.key))
            front.hosts([side.address])
            front.learn([self.stun.server], now)
            front.relay(other.person.card.key, ticket, secret_of(ticket), [RELAY], now)
            side.person.host.wake()
        return self

    def fetch(self, size: int) -> bytes:
        """Have Alice ask for a picture that Bob gives; return the request."""
        self.bob.says = lambda asked: picture(size)
        id = self.alice.ask(Kind.IMAGE, self.bob)
        assert self.net.run_until(lambda: self.alice.phase(id) is Phase.TRANSFERRING, self.net.now + 10)
        return id

    def done(self, id: bytes, seconds: float = 60.0) -> bool:
        """Run until a request is done on both sides."""
        people = (self.alice, self.bob)
        return self.net.run_until(
            lambda: all(person.phase(id) is Phase.DONE for person in people), self.net.now + seconds
        )

    def move(self, side: Side, address: Address, lan: Lan | None = None) -> None:
        """Carry a machine into another network; its agent notices that."""
        self.net.move(side.person.host, address, lan)
        side.address = side.person.where = address
        side.lan = lan or self.net.public
        front = front_of(side)
        front.hosts([address])
        front.relearn(self.net.now)
        side.person.core.network_changed(self.net.now)
        side.person.host.wake()


def front_of(side: Side) -> Front:
    """Return what stands in front of somebody's core."""
    assert isinstance(side.person, Reached)
    return side.person.front
