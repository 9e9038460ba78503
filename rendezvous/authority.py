"""This server's own key: what it signs, and what it derives from it. Used by `routes.py` and `events.py`.

The seed is in the store, one for all processes; each reads it once, when it is first needed.
"""

import hashlib
import hmac
import secrets
import time
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rendezvous.contract.statement import Statement
from rendezvous.contract.ticket import ID_SIZE, Side, Ticket
from rendezvous.people import Claim
from rendezvous.relay_budget import Rules
from rendezvous.store import Store

TICKET_SECONDS: Final = 3600
_SECRETS: Final = b"tmge-ticket-secret-v1\0"


class Authority:
    """The key of this server. Methods raise Unavailable as long as the store has not given it."""

    def __init__(self, store: Store, relay: str = "", ticket_bytes: int = Rules().ticket_bytes) -> None:
        """Take the store, the HOST:PORT at which the relay can be reached, and how much a ticket is good for."""
        self._store, self._relay, self._ticket_bytes = store, relay, ticket_bytes
        self._private: Ed25519PrivateKey | None = None
        self._public = b""

    @property
    def key(self) -> bytes:
        """Return the public key: the audience of every sign-up here."""
        if not self._public:
            self._public = self._signer().public_key().public_bytes_raw()
        return self._public

    def signed(self, statement: Statement) -> Statement:
        """Return a statement with our signature."""
        return statement.signed(self._signer().sign(statement.message()))

    def statement(self, claim: Claim, claimed: int, at: int) -> Statement:
        """Return our word on a claim, for the times that the store finds."""
        return self.signed(claim.statement(claimed, at, self.key))

    @property
    def relay(self) -> str:
        """Return the HOST:PORT of the relay here; empty where there is none."""
        return self._relay

    def tickets(self, asker: bytes, other: bytes, relay: str = "") -> list[tuple[Ticket, bytes]]:
        """Return a ticket for each of two identities, and the secret that belongs to it, for a relay that this server
        has said is one of its own (the one here, where it is not said).
        """
        id, expires = secrets.token_bytes(ID_SIZE), int(time.time()) + TICKET_SECONDS
        made = []
        for side in Side:
            ticket = Ticket(id, side, asker, other, relay or self._relay, expires, self._ticket_bytes)
            ticket = ticket.signed(self._signer().sign(ticket.message()))
            made.append((ticket, self.secret_of(ticket)))
        return made

    def secret_of(self, ticket: Ticket) -> bytes:
        """Return the secret of a ticket: a relay finds it from the ticket alone, its holder cannot."""
        seed = self._signer().private_bytes_raw()
        return hmac.new(hashlib.sha256(_SECRETS + seed).digest(), ticket.body(), hashlib.sha256).digest()

    def _signer(self) -> Ed25519PrivateKey:
        if self._private is None:
            self._private = Ed25519PrivateKey.from_private_bytes(self._store.identity())
        return self._private
