"""Who is in a cell: a rendezvous and two people with an agent each, on the machines of a topology.

Starts and stops the real programs in their namespaces, and speaks to each agent over its local contract from inside.
What people then do is exchange.py's.
"""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.lab.routers import HTTP_PORT
from tests.lab.spaces import Space, temporary_folder
from tests.lab.topology import RENDEZVOUS, Machine, Topology
from tests.support.local_client import LocalClient, Value
from tests.support.programs import Agent, Programs, Rendezvous, furnished

NAMES: Final = {"a": "alice", "b": "bob"}
SETTLED: Final = 10.0
"""Seconds after the start within which an agent knows what it is behind."""
STUN_PORTS: Final = 3478, 3479
PEER_PORT: Final = 40_000
T = TypeVar("T")
_one_at_a_time: Final = threading.Lock()


class Outside(Rendezvous):
    """A rendezvous on its machine in the wide network."""

    def __init__(self, space: Space, data: Path) -> None:
        first, second = map(str, STUN_PORTS)
        relay = f"{RENDEZVOUS}:{first}"
        super().__init__(
            data, *("--port", str(HTTP_PORT), "--host", "::", "--relay-address", relay),
            *("--udp-port", first, "--udp-port-2", second),
        )  # fmt: skip
        self.port = HTTP_PORT
        self._space = space

    @property
    def url(self) -> str:
        """Its address, as agents are told it."""
        return f"http://{RENDEZVOUS}:{self.port}"

    def start(self) -> None:
        """Start it, in its namespace."""
        with self._space.entered():
            super().start()


class Person:
    """Somebody with an agent on one of a cell's machines, whose page is open."""

    def __init__(self, who: str, machine: Machine, agent: Agent) -> None:
        self.name = NAMES[who]
        self.machine = machine
        self.agent = agent
        self.client: LocalClient

    def open_page(self) -> LocalClient:
        """Connect to the agent, from its own machine."""
        with self.machine.space.entered():
            self.client = LocalClient(self.agent.page_url)
        return self.client

    def upload(self, data: bytes) -> str:
        """Offer a picture; return its item."""
        with self.machine.space.entered():
            item: str = self.client.upload(data)["item"]
        return item

    def fetch(self, url: str) -> bytes:
        """Read a finished picture from the agent."""
        with self.machine.space.entered():
            status, _, data = self.client.get(url)
        assert status == 200, f"{url}: {status}"
        return data

    def path_to(self, name: str) -> str | None:
        """Return the kind of the path in use towards a contact, as its agent says now."""
        return kind_of_path(self.client.people.get(name, {}))

    def mapping(self) -> str:
        """Return how its agent thinks that the NAT in front of it maps; `unknown` as long as it does not know."""
        nat = self.client.state["reachability"].get("nat") or {}
        return str(nat.get("mapping") or "unknown")


class Crew:
    """Everybody of a cell, started and signed up, until the end of the `with` block."""

    def __init__(self, topology: Topology, *flags: str) -> None:
        self._topology = topology
        self._flags = flags
        self._stack = ExitStack()

    def __enter__(self) -> "Crew":
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *problem: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        folder = Path(self._stack.enter_context(temporary_folder()))
        self.programs = self._stack.enter_context(Programs(folder))
        self.rendezvous = self.programs.run(Outside(self._topology.rendezvous, folder / "rendezvous"))
        with _one_at_a_time:  # furnishing patches a module
            folders = {who: furnished(folder / name) for who, name in NAMES.items()}
        self.rendezvous.wait_until_ready()
        people = {}
        for who, machine in self._topology.machines.items():
            peer_port = str(PEER_PORT + ord(who))
            agent = Agent(NAMES[who], folders[who], self.rendezvous.url, "--peer-port", peer_port, *self._flags)
            with machine.space.entered():
                self.programs.run(agent)
            people[who] = Person(who, machine, agent)
        self.a, self.b = people["a"], people["b"]
        for person in (self.a, self.b):
            person.agent.wait_until_ready()
            self._stack.enter_context(closing(person.open_page()))
        for person, other in ((self.a, self.b), (self.b, self.a)):
            wait_for(f"{person.name} to see {other.name} online", lambda: sees(person, other))  # noqa: B023

    def settle(self) -> None:
        """Wait until both agents know what they are behind, or have had time for it."""
        deadline = time.monotonic() + SETTLED
        while time.monotonic() < deadline and "unknown" in (self.a.mapping(), self.b.mapping()):
            threading.Event().wait(0.05)

    def logs(self) -> str:
        """Return what all programs have said."""
        return "\n".join(log for _, log in self.programs.logs())


def kind_of_path(entry: Value) -> str | None:
    """Return the kind of the path in use of one of the people whom an agent names."""
    path: Any = entry.get("path")
    kind: str | None = path.get("kind") if isinstance(path, dict) else path
    return kind


def sees(person: Person, other: Person) -> bool:
    """Tell whether somebody's agent says that another is online."""
    people: list[Value] = person.client.call("list_people", query=other.name)["people"]
    return any(entry["name"] == other.name and entry["online"] for entry in people)


def wait_for(what: str, ready: Callable[[], T], seconds: float = 20.0) -> T:
    """Ask again and again until there is something; AssertionError."""
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
        threading.Event().wait(0.05)
    return found
