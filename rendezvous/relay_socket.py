"""The relay on the sockets of the UDP loop. Used by the entry point.

Owns which socket a datagram came in by, so that what is forwarded leaves from the socket and the address that the
receiver knows, and how often one address may begin a binding.
"""

import logging
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any, Final

from rendezvous.contract import relay
from rendezvous.proxies import network_of
from rendezvous.relay import Place, Relay
from rendezvous.throttle import Throttle
from rendezvous.udp import Ancillary, send

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
