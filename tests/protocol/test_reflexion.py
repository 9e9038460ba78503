"""The client of STUN servers, against the rendezvous' own in the simulated network, behind NATs."""

from random import Random

import pytest

from agent.protocol.candidates import Filtering, Mapping, Nat
from agent.protocol.packet import Address
from agent.protocol.reach_events import Reflexive
from rendezvous.contract import stun
from tests.support import nats
from tests.support.nats import Filters, Internet
from tests.support.reachable import STUN, Agent, StunHost
from tests.support.relayed import person

INSIDE: Address = ("192.168.1.2", 4001)
OUTSIDE = "198.51.100.1"


class Behind:
    """An agent behind a NAT, and a STUN server outside."""

    def __init__(self, nat: nats.Nat | None, seed: int = 1, **path: float) -> None:
        self.network = Internet(seed, **({"delay": 0.02} | path))
        self.stun = StunHost(self.network)
        self.at: Address = INSIDE if nat is not None else (OUTSIDE, 4001)
        self.network.settle(self.at[0], self.network.lan(nat) if nat is not None else None)
        self.agent = Agent(self.network, self.at, person(1))
        self.agent.front.hosts([self.at])
        self.learn()

    def learn(self) -> None:
        self.agent.front.learn([self.stun.server], self.network.now)
        self.agent.host.wake()

    def relearn(self) -> None:
        self.agent.front.relearn(self.network.now)
        self.agent.host.wake()

    @property
    def seen(self) -> Reflexive:
        return self.agent.seen[-1]


@pytest.mark.parametrize(
    ("nat", "found"),
    [
        (None, Nat(Mapping.NONE, Filtering.OPEN)),
        (nats.Nat(OUTSIDE, Filters.OPEN), Nat(Mapping.INDEPENDENT, Filtering.OPEN)),
        (nats.Nat(OUTSIDE, Filters.ADDRESS), Nat(Mapping.INDEPENDENT, Filtering.OPEN)),
        (nats.Nat(OUTSIDE, Filters.PORT), Nat(Mapping.INDEPENDENT, Filtering.PORT)),
        (nats.Nat(OUTSIDE, Filters.PORT, symmetric=True), Nat(Mapping.DEPENDENT, Filtering.PORT)),
        (nats.Nat(OUTSIDE, Filters.ADDRESS, symmetric=True), Nat(Mapping.DEPENDENT, Filtering.OPEN)),
    ],
    ids=["none", "full cone", "address-restricted", "port-restricted", "symmetric", "symmetric, address-restricted"],
)
def test_a_nat_is_known_within_two_seconds_and_its_address_in_a_round_trip(nat: nats.Nat | None, found: Nat) -> None:
    behind = Behind(nat)
    behind.network.run_for(0.05)
    assert len(behind.seen.addresses) == 1
    assert behind.seen.addresses[0][0] == OUTSIDE
    behind.network.run_for(1.95)
    assert behind.seen.nat == found
    behind.relearn()
    behind.network.run_for(5.0)
    assert behind.seen.nat == found  # nothing that was sent meanwhile made it look more open
    assert behind.agent.front.seen() == [(STUN, behind.seen.addresses[0])]


@pytest.mark.parametrize("seed", range(8))
def test_loss_duplicates_and_reordering_never_make_a_nat_look_more_open_than_it_is(seed: int) -> None:
    path = {"loss": 0.2, "duplicate": 0.2, "reorder": 0.3, "reorder_depth": 3, "jitter": 0.02}
    behind = Behind(nats.Nat(OUTSIDE, Filters.PORT), seed, **path)
    behind.network.run_for(8.0)
    assert behind.seen.addresses == ((OUTSIDE, nats.FIRST_PORT),)
    assert behind.seen.nat.filtering is Filtering.PORT
    assert behind.seen.nat.mapping in (Mapping.INDEPENDENT, Mapping.UNKNOWN)


def test_where_no_udp_comes_back_it_is_known_within_about_two_seconds_and_not_for_ever() -> None:
    nat = nats.Nat(OUTSIDE, blocks_udp=True)
    behind = Behind(nat)
    behind.network.run_for(2.1)
    assert behind.agent.seen == [Reflexive((), Nat(Mapping.BLOCKED))]
    behind.network.run_for(60.0)
    assert len(behind.stun.asked) == 0
    assert len(behind.network.sent) < 12
    nat.blocks_udp = False
    behind.network.run_for(70.0)
    assert behind.seen == Reflexive(((OUTSIDE, nats.FIRST_PORT),), Nat(Mapping.INDEPENDENT, Filtering.PORT))


def test_a_kernel_that_sends_nothing_is_believed_at_once() -> None:
    behind = Behind(nats.Nat(OUTSIDE, blocks_udp=True))
    behind.agent.front.unsendable(STUN, "unreachable", behind.network.now)
    behind.agent.host.wake()
    behind.network.run_for(0.01)
    assert behind.seen == Reflexive((), Nat(Mapping.BLOCKED))
    assert behind.agent.core.blocked == [(STUN, "unreachable")]


def test_only_the_server_that_was_asked_is_believed_and_only_about_what_was_asked() -> None:
    behind = Behind(nats.Nat(OUTSIDE, Filters.OPEN, blocks_udp=True))
    behind.network.run_for(0.1)
    (request,) = {sent.data for sent in behind.network.sent if sent.destination == STUN}
    transaction = request[8:20]

    def answer(transaction: bytes, host: str = "203.0.113.66") -> bytes:
        value = stun.pack_address(host, 666, transaction)
        return stun.encode(stun.Message(stun.BINDING_SUCCESS, transaction, ((stun.XOR_MAPPED_ADDRESS, value),)))

    chance = Random(5)
    for source, data in (
        (("203.0.113.66", 3478), answer(transaction)),
        ((STUN[0], 3480), answer(transaction)),
        ((STUN[0], 3479), answer(transaction)),
        (STUN, answer(chance.randbytes(12))),
        (STUN, answer(transaction, "2001:db8::1")),
        (STUN, answer(transaction, "0.0.0.0")),
        (STUN, answer(transaction, "224.0.0.1")),
        (STUN, answer(transaction)[:-1]),
        (STUN, request),
    ):
        behind.network.deliver(source, behind.at, data)
        behind.network.run_for(0.01)
    assert behind.agent.seen == []
    assert behind.agent.core.came == []
    behind.network.deliver(STUN, behind.at, answer(transaction))
    behind.network.run_for(0.01)
    assert behind.seen.addresses == (("203.0.113.66", 666),)


def test_a_mapping_is_kept_alive_with_pauses_that_grow() -> None:
    behind = Behind(nats.Nat(OUTSIDE, lifetime=120.0))
    behind.network.run_for(3600.0)
    assert [seen.addresses for seen in behind.agent.seen] == [((OUTSIDE, nats.FIRST_PORT),)] * len(behind.agent.seen)
    assert len(behind.stun.asked) < 3600 / 100 + 15


@pytest.mark.parametrize("lifetime", [20.0, 35.0, 60.0])
def test_a_mapping_that_broke_is_told_and_no_pause_is_that_long_again(lifetime: float) -> None:
    behind = Behind(nats.Nat(OUTSIDE, lifetime=lifetime))
    behind.network.run_for(1200.0)
    changes = len({seen.addresses for seen in behind.agent.seen})
    assert changes == 2
    behind.network.run_for(7200.0)
    assert len({seen.addresses for seen in behind.agent.seen}) <= 3
    behind.network.run_for(7200.0)
    assert len({seen.addresses for seen in behind.agent.seen}) <= 3


def test_another_network_is_learned_within_a_round_trip_and_its_nat_too() -> None:
    behind = Behind(nats.Nat(OUTSIDE, Filters.PORT))
    behind.network.run_for(5.0)
    cafe = behind.network.lan(nats.Nat("198.51.100.77", Filters.OPEN, symmetric=True))
    behind.network.move(behind.agent.host, ("10.9.9.9", 4001), cafe)
    behind.agent.front.hosts([("10.9.9.9", 4001)])
    behind.relearn()
    behind.network.run_for(0.05)
    assert behind.seen.addresses[0][0] == "198.51.100.77"
    behind.network.run_for(2.0)
    assert behind.seen.nat == Nat(Mapping.DEPENDENT, Filtering.OPEN)


def test_each_family_is_asked_for_itself_and_the_nat_is_that_of_ipv4() -> None:
    network = Internet(1)
    lan = network.lan(nats.Nat(OUTSIDE, Filters.PORT))
    network.settle(INSIDE[0], lan)
    network.settle("2001:db8::53")
    servers = [StunHost(network), StunHost(network, ("2001:db8::53", 3478))]
    agent = Agent(network, INSIDE, person(1))
    agent.front.learn([server.server for server in servers], 0.0)
    agent.host.wake()
    network.run_for(3.0)
    # the simulated host has one address only: over IPv6 it is seen as IPv4, and that is no IPv6 address
    assert agent.seen[-1] == Reflexive(((OUTSIDE, nats.FIRST_PORT),), Nat(Mapping.INDEPENDENT, Filtering.PORT))
    assert agent.front.seen() == [(STUN, (OUTSIDE, nats.FIRST_PORT)), (("2001:db8::53", 3478), None)]


def test_a_server_without_a_second_port_tells_the_address_alone() -> None:
    network = Internet(1)
    network.settle(INSIDE[0], network.lan(nats.Nat(OUTSIDE)))
    server = StunHost(network, STUN, None)
    agent = Agent(network, INSIDE, person(1))
    agent.front.learn([server.server], 0.0)
    agent.host.wake()
    network.run_for(30.0)
    assert agent.seen == [Reflexive(((OUTSIDE, nats.FIRST_PORT),), Nat())]
