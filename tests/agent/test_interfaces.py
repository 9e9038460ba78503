"""Which of this machine's addresses are told."""

import socket
from ipaddress import ip_address, ip_network

from agent.interfaces import allowed, host_addresses


def test_each_address_can_be_bound_to_and_loopback_comes_last() -> None:
    hosts = host_addresses()
    assert "127.0.0.1" in hosts
    loopback = [ip_address(host).is_loopback for host in hosts]
    assert loopback == sorted(loopback)
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as bound:
            bound.bind((host, 0))


def test_no_address_needs_a_zone_or_stands_for_many() -> None:
    addresses = [ip_address(host) for host in host_addresses()]
    assert not [a for a in addresses if a.is_multicast or a.is_unspecified or (a.version == 6 and a.is_link_local)]


def test_what_is_left_out_is_not_told() -> None:
    assert "127.0.0.1" not in host_addresses([ip_network("127.0.0.0/8")])
    networks = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
    assert allowed(["10.1.2.3", "192.0.2.7", "fd00::1", "2001:db8::1"], networks) == ("192.0.2.7", "2001:db8::1")
