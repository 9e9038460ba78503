"""Where the datagrams of one agent go that come over a WebSocket: to the relays that its tickets name, nowhere else.
Datagram in, datagram and relay out; the time comes in. Used by `relay_websocket.py`.

Owns which tickets and bindings one connection has shown, no socket. A ticket is believed if this rendezvous has signed
it: so no agent can name an address. Which sides are bound, and how much they may send, is the relay's business
(`relay.py`): to it this is one more address that has to prove itself.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from rendezvous.contract import relay
from rendezvous.contract.relay import Kind, Refusal
from rendezvous.contract.ticket import Ticket
from rendezvous.relay_budget import Bucket

MOST_TICKETS: Final = 64
"""Tickets and bindings that one connection may have: as many as one person may have bindings."""
MOST_RELAYS: Final = 8
BINDS: Final = 128.0
BINDS_PER_SECOND: Final = 4.0
"""How often one connection may ask to be bound: a signature has to be checked for each new ticket."""

BACK: Final = ""
"""Instead of a relay: back to the agent."""


class Passed(NamedTuple):
    """A datagram, and the relay that it is for (HOST:PORT as in its ticket), or BACK."""

    to: str
    datagram: bytes


class Bridge:
    """What one connection has shown. `key`: the rendezvous' Ed25519 key."""

    def __init__(self, key: bytes, now: float, may_bind: Callable[[], bool] = lambda: True) -> None:
        """Take also what tells whether the agent's address may begin a binding once more."""
        self._key, self._may_bind = key, may_bind
        self._tickets: OrderedDict[bytes, str] = OrderedDict()
        self._bindings: OrderedDict[bytes, str] = OrderedDict()
        self._binds = Bucket(BINDS_PER_SECOND, BINDS, now)

    @property
    def welcome(self) -> bool:
        """Tell whether a ticket has been shown that this rendezvous has signed."""
        return bool(self._tickets)

    def take(self, datagram: bytes, now: float) -> Passed | None:
        """Take one datagram of the agent's; None: it goes nowhere. `now` in Unix seconds."""
        kind = datagram[0]
        if kind in (Kind.DATA, Kind.KEEPALIVE):
            to = self._bindings.get(datagram[1 : relay.HEADER_SIZE])
            return Passed(to, datagram) if to is not None else None
        found = relay.decode(datagram)
        if not isinstance(found, relay.Bind | relay.Proof) or self._binds.fill(now) < 1:
            return None
        self._binds.left -= 1
        if not self._may_bind():
            return None
        refusal = self._judge(found.ticket, now)
        if refusal is not None:
            return Passed(BACK, relay.Refused(found.transaction, refusal).encode())
        return Passed(found.ticket.relay, datagram)

    def heard(self, datagram: bytes, relay_name: str) -> None:
        """Take note of what a relay says to the agent: a binding is that relay's."""
        if datagram[0] == Kind.BOUND and isinstance(found := relay.decode(datagram), relay.Bound):
            self._bindings[found.binding] = relay_name
            self._bindings.move_to_end(found.binding)
            if len(self._bindings) > MOST_TICKETS:
                self._bindings.popitem(last=False)

    def _judge(self, ticket: Ticket, now: float) -> Refusal | None:
        if now >= ticket.expires:
            return Refusal.EXPIRED
        known = ticket.encode()
        if known not in self._tickets:
            if not ticket.valid(self._key, now):
                return Refusal.BAD_PROOF
            relays = set(self._tickets.values())
            if ticket.relay not in relays and len(relays) >= MOST_RELAYS:
                return Refusal.TOO_MANY
            self._tickets[known] = ticket.relay
            if len(self._tickets) > MOST_TICKETS:
                self._tickets.popitem(last=False)
        return None
