"""How this agent gets at others, and others at it: its own addresses, and relays to whomever it deals with.

Owns what is gathered (addresses of interfaces, what STUN servers see, ports that routers have opened), who is told, and
when a ticket for a relay is asked for or taken. Nothing is gathered before this person has signed up; a peer learns of
it inside a session alone, from the core, and only once both have said yes. Which path is used is the core's choice.

Everything is called on the agent's loop; what waits (for tickets, and for names to be resolved) runs in threads.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Final, Protocol

from agent import forecast
from agent.directory import Directory
from agent.directory_servers import RelayTicket, StunPlace
from agent.interfaces import Changes, allowed, host_addresses
from agent.protocol.candidates import Candidate, Found, Mapping, Nat
from agent.protocol.endpoint import Endpoint
from agent.protocol.errors import UsageError
from agent.protocol.front import Front
from agent.protocol.packet import Address, Datagrams
from agent.protocol.reach_events import ReachEvent, Reflexive, RelayBound, RelayLost, TicketNeeded
from agent.protocol.reflexion import StunServer
from agent.relay_socket import RelaySockets
from agent.settings import Network

LOOK_SECONDS: Final = 2.0  # between looks at this machine's addresses
ASLEEP_SECONDS: Final = 10.0  # that the wall clock is ahead of the other one after a sleep
TICKET_SECONDS: Final = 3600.0  # at most; the rendezvous' clock and ours may differ
SHORTEST_TICKET: Final = 300.0
MISSED_SECONDS: Final = 30.0  # between tickets for a peer whose picture waits
MOST_RESOLVED: Final = 4  # addresses of one server
MOST_KNOWN: Final = 512  # peers of whom names and troubles are kept
WEBSOCKET: Final = ("websocket", 0)
_PRIVATE_V6: Final = ip_network("fc00::/7")

log = logging.getLogger(__name__)


class Pump(Protocol):
    """Who runs the core."""

    def now(self) -> float: ...
    def wake(self) -> None: ...
    def arrived(self, datagrams: Datagrams) -> None: ...


class Reachability:
    """One agent's ways to others. `attach` before anything else; `begin` once this person has signed up.

    `secret` is what finds somebody who is not listed; `welcome` tells whether somebody's pushed ticket may be taken at
    all; `on_change` is called when what is known of our own situation has changed.
    """

    def __init__(
        self,
        core: Endpoint,
        front: Front,
        directory: Directory,
        port: int,
        left_out: Sequence[Network],
        secret: Callable[[str], bytes],
        welcome: Callable[[bytes], bool],
        on_change: Callable[[], None],
    ) -> None:
        self._core, self._front, self._directory = core, front, directory
        self._port, self._left_out = port, left_out
        self._secret, self._welcome, self._on_change = secret, welcome, on_change
        self._node: Pump
        self._sockets = RelaySockets(lambda: directory.url, self._arrived, self._broken)
        self.elsewhere = self._sockets.send
        self._hosts: tuple[str, ...] = ()
        self._reflexive: tuple[Address, ...] = ()
        self._mapped: tuple[Address, ...] = ()
        self._servers: tuple[StunPlace, ...] | None = None  # what STUN servers the core was given, unresolved
        self._names: dict[bytes, str] = {}
        self._troubles: dict[bytes, str] = {}
        self._asked: dict[bytes, float] = {}  # when a ticket was last asked for by ourselves
        self._begun, self._stopping = False, threading.Event()
        self.on_network_changed: Callable[[], None] = lambda: None
        self.reach = forecast.NOTHING_TOLD
        self.candidates: tuple[Candidate, ...] = ()

    def attach(self, node: Pump) -> None:
        """Say who pumps."""
        self._node = node

    def begin(self) -> None:
        """Gather addresses from now on: this person has signed up."""
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._watch, name="reach", daemon=True).start()

    def stop(self) -> None:
        """End the gathering, and the connections to relays."""
        self._stopping.set()
        self._sockets.stop()

    # --- getting at somebody ---

    def approach(self, name: str, key: bytes) -> None:
        """Get a ticket for somebody who is about to be asked, and bind; they get theirs. UsageError with the reason."""
        self._asked[key] = self._node.now()
        self._note(self._names, key, name)
        given = self._directory.ticket(name, self._secret(name))
        if given.ticket.peer != key:
            raise UsageError("unreachable", f"The rendezvous gave a ticket for somebody else than {name}.")
        self._bind(given)

    def approach_later(self, name: str, key: bytes) -> None:
        """Do the same without keeping whoever calls; what goes wrong is told by `trouble_with`."""
        self._asked[key] = self._node.now()

        def approach() -> None:
            try:
                self.approach(name, key)
            except UsageError as error:
                self._note(self._troubles, key, error.message)

        threading.Thread(target=approach, name="ticket", daemon=True).start()

    def keep_floor(self, contacts: Iterable[tuple[str, bytes]]) -> None:
        """See to it that a relay stands by for each of these who is in session: the rendezvous is there again."""
        bound = {status.key for status in self._front.relays()}
        for name, key in contacts:
            if key not in bound and self._core.in_session(key):
                self.approach_later(name, key)

    def handed(self, given: RelayTicket) -> None:
        """Take a ticket that somebody else has asked for, and bind, so that they can reach us."""
        if self._welcome(given.ticket.peer):
            threading.Thread(target=self._bind, args=(given,), name="ticket", daemon=True).start()

    def trouble_with(self, name: str) -> str:
        """Return a sentence on why no relay reaches a peer; empty where one does, or none was asked for."""
        return next((trouble for key, trouble in self._troubles.items() if self._names.get(key) == name), "")

    @property
    def stun(self) -> tuple[dict[str, Any], ...]:
        """Return what each STUN server has seen us at: {server, address}."""
        seen = self._front.seen()
        return tuple({"server": _written(server), "address": address and _written(address)} for server, address in seen)

    @property
    def relay(self) -> bool:
        """Say whether the relay of the rendezvous works, as far as is known."""
        servers, statuses = self._directory.servers, self._front.relays()
        if servers.stun and not servers.relays:
            return False
        return any(status.bound for status in statuses) or not any(status.trouble for status in statuses)

    # --- what happens ---

    def on_event(self, event: ReachEvent) -> None:
        """Act on what the core has learned about ways to us and to others."""
        match event:
            case Reflexive(addresses, nat):
                self._reflexive = addresses
                self._tell(nat)
            case RelayBound(key):
                self._troubles.pop(key, None)
                self._on_change()
            case RelayLost(key, reason):
                self._note(self._troubles, key, reason)
                self._on_change()
            case TicketNeeded(key):
                if key in self._names:
                    self.approach_later(self._names[key], key)

    def mapped(self, addresses: Sequence[Address]) -> None:
        """Learn which ports in the world routers have opened for us: all of them, each time."""
        self._mapped = tuple(addresses)
        self._tell(self.reach.nat)
        self._node.wake()

    def _arrived(self, datagrams: Datagrams) -> None:
        self._node.arrived(datagrams)

    def _broken(self, address: Address, why: str) -> None:
        self._front.unsendable(address, why, self._node.now())
        self._node.wake()

    # --- our own addresses ---

    def _watch(self) -> None:
        """Look at this machine's addresses now and then, and at what else has changed."""
        ahead, changes = time.time() - time.monotonic(), Changes()
        while not self._stopping.is_set():
            before, ahead = ahead, time.time() - time.monotonic()
            self._look(asleep=ahead - before > ASLEEP_SECONDS)
            for card in self._core.missed():
                if self._node.now() >= self._asked.get(card.key, -MISSED_SECONDS) + MISSED_SECONDS:
                    self.approach_later(card.name, card.key)
            changes.wait(LOOK_SECONDS)
        changes.close()

    def _look(self, asleep: bool) -> None:
        hosts, now = host_addresses(), self._node.now()
        if hosts != self._hosts or asleep:
            first, self._hosts = not self._hosts, hosts
            self._front.hosts([(host, self._port) for host in hosts])
            self._tell(self.reach.nat)
            if not first:
                log.info("The network has changed.")
                self._front.relearn(now)
                self._core.network_changed(now)
                self.on_network_changed()
                self._servers = None
        stun = self._directory.servers.stun
        if stun != self._servers and (servers := _resolved_stun(stun)):
            self._servers = stun
            self._front.learn(servers, self._node.now())
        self._node.wake()

    def _tell(self, nat: Nat) -> None:
        """Tell the core where we may be reached, and the rendezvous what stands in front of us."""
        found = [Candidate(Found.HOST, (host, self._port)) for host in self._hosts]
        seen = {candidate.address for candidate in found}
        for kind, addresses in ((Found.REFLEXIVE, self._reflexive), (Found.MAPPED, self._mapped)):
            found += [Candidate(kind, address) for address in addresses if address not in seen]
        kept = set(allowed((candidate.address[0] for candidate in found), self._left_out))
        self.candidates = tuple(candidate for candidate in found if candidate.address[0] in kept)
        self._core.set_candidates(self.candidates, nat, self._node.now())
        self.reach = self._reach_of(nat)
        if self.reach.udp is not None:
            self._directory.publish_reach(self.reach.words())
        self._on_change()

    def _reach_of(self, nat: Nat) -> forecast.Reach:
        udp = True if self._reflexive else False if nat.mapping is Mapping.BLOCKED else None
        ipv6 = any(_is_global_v6(candidate.address[0]) for candidate in self.candidates)
        return forecast.Reach(nat, udp, ipv6, bool(self._mapped))

    # --- relays ---

    def _bind(self, given: RelayTicket) -> None:
        """Bind at the relay of a ticket, over UDP or the WebSocket of the rendezvous."""
        key = given.ticket.peer
        self._note(self._names, key, given.name)
        servers = resolved(given.relay)
        now = self._node.now()
        lasts = min(max(given.ticket.expires - time.time(), SHORTEST_TICKET), TICKET_SECONDS)
        self._front.relay(key, given.ticket, given.secret, [*servers, WEBSOCKET], now, lasts)
        self._node.wake()

    def _note(self, notes: dict[bytes, str], key: bytes, text: str) -> None:
        notes.pop(key, None)
        notes[key] = text
        if len(notes) > MOST_KNOWN:
            del notes[next(iter(notes))]


def resolved(place: Address) -> list[Address]:
    """Return the addresses of a server; none where its name is not known. It may take a while."""
    host, port = place
    found: list[Any] = []
    with contextlib.suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    return list(dict.fromkeys((str(address[0]).partition("%")[0], port) for *_, address in found))[:MOST_RESOLVED]


def _resolved_stun(places: Sequence[StunPlace]) -> list[StunServer]:
    return [StunServer(address, place.second_port) for place in places for address in resolved(place.address)]


def _is_global_v6(host: str) -> bool:
    address = ip_address(host)
    return address.version == 6 and not address.is_loopback and address not in _PRIVATE_V6


def _written(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
