"""What stands between the endpoint and the socket: relays and STUN servers. Sans-IO, with the same five doors.

What comes from relays and STUN servers goes to their clients; relayed datagrams go up under relayed addresses, and what
the endpoint sends to those goes down wrapped. Verbs about peers stay the endpoint's: callers keep it. After any door or
verb of either, call the doors here as the endpoint's docstring says. Used by `agent.node` and `agent.app`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from agent.protocol import handshake, packet
from agent.protocol.candidates import RELAY_UDP, RELAY_WS
from agent.protocol.events import Event
from agent.protocol.packet import Address, Datagrams
from agent.protocol.reach_events import ReachEvent
from agent.protocol.relays import Relays, RelayStatus, Routes
from rendezvous.contract.relay import FIRST_BYTES
from rendezvous.contract.ticket import Ticket

_RELAYED = (RELAY_UDP, RELAY_WS)
_PEERS = (handshake.INITIATION, handshake.RESPONSE, handshake.COOKIE, packet.DATA)


class Core(Routes, Protocol):
    """What is needed of the endpoint: its doors, and where peers can be reached."""

    def receive(self, arrivals: Sequence[Datagrams], now: float) -> None: ...
    def datagrams_to_send(self, now: float) -> list[Datagrams]: ...
    def next_event(self) -> Event | None: ...
    def next_timeout(self) -> float | None: ...
    def handle_timeout(self, now: float) -> None: ...
    def close(self, now: float) -> None: ...
    def unsendable(self, address: Address, reason: str, now: float) -> None: ...


class Front:
    """The endpoint's doors, with relays and STUN servers beside them. `random(n)` returns n random bytes."""

    def __init__(self, endpoint: Core, random: Callable[[int], bytes]) -> None:
        self._endpoint = endpoint
        self._relays = Relays(endpoint, random)
        self._events = self._relays.events

    # --- verbs ---

    def relay(
        self, key: bytes, ticket: Ticket, secret: bytes, servers: Sequence[Address], now: float, lasts: float = 3600.0
    ) -> None:
        """Reach a peer through the relay at `servers`, by a ticket that is good for `lasts` seconds.

        `("websocket", 0)` among the servers is the WebSocket of the rendezvous, used where UDP is silent: its datagrams
        leave for `("websocket", n)`, a connection for each n. What becomes of it: RelayBound, RelayLost, TicketNeeded.
        """
        self._relays.relay(key, ticket, secret, servers, now, lasts)

    def release(self, key: bytes, now: float) -> None:
        """Reach a peer through no relay any more; what is not needed is released by itself after two minutes."""
        self._relays.release(key, now)

    def relays(self) -> list[RelayStatus]:
        """Return how it stands with all relays."""
        return self._relays.statuses()

    def relearn(self, now: float) -> None:
        """Learn everything anew that depends on our addresses: the network has changed."""
        self._relays.rebind(now)

    def unsendable(self, address: Address, reason: str, now: float) -> None:
        """Learn that the kernel, ICMP or the WebSocket says that datagrams to an address do not go (see Endpoint)."""
        self._relays.unsendable(address, now)
        self._endpoint.unsendable(address, reason, now)

    def close(self, now: float) -> None:
        """Say goodbye to all peers: the agent stops. Next: `datagrams_to_send`, until there is nothing."""
        self._endpoint.close(now)

    # --- the five doors ---

    def receive(self, arrivals: Sequence[Datagrams], now: float) -> None:
        """Take datagrams."""
        if not all(datagrams.data and datagrams.data[0] in _PEERS for datagrams in arrivals):
            arrivals = self._taken_apart(arrivals, now)
        if arrivals:
            self._endpoint.receive(arrivals, now)

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        """Return datagrams to send now, none if there are none. Their data is good until the next call."""
        if out := self._relays.datagrams_to_send():
            return out
        while out := self._endpoint.datagrams_to_send(now):
            if not any(datagrams.address[0] in _RELAYED for datagrams in out):
                return out
            if wrapped := self._wrapped(out, now):
                return wrapped
        return []

    def next_event(self) -> Event | ReachEvent | None:
        """Return what happened next, or None."""
        return self._events.popleft() if self._events else self._endpoint.next_event()

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` must be called at the latest, or None."""
        times = (self._endpoint.next_timeout(), self._relays.next_timeout())
        return min((time for time in times if time is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Act on what is due. Too early or too often does no harm."""
        self._relays.handle_timeout(now)
        self._endpoint.handle_timeout(now)

    # --- inside ---

    def _taken_apart(self, arrivals: Sequence[Datagrams], now: float) -> list[Datagrams]:
        """Hand over what is for the clients; return the rest, and what was inside."""
        up = []
        for datagrams in arrivals:
            data, size, at = datagrams.data, datagrams.size, 0
            if data and data[0] in _PEERS:
                up.append(datagrams)
                continue
            while at < len(data):
                inner: Datagrams | None = None
                if data[at] in FIRST_BYTES:
                    inner, read = self._relays.receive(datagrams, at, now)
                else:
                    inner, read = Datagrams(datagrams.address, data[at : at + size], size), size
                at += read
                if inner is not None:
                    up.append(inner)
        return up

    def _wrapped(self, out: list[Datagrams], now: float) -> list[Datagrams]:
        wrapped = []
        for datagrams in out:
            if datagrams.address[0] in _RELAYED:
                wrapped += self._relays.wrapped(datagrams, now)
            else:
                wrapped.append(datagrams)
        return wrapped
