"""Whether the relay works where tickets say that it is: the rendezvous tries it as two agents would, at its start, by
UDP and over its own WebSocket. Used by the entry point.

Owns an agent's side of binding, in a few lines without retransmission timers.
"""

import secrets
import socket
from typing import Any, Final, Protocol, TypeVar

import websocket

from rendezvous.authority import Authority
from rendezvous.contract import relay
from rendezvous.contract.ticket import Ticket

TRIES: Final = 3
TRY_SECONDS: Final = 1.0
_CHECKED: Final = b"\xe4 the relay asks itself"
Wanted = TypeVar("Wanted")


class Line(Protocol):
    """What datagrams go over: a connected socket that has a timeout, or a WebSocket."""

    def send(self, datagram: bytes, /) -> Any:
        """Send one."""

    def recv(self, size: int, /) -> bytes:
        """Return the next one; TimeoutError where none comes in time."""

    def close(self) -> None:
        """End it."""


class WebSocketLine:
    """Datagrams over the WebSocket of a rendezvous. Raises OSError, as a socket does."""

    def __init__(self, url: str, timeout: float) -> None:
        """Connect; `url` is that of the rendezvous, http or https."""
        self._waiting: list[bytes] = []
        address = "ws" + url.removeprefix("http") + relay.WEBSOCKET_PATH
        try:
            self._socket = websocket.create_connection(address, timeout=timeout, suppress_origin=True)
        except websocket.WebSocketException as error:
            raise OSError(str(error)) from None

    def send(self, *datagrams: bytes) -> None:
        """Send datagrams in one message."""
        try:
            self._socket.send_binary(relay.join(datagrams))
        except websocket.WebSocketException as error:
            raise OSError(str(error)) from None

    def recv(self, size: int = 0) -> bytes:
        """Return the next datagram; TimeoutError where none comes in time."""
        while not self._waiting:
            try:
                _, message = self._socket.recv_data()
                self._waiting = relay.split(message)
            except websocket.WebSocketTimeoutException:
                raise TimeoutError from None
            except (websocket.WebSocketException, ValueError) as error:
                raise OSError(str(error)) from None
        return self._waiting.pop(0)

    def close(self) -> None:
        """End it."""
        self._socket.close()


def check_udp(authority: Authority, address: str, fallback: str) -> None:
    """Try both sides of a ticket by UDP at the address that tickets name; OSError with a sentence where that does not
    work. A host that is empty is `fallback`.
    """
    host, _, port = address.rpartition(":")
    family, _, _, _, there = socket.getaddrinfo(host.strip("[]") or fallback, int(port), type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as first, socket.socket(family, socket.SOCK_DGRAM) as second:
        for sock in (first, second):
            sock.connect(there)
            sock.settimeout(TRY_SECONDS)
        _check(authority, first, second)


def check_websocket(authority: Authority, url: str) -> None:
    """Try both sides over the WebSocket of a rendezvous; OSError with a sentence where that does not work."""
    first = WebSocketLine(url, TRY_SECONDS)
    try:
        second = WebSocketLine(url, TRY_SECONDS)
        try:
            _check(authority, first, second)
        finally:
            second.close()
    finally:
        first.close()


def _check(authority: Authority, first: Line, second: Line) -> None:
    """Bind both sides of a ticket, and send through it both ways."""
    made = authority.tickets(secrets.token_bytes(32), secrets.token_bytes(32))
    mine, theirs = (bind(line, *one).binding for line, one in zip((first, second), made, strict=True))
    for sender, receiver, binding in ((first, second, mine), (second, first, theirs)):
        found = ask(sender, relay.Data(binding, _CHECKED).encode(), relay.Data, receiver)
        if found.inner != _CHECKED:
            raise OSError("something else came through")


def bind(line: Line, ticket: Ticket, secret: bytes) -> relay.Bound:
    """Bind one side; OSError where that is refused or nobody answers."""
    transaction = secrets.token_bytes(relay.TRANSACTION_SIZE)
    challenge = ask(line, relay.Bind(transaction, ticket).encode(), relay.Challenge).challenge
    mac = relay.proof_of(secret, challenge, ticket)
    return ask(line, relay.Proof(transaction, challenge, mac, ticket).encode(), relay.Bound)


def ask(line: Line, datagram: bytes, wanted: type[Wanted], listener: Line | None = None) -> Wanted:
    """Send until something of this kind comes, three times; OSError where it does not."""
    for _ in range(TRIES):
        line.send(datagram)
        try:
            while True:
                found = relay.decode((listener or line).recv(2048))
                if isinstance(found, relay.Refused):
                    raise OSError(f"it refuses: {found.code.name.lower()}")
                if isinstance(found, wanted):
                    return found
        except TimeoutError:
            continue
    raise OSError("nobody answers")
