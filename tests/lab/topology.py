"""The networks of one cell: a rendezvous and two agents' machines on a wide network, each behind what the cell says.

Owns addresses, routes and routers. Knows nothing of the programs that run there. Addresses are such as the internet
routes, since agents treat those otherwise than private ones; nothing leaves the namespaces. Both home networks use the
same private range, as homes do.
"""

import contextlib
import subprocess
import sys
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from tests.lab.routers import Behind, rules
from tests.lab.spaces import LabError, Space, Spaces
from tests.support.programs import ROOT, environment

RENDEZVOUS: Final = "51.0.0.1"
RENDEZVOUS_6: Final = "2a01:51::1"
SECOND: Final = "51.0.0.2"
"""A second address of the rendezvous' machine: for probes of how NATs behave."""
ROUND_TRIP: Final = 40.0
RATE: Final = 100.0
_LAN: Final = "192.168.1"
_CARRIER: Final = "100.64.1"
SAME_NETWORK: Final = "same-network"
CUT_OFF: Final = "cut-off"
_HOSTS: Final = {"a": 10, "b": 20}


@dataclass(frozen=True, slots=True)
class Side:
    """What an agent's machine is behind."""

    behind: Behind
    ipv6: bool = False
    """Whether it has a global IPv6 address too, behind a firewall that lets in no new connection."""
    hairpin: bool = False

    def __str__(self) -> str:
        return self.behind + "+ipv6" * self.ipv6 + "+hairpin" * self.hairpin


@dataclass(frozen=True, slots=True)
class Cell:
    """Two sides; `b` is None where both machines are in one network, behind the router of `a`."""

    a: Side
    b: Side | None
    cut: str = ""
    """Whose machine is cut off from everything once all is set up: `a` or `b`."""

    def __str__(self) -> str:
        if self.b is None:
            return f"{self.a}:{SAME_NETWORK}"
        return ":".join(CUT_OFF if who in self.cut else str(side) for who, side in (("a", self.a), ("b", self.b)))


@dataclass(slots=True)
class Machine:
    """An agent's machine, and its way to the wide network."""

    space: Space
    address: str
    """Its own address."""
    public: str
    """Under which the wide network sees it; changes with `Topology.move`."""
    address_6: str | None = None
    routers: list[Space] = field(default_factory=list)
    """From the machine outwards."""


class Topology:
    """The networks of a cell, until the end of the `with` block."""

    def __init__(self, cell: Cell, *, round_trip: float = ROUND_TRIP, rate: float = RATE) -> None:
        self.cell = cell
        self.round_trip = round_trip
        self._rate = rate
        self._stack = contextlib.ExitStack()
        self._links: list[tuple[Space, str]] = []
        self.machines: dict[str, Machine] = {}

    def __enter__(self) -> "Topology":
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *problem: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        self._spaces = self._stack.enter_context(Spaces())
        self._wide = self._spaces.make("wide")
        self._start_wide()
        self.rendezvous = self._spaces.make("rendezvous")
        self._join(self.rendezvous, 0, RENDEZVOUS, SECOND)
        self.rendezvous.ip(f"address add {RENDEZVOUS_6}/128 dev v0 nodad")
        self._join_machines()
        for space, device in self._links:
            space.wait_for_link(device)

    def _join_machines(self) -> None:
        if self.cell.b is None:
            way = self._routers("a", 1, self.cell.a)
            for who in "ab":
                self.machines[who] = self._at_home(who, 1, self.cell.a, way)
            return
        for number, (who, side) in enumerate((("a", self.cell.a), ("b", self.cell.b)), 1):
            if side.behind is Behind.NONE:
                self.machines[who] = self._in_the_open(who, number, side)
            else:
                self.machines[who] = self._at_home(who, number, side, self._routers(who, number, side))

    def _start_wide(self) -> None:
        command = [sys.executable, "-m", "tests.lab.wide", "3", str(self.round_trip), str(self._rate)]
        with self._wide.entered():
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        self._stack.callback(process.communicate)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise LabError("The wide network did not start.")

    def _join(self, space: Space, number: int, *addresses: str) -> None:
        """Join a namespace to the wide network at an edge, as `v0`."""
        self._wide.ip(f"link set edge{number} netns {space.name} name v0")
        space.ip(
            "link set v0 mtu 1500 txqueuelen 1000 up",
            *(f"address add {address}/32 dev v0" for address in addresses),
            *self._ways(addresses[0]),
        )

    def _in_the_open(self, who: str, number: int, side: Side) -> Machine:
        space = self._spaces.make(who)
        machine = Machine(space, f"51.0.{number}.1", f"51.0.{number}.1")
        self._join(space, number, machine.public)
        if side.ipv6:
            machine.address_6 = f"2a01:51:{number}::10"
            space.ip(f"address add {machine.address_6}/128 dev v0 nodad")
        return machine

    def _routers(self, who: str, number: int, side: Side) -> list[Space]:
        """Build what is between a home network and the wide one; the home router comes first."""
        public = f"51.0.{number}.1"
        outer = self._spaces.make(f"router-{who}")
        self._join(outer, number, public)
        if side.behind is not Behind.DOUBLE:
            routers = [(outer, side.behind, public)]
        else:
            home = self._spaces.make(f"home-{who}")
            home.ip(
                f"link add v0 type veth peer name home netns {outer.name}",
                f"address add {_CARRIER}.2/24 dev v0",
                "link set v0 up",
                f"route add default via {_CARRIER}.1",
            )
            self._links += [(home, "v0"), (outer, "home")]
            routers = [(home, Behind.PORT, f"{_CARRIER}.2"), (outer, Behind.PORT, public)]
            outer.ip(f"address add {_CARRIER}.1/24 dev home", "link set home up")
        for router, behind, address in routers:
            router.set(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
            router.run("nft", "-f", "-", told=rules(behind, address, hairpin=side.hairpin))
        home = routers[0][0]
        home.ip("link add lan type bridge", "link set lan up", f"address add {_LAN}.1/24 dev lan")
        if side.ipv6:
            home.ip(f"address add 2a01:51:{number}::1/64 dev lan nodad")
        return [router for router, _, _ in routers]

    def _at_home(self, who: str, number: int, side: Side, routers: list[Space]) -> Machine:
        space, home = self._spaces.make(who), routers[0]
        machine = Machine(space, f"{_LAN}.{_HOSTS[who]}", f"51.0.{number}.1", routers=routers)
        space.ip(
            f"link add eth0 type veth peer name port-{who} netns {home.name}",
            f"address add {machine.address}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {_LAN}.1",
        )
        home.ip(f"link set port-{who} master lan up")
        self._links += [(space, "eth0"), (home, f"port-{who}"), (home, "lan")]
        if side.ipv6:
            machine.address_6 = f"2a01:51:{number}::{_HOSTS[who]}"
            space.ip(
                f"address add {machine.address_6}/64 dev eth0 nodad",
                f"route add ::/0 via 2a01:51:{number}::1",
            )
        return machine

    # --- what happens to networks ---

    def forget_mappings(self, who: str, port: int) -> None:
        """Let a machine's outermost router forget its mappings, as one does that restarts; that of `port`, which was
        mapped to itself, is another one afterwards.
        """
        router = self.machines[who].routers[-1]
        behind = self._side(who).behind
        router.run("nft", "-f", "-", told=rules(behind, self.machines[who].public, other_port=port))
        router.ip("link set v0 down", "link set v0 up", *self._ways(self.machines[who].public))

    def move(self, who: str) -> None:
        """Give a machine another address, and its network another public one, as one gets who goes elsewhere."""
        machine = self.machines[who]
        before, machine.public = machine.public, _next(machine.public)
        way = [
            f"address add {machine.public}/32 dev v0",
            f"address del {before}/32 dev v0",
            *self._ways(machine.public),
        ]
        if not machine.routers:
            machine.address = machine.public
            machine.space.ip(*way)
            return
        machine.routers[-1].ip(*way)
        machine.routers[-1].run("nft", "-f", "-", told=rules(self._side(who).behind, machine.public))
        before, machine.address = machine.address, _next(machine.address)
        machine.space.ip(
            f"address del {before}/24 dev eth0",
            f"address add {machine.address}/24 dev eth0",
            f"route replace default via {_LAN}.1",
        )

    def _side(self, who: str) -> Side:
        return self.cell.a if who == "a" or self.cell.b is None else self.cell.b

    def _ways(self, public: str) -> list[str]:
        return [f"route replace default dev v0 src {public}", "route replace ::/0 dev v0"]

    def cut(self, who: str) -> None:
        """Let nothing through any more between a machine and everything else."""
        machine = self.machines[who]
        chains = ""
        for hook, interface in (("input", "iifname"), ("output", "oifname")):
            chains += f'chain {hook} {{\ntype filter hook {hook} priority -300\n{interface} != "lo" drop\n}}\n'
        machine.space.run("nft", "-f", "-", told=f"table inet cut {{\n{chains}}}\n")


def _next(address: str) -> str:
    """Return the address after this one."""
    return str(ip_address(address) + 1)
