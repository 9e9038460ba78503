"""The relay on the sockets of the UDP loop, and its test of itself. Used by the entry point.

Owns which socket a datagram came in by, so that what is forwarded leaves from the socket and the address that the
receiver knows, and how often one address may begin a binding.
"""

import logging
import secrets
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from rendezvous.authority import Authority
from rendezvous.contract import relay
from rendezvous.contract.ticket import Ticket
from rendezvous.proxies import network_of
from rendezvous.relay import Place, Relay
from rendezvous.throttle import Throttle
from rendezvous.udp import Ancillary, send

TRIES: Final = 3
TRY_SECONDS: Final = 1.0
_CHECKED: Final = b"\xe4 the relay asks itself"
Wanted = TypeVar("Wanted")
_ANCILLARY_HEAD: Final = struct.Struct("=ii")

log = logging.getLogger(__name__)


class RelaySockets:
    """Hands datagrams to the relay and sends what it says, by whichever socket."""

    def __init__(self, made: Relay, sockets: Sequence[socket.socket]) -> None:
        self._relay, self._sockets = made, list(sockets)
        self._doors = {id(sock): number for number, sock in enumerate(self._sockets)}
        self._throttle = Throttle()

    def take(self, sock: socket.socket, datagram: bytes, address: tuple[Any, ...], source: Ancillary) -> None:
        """Take one datagram of the relay's; `source` makes a reply leave from where it came to."""
        if datagram[0] in (relay.Kind.BIND, relay.Kind.PROOF) and not self._throttle.take(network_of(address[0])):
            self._relay.outcomes["throttled"] += 1
            return
        scope = address[3] if len(address) == 4 else 0
        local = b"".join(_ANCILLARY_HEAD.pack(level, kind) + data for level, kind, data in source)
        place = Place(address[0], address[1], scope, self._doors[id(sock)], local)
        for out, to in self._relay.receive(datagram, place, time.time()):
            leaves_by = self._sockets[to.door]
            there = (to.host, to.port) if leaves_by.family == socket.AF_INET else (to.host, to.port, 0, to.scope)
            send(leaves_by, out, there, _source(to.local))


def _source(local: bytes) -> Ancillary:
    if not local:
        return []
    level, kind = _ANCILLARY_HEAD.unpack_from(local)
    return [(level, kind, local[_ANCILLARY_HEAD.size :])]


def check(authority: Authority, address: str, fallback: str) -> None:
    """Bind two sides at the address that tickets name and send through it both ways; OSError with a sentence where
    that does not work. A host that is empty is `fallback`.
    """
    host, _, port = address.rpartition(":")
    family, _, _, _, there = socket.getaddrinfo(host.strip("[]") or fallback, int(port), type=socket.SOCK_DGRAM)[0]
    made = authority.tickets(secrets.token_bytes(32), secrets.token_bytes(32))
    with socket.socket(family, socket.SOCK_DGRAM) as first, socket.socket(family, socket.SOCK_DGRAM) as second:
        bindings = []
        for sock, (ticket, secret) in zip((first, second), made, strict=True):
            sock.connect(there)
            sock.settimeout(TRY_SECONDS)
            bindings.append(bind(sock, ticket, secret).binding)
        for sender, receiver, binding in ((first, second, bindings[0]), (second, first, bindings[1])):
            found = ask(sender, relay.Data(binding, _CHECKED).encode(), relay.Data, receiver)
            if found.inner != _CHECKED:
                raise OSError("something else came through")


def bind(sock: socket.socket, ticket: Ticket, secret: bytes) -> relay.Bound:
    """Bind a connected socket that has a timeout; OSError where that is refused or nobody answers."""
    transaction = secrets.token_bytes(relay.TRANSACTION_SIZE)
    challenge = ask(sock, relay.Bind(transaction, ticket).encode(), relay.Challenge).challenge
    mac = relay.proof_of(secret, challenge, ticket)
    return ask(sock, relay.Proof(transaction, challenge, mac, ticket).encode(), relay.Bound)


def ask(sock: socket.socket, datagram: bytes, wanted: type[Wanted], listener: socket.socket | None = None) -> Wanted:
    """Send until something of this kind comes, three times; OSError where it does not."""
    for _ in range(TRIES):
        sock.send(datagram)
        try:
            while True:
                found = relay.decode((listener or sock).recv(2048))
                if isinstance(found, relay.Refused):
                    raise OSError(f"it refuses: {found.code.name.lower()}")
                if isinstance(found, wanted):
                    return found
        except TimeoutError:
            continue
    raise OSError("nobody answers")
