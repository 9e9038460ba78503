"""The forecast: every pair of networks, and the sentences that people read."""

import re
from itertools import product

import pytest

from agent.forecast import TABLE, Forecast, Obstacle, Reach, Side, forecast, side_of
from agent.protocol.candidates import Filtering, Mapping, Nat

NETWORKS = {
    "none": Nat(Mapping.NONE, Filtering.OPEN),
    "firewall": Nat(Mapping.NONE, Filtering.PORT),
    "full cone": Nat(Mapping.INDEPENDENT, Filtering.OPEN),
    "address-restricted": Nat(Mapping.INDEPENDENT, Filtering.OPEN),  # looks the same from one server
    "port-restricted": Nat(Mapping.INDEPENDENT, Filtering.PORT),
    "symmetric": Nat(Mapping.DEPENDENT, Filtering.PORT),
    "blocked": Nat(Mapping.BLOCKED),
    "unknown": Nat(),
}
EXPECTED = """
                    none     firewall full     address- port-    symmetric blocked unknown
none                direct   direct   direct   direct   direct   direct    relayed direct
firewall            direct   direct   direct   direct   direct   relayed   relayed relayed
full cone           direct   direct   direct   direct   direct   direct    relayed direct
address-restricted  direct   direct   direct   direct   direct   direct    relayed direct
port-restricted     direct   direct   direct   direct   direct   relayed   relayed relayed
symmetric           direct   relayed  direct   direct   relayed  relayed   relayed relayed
blocked             relayed  relayed  relayed  relayed  relayed  relayed   relayed relayed
unknown             direct   relayed  direct   direct   relayed  relayed   relayed relayed
"""
CELLS = [
    (mine, theirs, path)
    for mine, line in zip(NETWORKS, EXPECTED.splitlines()[2:], strict=True)
    for theirs, path in zip(NETWORKS, re.findall("direct|relayed", line), strict=True)
]


def reach(network: str, **more: bool) -> Reach:
    nat = NETWORKS[network]
    return Reach(nat, None if network == "unknown" else nat.mapping is not Mapping.BLOCKED, **more)


@pytest.mark.parametrize(("mine", "theirs", "path"), CELLS)
def test_every_pair_of_networks_has_its_forecast_and_a_reason(mine: str, theirs: str, path: str) -> None:
    said = forecast("Bob", reach(mine), reach(theirs))
    assert said.path == path
    assert re.fullmatch(r"[A-Z][^.]+\.", said.because), said.because
    assert "None" not in said.because


def test_both_sides_forecast_the_same() -> None:
    for one, other in product(Side, Side):
        assert TABLE[one, other] == TABLE[other, one]


@pytest.mark.parametrize(
    ("mine", "theirs", "because"),
    [
        ("none", "symmetric", "Your network lets Bob in."),
        ("symmetric", "none", "The network of Bob lets you in."),
        (
            "port-restricted",
            "port-restricted",
            "Both networks keep to one port, so that each side can open the way for the other.",
        ),
        (
            "symmetric",
            "port-restricted",
            "Your network uses another port for each destination, and that of Bob lets in only ports that it knows.",
        ),
        (
            "port-restricted",
            "symmetric",
            "The network of Bob uses another port for each destination, and yours lets in only ports that it knows.",
        ),
        ("blocked", "none", "Your network lets no UDP through, which a direct path needs."),
        ("none", "blocked", "The network of Bob lets no UDP through, which a direct path needs."),
        ("blocked", "blocked", "Neither network lets UDP through, which a direct path needs."),
        (
            "symmetric",
            "unknown",
            "How the network of Bob treats UDP is not known yet; a direct path is tried all the same.",
        ),
    ],
)
def test_the_reason_says_whose_network_it_is(mine: str, theirs: str, because: str) -> None:
    assert forecast("Bob", reach(mine), reach(theirs)).because == because


def test_one_network_is_direct_whatever_stands_in_front_of_it() -> None:
    for mine, theirs in product(NETWORKS, NETWORKS):
        assert forecast("Bob", reach(mine), reach(theirs), same_network=True).path == "direct"
    assert forecast("Bob", Reach(), Reach(), same_network=True, rendezvous=False).path == "direct"


def test_both_with_ipv6_is_direct_unless_no_udp_comes_through() -> None:
    six = {"ipv6": True}
    assert forecast("Bob", reach("symmetric", **six), reach("symmetric", **six)).path == "direct"
    assert forecast("Bob", reach("symmetric", **six), reach("symmetric")).path == "relayed"
    assert forecast("Bob", reach("symmetric", **six), reach("blocked", **six)).path == "relayed"


def test_a_port_that_a_router_has_opened_lets_the_other_in() -> None:
    assert side_of(reach("symmetric", mapped=True)) is Side.OPEN
    assert forecast("Bob", reach("symmetric", mapped=True), reach("symmetric")).path == "direct"


def test_nobody_is_reached_without_a_rendezvous_or_while_offline_or_where_the_only_way_is_a_broken_relay() -> None:
    away = forecast("Bob", reach("none"), reach("none"), rendezvous=False)
    because = "Your agent does not reach the rendezvous, which is where people meet."
    assert away == Forecast("unreachable", because, Obstacle.RENDEZVOUS)
    offline = forecast("Bob", reach("none"), reach("none"), online=False)
    assert offline == Forecast("unreachable", "Bob is not online.", Obstacle.OFFLINE)
    broken = forecast("Bob", reach("blocked"), reach("none"), relay=False)
    assert (broken.path, broken.obstacle) == ("unreachable", Obstacle.RELAY)
    assert "the rendezvous does not work" in broken.because
    assert forecast("Bob", reach("none"), reach("none"), relay=False).path == "direct"


def test_a_stranger_is_asked_through_the_relay_or_not_at_all() -> None:
    said = forecast("Bob", reach("none"), reach("none"), relay=False, first_by_relay=True)
    assert (said.path, said.obstacle) == ("unreachable", Obstacle.RELAY)
    assert forecast("Bob", reach("none"), reach("none"), first_by_relay=True).path == "direct"


def test_the_words_of_reach_are_read_as_they_are_told() -> None:
    for network in NETWORKS:
        for six in (True, False):
            assert Reach.read(reach(network, ipv6=six).words()) == reach(network, ipv6=six)
    assert Reach.read({}) == Reach()
    assert Reach.read({"mapping": 3, "filtering": [], "udp": "yes", "ipv6": 1}) == Reach()
