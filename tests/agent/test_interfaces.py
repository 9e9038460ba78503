"""Which of this machine's addresses are told."""

import os
import socket
import subprocess
import sys
from ipaddress import ip_address, ip_network

import pytest

from agent.interfaces import Changes, allowed, host_addresses
from tests.support.programs import ROOT


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


ADDED = """
import subprocess, threading, time
from agent.interfaces import Changes, host_addresses
changes = Changes()
before = host_addresses()
threading.Timer(0.2, subprocess.run, [["ip", "address", "add", "192.0.2.7/32", "dev", "lo"]]).start()
began = time.monotonic()
while host_addresses() == before and time.monotonic() < began + 50:
    changes.wait(60)
print(host_addresses()[0], time.monotonic() - began < 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of changes")
def test_another_address_is_noticed_at_once() -> None:
    alone = ["--net"] if os.geteuid() == 0 else ["--net", "--map-root-user"]
    command = ["unshare", *alone, sys.executable, "-c", ADDED]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    if "unshare" in ended.stderr:
        pytest.skip("This system lets nobody but root have a network of their own, and we are not root.")
    assert ended.stdout == "192.0.2.7 True\n", ended.stderr


def test_where_nothing_changes_the_wait_ends() -> None:
    changes = Changes()
    changes.wait(0.01)
    changes.close()
