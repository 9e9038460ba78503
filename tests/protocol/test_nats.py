"""The simulated NATs do what RFC 4787 calls them: who gets through to whom is checked with plain datagrams."""

from functools import partial

import pytest

from tests.support.nats import Filters, Internet, Nat
from tests.support.network import Address

INSIDE, SERVER, OTHER = ("192.168.1.2", 4001), ("198.51.100.1", 1), ("198.51.100.2", 2)


class Scene:
    """Somebody behind a NAT, and two servers that note what arrives."""

    def __init__(self, nat: Nat) -> None:
        self.net, self.nat = Internet(), nat
        self.home = self.net.lan(nat)
        self.got: dict[Address, list[Address]] = {}
        self.net.settle(INSIDE[0], self.home)
        for address in (INSIDE, SERVER, OTHER, ("198.51.100.1", 9)):
            if address is not INSIDE:
                self.net.settle(address[0])
            self.got[address] = []
            self.net.attach(address, partial(self.note, address))

    def note(self, at: Address, now: float, source: Address, data: bytes) -> None:
        self.got[at].append(source)

    def send(self, source: Address, destination: Address) -> None:
        self.net.send(source, destination, b"x")
        self.net.run_for(0.1)

    def seen_by(self, server: Address) -> Address:
        self.send(INSIDE, server)
        return self.got[server][-1]


@pytest.mark.parametrize(
    ("filters", "let_in"),
    [
        (Filters.OPEN, [SERVER, ("198.51.100.1", 9), OTHER]),
        (Filters.ADDRESS, [SERVER, ("198.51.100.1", 9)]),
        (Filters.PORT, [SERVER]),
    ],
)
def test_whom_a_nat_lets_in(filters: Filters, let_in: list[Address]) -> None:
    scene = Scene(Nat("203.0.113.1", filters))
    outside = scene.seen_by(SERVER)
    for source in (SERVER, ("198.51.100.1", 9), OTHER):
        scene.send(source, outside)
    assert scene.got[INSIDE] == let_in


def test_a_cone_has_one_port_and_a_symmetric_nat_one_for_each_destination() -> None:
    cone, symmetric = Scene(Nat("203.0.113.1")), Scene(Nat("203.0.113.1", symmetric=True))
    assert cone.seen_by(SERVER) == cone.seen_by(OTHER) == cone.net.reflexive(INSIDE)
    assert symmetric.seen_by(SERVER) != symmetric.seen_by(OTHER)
    assert symmetric.seen_by(SERVER) == symmetric.seen_by(SERVER)


def test_a_mapping_dies_of_silence_and_of_a_flush_and_the_next_one_has_another_port() -> None:
    scene = Scene(Nat("203.0.113.1", lifetime=30))
    first = scene.seen_by(SERVER)
    scene.net.run_for(29)
    assert scene.seen_by(SERVER) == first
    scene.net.run_for(31)
    scene.send(SERVER, first)
    assert scene.got[INSIDE] == []
    second = scene.seen_by(SERVER)
    scene.nat.flush()
    assert len({first, second, scene.seen_by(SERVER)}) == 3


def test_behind_two_nats_the_outer_address_is_that_of_the_carrier() -> None:
    net = Internet()
    carrier = net.lan(Nat("203.0.113.9", Filters.OPEN))
    home = net.lan(Nat("100.64.0.7", Filters.OPEN), carrier)
    net.settle(INSIDE[0], home)
    net.settle(SERVER[0])
    seen: list[Address] = []
    net.attach(SERVER, lambda now, source, data: seen.append(source))
    net.attach(INSIDE, lambda now, source, data: seen.append(source))
    net.send(INSIDE, SERVER, b"x")
    net.run_for(1)
    net.send(SERVER, seen[0], b"x")
    net.run_for(1)
    assert [host for host, _ in seen] == ["203.0.113.9", SERVER[0]]


@pytest.mark.parametrize("hairpin", [True, False])
def test_neighbours_see_each_other_by_the_outer_address_where_the_nat_turns_datagrams_back(hairpin: bool) -> None:
    scene = Scene(Nat("203.0.113.1", hairpin=hairpin))
    neighbour = ("192.168.1.3", 5)
    scene.net.settle(neighbour[0], scene.home)
    at = scene.net.reflexive(neighbour)
    assert at is not None
    mine = scene.seen_by(SERVER)
    scene.send(INSIDE, at)
    scene.net.attach(neighbour, lambda now, source, data: scene.got[OTHER].append(source))
    scene.net.send(neighbour, mine, b"x")
    scene.send(INSIDE, at)
    assert scene.got[OTHER] == ([mine] if hairpin else [])
    scene.send(INSIDE, neighbour)
    assert scene.got[OTHER][-1] == INSIDE


def test_a_port_that_was_opened_lets_everybody_in_and_answers_from_there() -> None:
    scene = Scene(Nat("203.0.113.1", symmetric=True))
    opened = scene.nat.open_port(INSIDE)
    assert scene.seen_by(SERVER) != opened
    scene.send(OTHER, opened)
    assert scene.got[INSIDE] == [OTHER]
    assert scene.seen_by(OTHER) == opened


def test_where_udp_is_blocked_only_the_relay_over_websockets_is_left() -> None:
    scene = Scene(Nat("203.0.113.1", blocks_udp=True))
    assert scene.net.reflexive(INSIDE) is None
    for kind in ("relay-udp", "relay-ws"):
        scene.net.bind(kind, 1, INSIDE, SERVER)
        scene.send(INSIDE, (kind, 1))
        scene.send(SERVER, (kind, 1))
    assert scene.got[SERVER] == scene.got[INSIDE] == [("relay-ws", 1)]
