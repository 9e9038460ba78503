"""Each network of the lab behaves as it is named, seen by bare sockets; and nothing is left behind."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.probes import PORTS, Behaviour, Mirror, connects, meet, received, udp_in
from tests.lab.routers import HTTP_PORT, Behind
from tests.lab.spaces import FOLDER, Spaces, reap, why_not
from tests.lab.topology import RENDEZVOUS, RENDEZVOUS_6, Cell, Side, Topology
from tests.support.programs import PATIENCE, ROOT, environment

pytestmark = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
FIRST = (RENDEZVOUS, PORTS[0])
BEHAVIOURS = {
    Behind.NONE: Behaviour("none", "independent"),
    Behind.FULL_CONE: Behaviour("independent", "independent"),
    Behind.ADDRESS: Behaviour("independent", "address"),
    Behind.PORT: Behaviour("independent", "port"),
    Behind.SYMMETRIC: Behaviour("dependent", "port"),
    Behind.DOUBLE: Behaviour("independent", "port"),
    Behind.UDP_BLOCKED: Behaviour(),
    Behind.HTTP_ONLY: Behaviour(),
}


@contextlib.contextmanager
def probing(cell: Cell, **options: float) -> Iterator[tuple[Topology, Mirror, socket.socket, socket.socket]]:
    """Build a cell with a mirror, and open a socket on each machine."""
    with Topology(cell, **options) as topology, Mirror(topology) as mirror, contextlib.ExitStack() as opened:
        one, other = (opened.enter_context(udp_in(topology.machines[who])) for who in "ab")
        yield topology, mirror, one, other


@pytest.mark.parametrize("behind", Behind)
def test_each_nat_maps_and_filters_as_it_is_named(behind: Behind) -> None:
    with Topology(Cell(Side(Behind.NONE), Side(behind))) as topology, Mirror(topology) as mirror:
        assert mirror.behaviour(topology.machines["b"]) == BEHAVIOURS[behind]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (Behind.PORT, Behind.PORT, True),
        (Behind.FULL_CONE, Behind.SYMMETRIC, True),
        (Behind.ADDRESS, Behind.SYMMETRIC, True),
        (Behind.PORT, Behind.SYMMETRIC, False),
    ],
)
def test_holes_can_be_punched_where_they_can(a: Behind, b: Behind, expected: bool) -> None:
    with probing(Cell(Side(a), Side(b))) as (_, mirror, one, other):
        at_a, at_b = mirror.seen(one, FIRST), mirror.seen(other, FIRST)
        assert at_a is not None
        assert at_b is not None
        assert meet(one, other, at_a, at_b) is expected


@pytest.mark.parametrize("hairpin", [True, False])
def test_what_is_sent_to_a_neighbours_mapping_turns_round_where_the_router_does_that(hairpin: bool) -> None:
    with probing(Cell(Side(Behind.FULL_CONE, hairpin=hairpin), None)) as (topology, mirror, one, other):
        mapped = mirror.seen(one, FIRST)
        assert mapped is not None
        other.sendto(b"hello", mapped)
        arrived = received(one)
        assert (arrived is not None) is hairpin
        assert arrived is None or arrived[1][0] == topology.machines["b"].public  # REQ-9 of RFC 4787
        other.sendto(b"hello", one.getsockname())
        assert received(one) == (b"hello", other.getsockname())


def test_only_the_rendezvous_port_passes_where_all_else_is_blocked() -> None:
    with Topology(Cell(Side(Behind.HTTP_ONLY), Side(Behind.UDP_BLOCKED))) as topology:
        with topology.rendezvous.entered():
            http, other = socket.create_server(("", HTTP_PORT)), socket.create_server(("", 9000))
        with http, other:
            a, b = topology.machines["a"], topology.machines["b"]
            assert connects(a, RENDEZVOUS, HTTP_PORT, http)
            assert not connects(a, RENDEZVOUS, 9000, other)
            assert connects(b, RENDEZVOUS, 9000, other)


def test_ipv6_goes_out_and_lets_in_what_was_asked_for() -> None:
    sides = Side(Behind.SYMMETRIC, ipv6=True), Side(Behind.PORT, ipv6=True)
    with Topology(Cell(*sides)) as topology:
        a, b = topology.machines["a"], topology.machines["b"]
        with topology.rendezvous.entered():
            outside = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            outside.bind((RENDEZVOUS_6, 0))
        with outside, udp_in(a, a.address_6) as one, udp_in(b, b.address_6) as other:
            at_a, at_b = one.getsockname()[:2], other.getsockname()[:2]
            outside.sendto(b"uninvited", at_a)
            assert received(one) is None
            assert meet(one, other, at_a, at_b)


def test_a_round_trip_takes_as_long_as_is_said_and_bytes_go_no_faster() -> None:
    with probing(Cell(Side(Behind.NONE), Side(Behind.NONE)), rate=10) as (topology, mirror, one, _):
        mirror.seen(one, FIRST)
        began = time.monotonic()
        assert mirror.seen(one, FIRST)
        assert time.monotonic() - began > topology.round_trip / 1000
        began = time.monotonic()
        for _ in range(50):  # 62,500 bytes: 50 ms at 10 Mbit/s
            one.sendto(bytes(1222), FIRST)
        for _ in range(50):
            assert received(mirror.sockets[FIRST]) is not None
        assert time.monotonic() - began > 0.05 + topology.round_trip / 2000


def test_a_machine_that_is_cut_off_reaches_nobody() -> None:
    with Topology(Cell(Side(Behind.PORT), Side(Behind.NONE))) as topology, Mirror(topology) as mirror:
        machine = topology.machines["a"]
        with udp_in(machine) as sock:
            assert mirror.seen(sock, FIRST)
            topology.cut("a")
            with pytest.raises(PermissionError):
                sock.sendto(b"?", FIRST)


@pytest.mark.parametrize("behind", [Behind.PORT, Behind.SYMMETRIC])
def test_a_router_that_has_forgotten_maps_to_another_port_and_lets_nobody_in_before(behind: Behind) -> None:
    with probing(Cell(Side(behind), Side(Behind.NONE))) as (topology, mirror, one, _):
        seen = mirror.seen(one, FIRST)
        assert seen is not None
        topology.forget_mappings("a", one.getsockname()[1])
        mirror.sockets[FIRST].sendto(b"late", seen)
        assert received(one) is None
        again = mirror.seen(one, FIRST)
        assert again is not None
        assert again[0] == seen[0]
        assert again[1] != seen[1]


@pytest.mark.parametrize("behind", [Behind.PORT, Behind.NONE])
def test_a_machine_that_moves_has_another_address_and_is_seen_at_another(behind: Behind) -> None:
    with probing(Cell(Side(behind), Side(Behind.NONE))) as (topology, mirror, one, _):
        machine = topology.machines["a"]
        before = machine.address
        seen = mirror.seen(one, FIRST)
        assert seen is not None
        topology.move("a")
        assert machine.address != before
        with udp_in(machine) as anew:
            again = mirror.seen(anew, FIRST)
        assert again is not None
        assert again[0] == machine.public != seen[0]


def test_namespaces_of_a_killed_lab_are_removed_by_the_next_with_what_runs_inside() -> None:
    code = """
import subprocess, sys
from tests.lab.spaces import Spaces
with Spaces() as spaces:
    space = spaces.make("left")
    with space.entered():
        inside = subprocess.Popen(["sleep", "1000"])
    print(space.name, inside.pid, flush=True)
    sys.stdin.read()
"""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    lab = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment(), **pipes)
    assert lab.stdout is not None
    name, inside = lab.stdout.readline().split()
    with Spaces() as spaces:
        mine = spaces.make("mine").name
        assert name not in reap()  # it lives
        lab.send_signal(signal.SIGKILL)
        lab.wait()
        assert name in reap()
        left = {path.name for path in FOLDER.iterdir()}
        assert name not in left
        assert mine in left
    deadline = time.monotonic() + PATIENCE
    while _runs(inside):
        assert time.monotonic() < deadline
    assert not (FOLDER / mine).exists()


def _runs(pid: str) -> bool:
    """Tell whether a process has not ended, whether or not somebody has noticed."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "XZ"
