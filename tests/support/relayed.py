"""A relay without sockets, and agents at addresses that say what the tests want them to say."""

import hashlib
import hmac
import random
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rendezvous.contract import relay
from rendezvous.contract.relay import Refusal
from rendezvous.contract.ticket import Side, Ticket
from rendezvous.relay import Out, Place, Relay
from rendezvous.relay_budget import Rules

SERVER = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x01")
SERVER_KEY = SERVER.public_key().public_bytes_raw()
HERE = "relay.example:3478"
START = 1_000_000.0


def person(number: int) -> bytes:
    """Return the key of somebody."""
    return hashlib.sha256(number.to_bytes(4, "big")).digest()


def secret_of(ticket: Ticket) -> bytes:
    """Return the secret of a ticket, as this rendezvous derives it."""
    return hmac.digest(b"the rendezvous alone", ticket.body(), "sha256")


def sign(ticket: Ticket) -> Ticket:
    """Return a ticket signed by the rendezvous."""
    return ticket.signed(SERVER.sign(ticket.message()))


class Bench:
    """A relay, its clock, and what it sent."""

    def __init__(self, **rules: Any) -> None:
        self.now = START
        self._chance = random.Random(3478)
        self.relay = Relay(HERE, SERVER_KEY, secret_of, self._chance.randbytes, replace(Rules(), **rules))

    def tickets(
        self, asker: int = 1, other: int = 2, budget: int = 1 << 30, seconds: int = 3600, place: str = HERE
    ) -> list[Ticket]:
        """Return both sides of a new ticket."""
        id, expires = self._chance.randbytes(16), int(self.now) + seconds
        return [sign(Ticket(id, side, person(asker), person(other), place, expires, budget)) for side in Side]

    def send(self, datagram: bytes, place: Place) -> list[Out]:
        """Let the relay receive a datagram."""
        return self.relay.receive(datagram, place, self.now)

    def challenge(self, ticket: Ticket, place: Place, transaction: bytes = b"transact") -> bytes:
        """Ask for a challenge and return it."""
        ((datagram, to),) = self.send(relay.Bind(transaction, ticket).encode(), place)
        assert to == place
        found = relay.decode(datagram)
        assert isinstance(found, relay.Challenge), found
        return found.challenge

    def proof(self, ticket: Ticket, place: Place, secret: bytes | None = None) -> bytes:
        """Ask for a challenge and return the answer to it."""
        challenge = self.challenge(ticket, place)
        mac = relay.proof_of(secret or secret_of(ticket), challenge, ticket)
        return relay.Proof(b"transact", challenge, mac, ticket).encode()

    def bind(self, ticket: Ticket, place: Place, secret: bytes | None = None) -> relay.Bound | Refusal:
        """Bind one side; return what the relay said to it."""
        return said(self.send(self.proof(ticket, place, secret), place), place)


def said(sent: list[Out], place: Place) -> relay.Bound | Refusal:
    """Return what was said to a place that wanted to be bound."""
    found = next(relay.decode(datagram) for datagram, to in sent if to == place)
    if isinstance(found, relay.Refused):
        return found.code
    assert isinstance(found, relay.Bound), found
    return found
