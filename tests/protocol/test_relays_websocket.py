"""The client of the relays where UDP does not get through: over the WebSocket of the rendezvous, and back."""

import pytest

from agent.protocol.candidates import PathKind
from agent.protocol.reach_events import RelayBound
from tests.support.network import Link
from tests.support.reachable import ALICE, RELAY, WEBSOCKET, World


class Blocked(World):
    """Alice's UDP does not get through; her WebSocket does."""

    def __init__(self, down: bool = True) -> None:
        super().__init__()
        self.websocket = self.relay.serve_websockets(ALICE)
        self.set_udp(not down)

    @property
    def udp(self) -> list[Link]:
        return self.links[:2]

    def set_udp(self, works: bool) -> None:
        for link in self.udp:
            link.path.down = not works

    @property
    def kinds(self) -> list[PathKind]:
        return [event.kind for event in self.alice.host.events if isinstance(event, RelayBound)]

    def break_websocket(self) -> None:
        """Let Alice's agent notice that the connection is gone."""
        self.alice.front.unsendable((WEBSOCKET[0], 1), "refused", self.network.now)
        self.alice.host.wake()


def test_where_udp_is_silent_the_websocket_carries_it_within_a_second() -> None:
    world = Blocked()
    world.bind(RELAY, WEBSOCKET)
    assert world.until_bound(1.0)
    assert world.network.now > 0.7
    assert world.kinds == [PathKind.RELAY_WS]
    assert world.alice.route(world.bob) == ("relay-ws", 1)
    assert world.bob.route(world.alice) == ("relay-udp", 1)
    world.alice.send(world.bob, bytes(3600), 1200)
    world.bob.send(world.alice, b"\xe4 answer")
    world.network.run_for(0.2)
    assert [len(data) for _, data in world.bob.core.texts] == [1200] * 3
    assert world.alice.core.texts == [(("relay-ws", 1), b"\xe4 answer")]


def test_where_it_is_known_that_udp_is_blocked_nothing_is_waited_for() -> None:
    world = Blocked()
    world.bind(RELAY, WEBSOCKET)
    world.alice.front.unsendable(RELAY, "blocked", world.network.now)
    world.alice.host.wake()
    assert world.until_bound(0.2)


def test_where_udp_works_the_websocket_is_not_used() -> None:
    world = Blocked(down=False)
    world.bind(RELAY, WEBSOCKET)
    world.network.run_for(120.0)
    assert world.kinds == [PathKind.RELAY_UDP]
    assert world.websocket[0].counters.packets == 0


def test_without_a_relay_over_udp_the_websocket_is_used_at_once() -> None:
    world = Blocked()
    world.alice.relay(world.bob, world.relay.tickets()["alice"], WEBSOCKET)
    world.network.run_for(0.15)
    assert world.kinds == [PathKind.RELAY_WS]


def test_udp_is_used_again_when_it_works_and_nothing_is_lost_meanwhile() -> None:
    world = Blocked()
    for agent, peer in ((world.alice, world.bob), (world.bob, world.alice)):
        agent.core.sessions.add(peer.key)
    world.bind(RELAY, WEBSOCKET)
    assert world.until_bound()
    world.set_udp(True)
    sent = 0
    while world.kinds[-1] is not PathKind.RELAY_UDP:
        world.alice.send(world.bob, b"\xe4 there")
        world.bob.send(world.alice, b"\xe4 back")
        sent += 1
        world.network.run_for(0.1)
        assert world.network.now < 70.0
    assert set(world.alice.core.routes[world.bob.key]) == {("relay-ws", 1), ("relay-udp", 1)}
    for _ in range(10):  # what goes to the old address still arrives
        world.alice.core.routes[world.bob.key].sort(reverse=True)
        world.alice.send(world.bob, b"\xe4 there")
        world.bob.send(world.alice, b"\xe4 back")
        world.network.run_for(0.1)
    assert len(world.bob.core.texts) == sent + 10
    assert len(world.alice.core.texts) == sent + 10
    world.network.run_for(10.0)
    assert world.alice.core.routes == {world.bob.key: [("relay-udp", 1)]}
    assert world.alice.lost == []


def test_udp_that_stops_while_in_use_is_replaced_within_three_seconds() -> None:
    world = Blocked(down=False)
    world.bind(RELAY, WEBSOCKET)
    assert world.until_bound()
    assert world.reaches()
    began = world.network.now
    world.set_udp(False)
    assert world.reaches()
    assert world.network.now - began < 3.0
    assert world.alice.lost == []


def test_a_websocket_that_broke_is_bound_again_at_once() -> None:
    world = Blocked()
    world.bind(RELAY, WEBSOCKET)
    assert world.until_bound()
    world.break_websocket()
    world.relay.restart()
    began = world.network.now
    assert world.reaches()
    assert world.network.now - began < 1.5


@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_a_websocket_that_cannot_be_opened_is_not_tried_all_the_time(pause: float) -> None:
    world = Blocked()
    for link in world.websocket:
        link.path.down = True
    world.alice.core.sessions.add(world.bob.key)
    world.alice.relay(world.bob, world.relay.tickets()["alice"], RELAY, WEBSOCKET)
    while world.network.now < 300.0:
        before = world.websocket[0].counters.packets
        world.network.run_until(
            lambda before=before: world.websocket[0].counters.packets > before,  # type: ignore[misc]
            300.0,
        )
        world.network.run_for(pause)
        world.break_websocket()
    assert world.alice.lost == ["The relay does not answer."]
    assert world.websocket[0].counters.packets < 40
    for link in world.websocket:
        link.path.down = False
    world.network.run_for(130.0)
    assert world.kinds == [PathKind.RELAY_WS]
