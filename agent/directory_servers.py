"""What a rendezvous has beside its directory: STUN servers, relays, and tickets for those. Used by `directory.py`.

Reads what it says of them. Hosts are names or addresses: whoever uses them has them resolved.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.protocol.packet import Address
from rendezvous.contract.encoding import from_text
from rendezvous.contract.names import canonical
from rendezvous.contract.ticket import SECRET_SIZE, Ticket, decode_ticket

_MOST: Final = 8
_LONGEST_HOST: Final = 253


@dataclass(frozen=True, slots=True)
class StunPlace:
    """A STUN server whose host is not resolved yet, and the second port that it answers from, if it has one."""

    address: Address
    second_port: int | None


@dataclass(frozen=True, slots=True)
class Servers:
    """The STUN servers and relays of one rendezvous."""

    stun: tuple[StunPlace, ...] = ()
    relays: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class RelayTicket:
    """Our side's ticket to the peer who signed up as `name`, its secret, and where its relay is."""

    name: str
    ticket: Ticket
    secret: bytes = field(repr=False)
    relay: Address


def read_servers(answer: Mapping[str, object], host: str) -> Servers:
    """Read what `GET /identity` says; what does not hold is left out. `host` is that of the rendezvous itself."""
    stun = [_stun(value, host) for value in _list(answer.get("stun"))]
    if not stun:
        ports = [port for port in map(_port, _list(answer.get("stun_ports"))) if port]
        stun = [StunPlace((host, ports[0]), ports[1] if len(ports) > 1 else None)] if ports else []
    relays = [read_place(value, host) for value in _list(answer.get("relay"))]
    return Servers(tuple(s for s in stun if s is not None), tuple(r for r in relays if r is not None))


def read_ticket(value: object, peer: str | None, holder: bytes, server: bytes, host: str) -> RelayTicket:
    """Read a ticket that `server` has signed for `holder`, about `peer` or whom it names; ValueError."""
    if not isinstance(value, Mapping):
        raise ValueError("it is not an object")
    name, text, secret = peer or value.get("peer"), value.get("ticket"), value.get("secret")
    if not isinstance(name, str) or not isinstance(text, str) or not isinstance(secret, str):
        raise ValueError("it is not whole")
    if canonical(name) != name and peer is None:
        raise ValueError("a name is not in its canonical form")
    ticket = decode_ticket(from_text(text))
    if ticket.holder != holder or not ticket.valid(server, 0):  # whether its time has passed is for the relay to say
        raise ValueError("it is not for this agent, or not signed")
    relay = read_place(ticket.relay, host)
    if relay is None:
        raise ValueError("it names no relay")
    return RelayTicket(name, ticket, from_text(secret, SECRET_SIZE), relay)


def read_place(value: object, host: str) -> Address | None:
    """Read HOST:PORT, whose host is `host` where it is empty; None for anything else."""
    if not isinstance(value, str):
        return None
    named, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or len(port) > 5 or not _port(int(port)):
        return None
    named = named.strip("[]") or host
    return (named, int(port)) if len(named) <= _LONGEST_HOST and named.isprintable() else None


def _stun(value: object, host: str) -> StunPlace | None:
    second = None
    if isinstance(value, Mapping):
        second, value = value.get("second_port"), value.get("address")
    address = read_place(value, host)
    return None if address is None else StunPlace(address, _port(second))


def _list(value: object) -> list[object]:
    return value[:_MOST] if isinstance(value, list) else []


def _port(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536 else None
