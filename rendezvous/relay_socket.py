"""The relay on the sockets of the UDP loop. Used by the entry point.

Owns which socket a datagram came in by, so that what is forwarded leaves from the socket and the address that the
receiver knows, and how often one address may begin a binding.
"""

import socket
import struct
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from rendezvous.contract import relay
from rendezvous.proxies import network_of, plain
from rendezvous.relay import Out, Place, Relay
from rendezvous.throttle import Throttle
from rendezvous.udp import Ancillary, same_source, send, send_batch

_ANCILLARY_HEAD: Final = struct.Struct("=ii")
_DATA: Final = int(relay.Kind.DATA)
_BINDING: Final = (int(relay.Kind.BIND), int(relay.Kind.PROOF))
_KNOWN: Final = 10_000
"""Places that are found again fast; a flood of others makes it begin anew."""


class RelaySockets:
    """Hands datagrams to the relay and sends what it says, by whichever socket."""

    def __init__(self, made: Relay, sockets: Sequence[socket.socket]) -> None:
        self._relay, self._sockets = made, list(sockets)
        self._doors = {id(sock): number for number, sock in enumerate(self._sockets)}
        self._throttle = Throttle()
        self._places: dict[tuple[object, ...], Place] = {}
        self._ways: dict[Place, Way] = {}

    def take(
        self, sock: socket.socket, batch: memoryview, size: int, address: tuple[Any, ...], ancillary: Ancillary
    ) -> None:
        """Take datagrams of the relay's, as `udp.Forward` has them."""
        place, now = self._place(sock, address, ancillary), time.time()
        if batch[0] == _DATA and _are_alike(batch, size):
            used, to, others = self._relay.forward(batch, size, place, now)
            if to is not None:
                way = self._way(to)
                send_batch(way.sock, batch[:used], size, way.address, way.source)
            self._send(others)
            return
        for at in range(0, len(batch), size):
            datagram = bytes(batch[at : at + size])
            if datagram[0] in _BINDING and not self._may_bind(place.host):
                self._relay.outcomes["throttled"] += 1
            else:
                self._send(self._relay.receive(datagram, place, now))

    def _may_bind(self, host: str) -> bool:
        """Tell whether an address may begin a binding once more; what our own WebSockets pass on has been counted."""
        return plain(host).is_loopback or self._throttle.take(network_of(host))

    def _send(self, outs: list[Out]) -> None:
        for datagram, to in outs:
            way = self._way(to)
            send(way.sock, datagram, way.address, way.source)

    def _place(self, sock: socket.socket, address: tuple[Any, ...], ancillary: Ancillary) -> Place:
        """Return where a datagram came from, found again fast."""
        key = (id(sock), address, *ancillary)
        place = self._places.get(key)
        if place is None:
            local = b"".join(_ANCILLARY_HEAD.pack(level, kind) + data for level, kind, data in same_source(ancillary))
            place = Place(address[0], address[1], address[3] if len(address) == 4 else 0, self._doors[id(sock)], local)
            if len(self._places) >= _KNOWN:
                self._places.clear()
            self._places[key] = place
        return place

    def _way(self, to: Place) -> "Way":
        """Return how a place is reached, found again fast."""
        way = self._ways.get(to)
        if way is None:
            sock = self._sockets[to.door]
            address = (to.host, to.port) if sock.family == socket.AF_INET else (to.host, to.port, 0, to.scope)
            if len(self._ways) >= _KNOWN:
                self._ways.clear()
            way = self._ways[to] = Way(sock, address, _source(to.local))
        return way


class Way(NamedTuple):
    """How a place is reached."""

    sock: socket.socket
    address: tuple[Any, ...]
    source: Ancillary


def _are_alike(batch: memoryview, size: int) -> bool:
    """Tell whether all datagrams of a batch are of one binding."""
    if len(batch) <= size:
        return True
    head = batch[: relay.HEADER_SIZE]
    return all(batch[at : at + relay.HEADER_SIZE] == head for at in range(size, len(batch), size))


def _source(local: bytes) -> Ancillary:
    if not local:
        return []
    level, kind = _ANCILLARY_HEAD.unpack_from(local)
    return [(level, kind, local[_ANCILLARY_HEAD.size :])]
