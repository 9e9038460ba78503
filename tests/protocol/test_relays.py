"""The client of the relays, against the rendezvous' own relay in the simulated network."""

from random import Random
from typing import Any

import pytest

from agent.protocol.candidates import PathKind
from agent.protocol.reach_events import RelayBound
from tests.support.reachable import RELAY, Agent, World
from tests.support.relayed import person


def test_both_bind_in_two_round_trips_and_datagrams_pass_unchanged() -> None:
    world = World(delay=0.02)
    world.bind()
    assert world.until_bound()
    assert world.network.now == pytest.approx(0.08, abs=0.03)
    alice, bob = world.alice, world.bob
    assert alice.route(bob) == ("relay-udp", 1)
    alice.send(bob, b"\xe4 sealed")
    world.network.run_for(0.1)
    assert bob.core.texts == [(("relay-udp", 1), b"\xe4 sealed")]
    bob.send(alice, b"\xe4 answer")
    world.network.run_for(0.1)
    assert alice.core.texts == [(("relay-udp", 1), b"\xe4 answer")]
    (told,) = [event for event in alice.host.events if isinstance(event, RelayBound)]
    assert (told.key, told.kind) == (bob.key, PathKind.RELAY_UDP)
    assert told.rtt == pytest.approx(0.04, abs=0.01)


@pytest.mark.parametrize("size", [1200, 1452, 100, 10])
def test_a_batch_to_a_relayed_address_is_one_batch_that_arrives_whole(size: int) -> None:
    world = World()
    world.bind()
    assert world.until_bound()
    data = Random(size).randbytes(size * 43 + 7)
    world.alice.send(world.bob, data, size)
    before = world.alice.host.turns
    world.network.run_for(0.2)
    came = world.bob.core.texts
    assert b"".join(inner for _, inner in came) == data
    assert {len(inner) for _, inner in came} == {size, 7}
    assert len(world.bob.core.came) <= 2
    assert world.alice.host.turns - before < 5


@pytest.mark.parametrize("seed", range(5))
def test_binding_gets_through_loss_duplicates_and_reordering(seed: int) -> None:
    world = World(seed, loss=0.25, duplicate=0.2, reorder=0.3, reorder_depth=3, jitter=0.03)
    world.bind()
    assert world.until_bound(20.0)
    assert world.reaches()
    assert all(len(routes) == 1 for agent in (world.alice, world.bob) for routes in agent.core.routes.values())


def test_a_relay_that_was_started_anew_is_bound_again_within_a_second_and_a_half_while_in_use() -> None:
    for delay in (0.002, 0.05):
        world = World(delay=delay)
        world.bind()
        assert world.until_bound()
        assert world.reaches()
        world.relay.restart()
        began = world.network.now
        assert world.reaches()
        assert world.network.now - began < 1.5
        assert not world.alice.lost
        assert not world.bob.lost


def test_a_relay_that_was_started_anew_is_bound_again_by_those_who_are_silent() -> None:
    world = World()
    world.alice.core.sessions.add(world.bob.key)
    world.bob.core.sessions.add(world.alice.key)
    world.bind()
    assert world.until_bound()
    world.network.run_for(20.0)
    world.relay.restart()
    world.network.run_for(50.0)
    assert len(world.relay.bench.relay) == 2
    assert world.reaches(0.2)


def test_who_has_another_address_is_at_it_at_once_and_told_to_nobody() -> None:
    world = World()
    world.bind()
    assert world.until_bound()
    world.network.rebind(world.alice.at, ("10.0.0.1", 5555))
    world.alice.front.relearn(world.network.now)
    world.alice.host.wake()
    world.network.run_for(0.1)
    world.bob.send(world.alice, b"\xe4 still here?")
    world.network.run_for(0.1)
    assert world.alice.core.texts == [(("relay-udp", 1), b"\xe4 still here?")]


def test_a_mapping_that_was_flushed_is_noticed_while_in_use() -> None:
    world = World()
    world.bind()
    assert world.until_bound()
    assert world.reaches()
    began = world.network.now
    world.network.rebind(world.bob.at, ("10.0.0.2", 5555))
    assert world.reaches()
    assert world.network.now - began < 1.5


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ({"seconds": 0}, "expired"),
        ({"place": "other.example:3478"}, "another address"),
        ({"budget": 0}, "as much between you two"),
    ],
    ids=["expired", "for another relay", "used up"],
)
def test_a_ticket_that_is_worth_nothing_is_told_in_a_sentence_and_another_is_wished_for(
    about: dict[str, Any], sentence: str
) -> None:
    world = World()
    world.bind(**about)
    world.network.run_for(60.0)
    assert len(world.alice.lost) == 1
    assert sentence in world.alice.lost[0]
    assert world.alice.wishes == 1
    assert world.alice.front.relays() == []
    assert world.alice.route(world.bob) is None


def test_the_ticket_of_somebody_else_does_not_bind() -> None:
    world = World()
    tickets = world.relay.tickets()
    world.bob.relay(world.alice, tickets["alice"], secret=bytes(32))
    world.network.run_for(1.0)
    assert "does not accept" in world.bob.lost[0]
    assert len(world.relay.bench.relay) == 0


def test_a_budget_that_is_used_up_takes_the_route_away_and_says_so() -> None:
    world = World()
    world.bind(budget=5000)
    assert world.until_bound()
    for _ in range(5):
        world.alice.send(world.bob, bytes(1191))
        world.network.run_for(0.1)
        if world.alice.lost:
            break
    assert "as much between you two" in world.alice.lost[0]
    assert world.alice.core.routes == {world.bob.key: []}
    assert len(world.bob.core.came) == 4
    assert world.alice.wishes == 1


def test_what_is_left_is_known_without_asking() -> None:
    world = World()
    world.bind(budget=100_000)
    assert world.until_bound()
    world.alice.send(world.bob, bytes(1191))
    world.network.run_for(1.0)
    for agent in (world.alice, world.bob):
        assert [status.left for status in agent.front.relays()] == [100_000 - 1200]


def test_too_fast_takes_no_route_away() -> None:
    world = World(rules={"ticket_burst": 3000.0, "ticket_rate": 3000.0})
    world.bind()
    assert world.until_bound()
    for _ in range(20):
        world.alice.send(world.bob, bytes(1000))
    world.network.run_for(1.0)
    (status,) = world.alice.front.relays()
    assert status.bound
    assert "no faster" in status.trouble
    assert world.alice.lost == []


def test_a_relay_that_is_not_there_is_told_once_and_tried_again_with_pauses() -> None:
    world = World(down=True)
    world.bind()
    world.network.run_for(100.0)
    assert world.alice.lost == ["The relay does not answer."]
    assert world.relay.heard == []
    assert world.alice.host.turns < 150


def test_strangers_have_so_many_bindings_and_no_more() -> None:
    world = World(rules={"person_bindings": 100})
    askers = [Agent(world.network, (f"10.1.0.{n}", 4000), person(100 + n)) for n in range(40)]
    for number, asker in enumerate(askers):
        ticket = world.relay.tickets(asker=100 + number)["bob"]
        world.bob.relay(asker, ticket)
    assert len(world.bob.front.relays()) == 32
    assert len(world.bob.lost) == 0  # the events come with the next turn
    world.network.run_for(1.0)
    assert len(world.bob.lost) == 8
    world.bind()
    world.network.run_for(1.0)
    assert not any(status.key == world.alice.key for status in world.bob.front.relays())
    world.bob.core.connected.add(world.alice.key)
    world.bind()
    world.network.run_for(1.0)
    assert any(status.key == world.alice.key for status in world.bob.front.relays())


def test_who_is_needed_and_whose_relay_is_gone_is_asked_another_ticket_for() -> None:
    world = World()
    world.alice.core.sessions.add(world.bob.key)
    world.bind()
    assert world.until_bound()
    for link in world.links:
        link.path.down = True
    world.network.run_for(40.0)
    assert world.alice.wishes == 1
    assert world.alice.core.routes == {world.bob.key: []}
    world.network.run_for(80.0)
    assert 2 <= world.alice.wishes <= 4
    assert world.bob.wishes == 0


def test_a_word_of_icmp_about_the_relay_takes_nothing_away_and_speeds_up_what_must_be_done() -> None:
    world = World()
    world.bind()
    assert world.until_bound()
    for _ in range(100):
        world.alice.front.unsendable(RELAY, "refused", world.network.now)
        world.alice.host.wake()
        world.network.run_for(0.01)
    assert world.alice.lost == []
    assert world.reaches(0.2)
    world.relay.restart()
    for agent in (world.alice, world.bob):
        agent.front.unsendable(RELAY, "refused", world.network.now)
        agent.host.wake()
    world.network.run_for(0.1)
    assert world.reaches(0.2)


def test_a_stranger_takes_no_more_room_by_asking_again_and_again() -> None:
    world = World()
    for _ in range(20):
        world.bob.relay(world.alice, world.relay.tickets()["bob"])
    assert len(world.bob.front.relays()) <= 4


def test_two_tickets_that_cross_leave_both_sides_with_the_same_one() -> None:
    world = World()
    first, second = world.relay.tickets(seconds=3600), world.relay.tickets(seconds=3600)
    for ticket in (first["alice"], second["alice"]):
        world.alice.relay(world.bob, ticket)
    for ticket in (second["bob"], first["bob"]):
        world.bob.relay(world.alice, ticket)
    world.network.run_for(10.0)
    assert len(world.alice.front.relays()) == len(world.bob.front.relays()) == 1
    assert world.reaches(0.2)
    assert len(world.alice.core.routes[world.bob.key]) == 1


def test_a_ticket_that_ends_is_renewed_before_and_nothing_is_interrupted() -> None:
    world = World()
    for agent, peer in ((world.alice, world.bob), (world.bob, world.alice)):
        agent.core.sessions.add(peer.key)
    tickets = world.relay.tickets(seconds=600)
    world.alice.relay(world.bob, tickets["alice"], lasts=600.0)
    world.bob.relay(world.alice, tickets["bob"], lasts=600.0)
    world.network.run_for(490.0)
    assert world.alice.wishes == 1
    world.bind()
    for _ in range(20):
        assert world.reaches(0.15)
        world.network.run_for(10.0)
    assert world.alice.lost == []
    assert len(world.alice.front.relays()) == 1
    assert world.alice.wishes == 1


def test_what_nobody_needs_is_let_go_and_release_does_it_at_once() -> None:
    world = World()
    world.bind()
    assert world.until_bound()
    world.alice.front.release(world.bob.key, world.network.now)
    assert world.alice.core.routes == {world.bob.key: []}
    assert world.alice.front.relays() == []
    world.network.run_for(135.0)
    assert world.bob.front.relays() == []
    assert world.bob.core.routes == {world.alice.key: []}
    turns = world.bob.host.turns
    world.network.run_for(3600.0)
    assert world.bob.host.turns == turns


def test_datagrams_that_pretend_to_come_from_the_relay_change_nothing() -> None:
    world = World()
    world.bind()
    assert world.until_bound()
    chance = Random(7)
    world.network.join("198.51.100.6", world.alice.at[0], delay=0.001)
    for _ in range(2000):
        noise = bytes([chance.randrange(0xE8, 0xF0)]) + chance.randbytes(chance.randrange(80))
        source = chance.choice([("198.51.100.6", 3478), RELAY])
        world.network.deliver(source, world.alice.at, noise)
    world.network.run_for(0.1)
    assert world.alice.core.came == []
    assert world.reaches(0.2)
