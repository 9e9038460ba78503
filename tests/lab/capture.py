"""What goes over a machine's interfaces, packet by packet: a packet socket in its namespace, read by a thread.

Knows IP headers and bytes, nothing of what they mean. Used by test_capture.py.
"""

import socket
import struct
import threading
import time
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Final

from tests.lab.topology import Machine

_ETH_P_ALL: Final = 3
_SO_RCVBUFFORCE: Final = 33
_ROOM: Final = 16 * 2**20
_STATISTICS: Final = (263, 6)  # SOL_PACKET, PACKET_STATISTICS


@dataclass(frozen=True, slots=True)
class Packet:
    """One IP packet, and the monotonic time at which it was seen."""

    when: float
    data: bytes

    @property
    def ends(self) -> set[str]:
        """The two addresses of its header."""
        if self.data[0] >> 4 == 4:
            return {socket.inet_ntop(socket.AF_INET, self.data[at : at + 4]) for at in (12, 16)}
        return {socket.inet_ntop(socket.AF_INET6, self.data[at : at + 16]) for at in (8, 24)}

    def names(self, address: str) -> bool:
        """Tell whether an address stands anywhere in it: in its header, as bytes, or as text."""
        return address in self.ends or ip_address(address).packed in self.data or address.encode() in self.data


class Capture:
    """All packets of a machine but those of its loopback, for the length of a `with` block."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.packets: list[Packet] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "Capture":
        with self.machine.space.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        self._socket.settimeout(0.05)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        _, dropped = struct.unpack("II", self._socket.getsockopt(*_STATISTICS, 8))
        self._socket.close()
        assert not dropped or kind is not None, f"{dropped} packets were not seen"

    def _read(self) -> None:
        while not self._ended.is_set():
            try:
                data, (device, *_) = self._socket.recvfrom(65535)
            except TimeoutError:
                continue
            if device != "lo" and data and data[0] >> 4 in (4, 6):
                self.packets.append(Packet(time.monotonic(), data))

    def naming(self, *addresses: str) -> list[Packet]:
        """Return the packets so far that name one of these addresses."""
        return [packet for packet in list(self.packets) if any(packet.names(address) for address in addresses)]
