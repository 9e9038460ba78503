"""The wide network of the lab, in user space: `python -m tests.lab.wide EDGES ROUND_TRIP RATE`.

Makes a TUN device for each edge, `edge0` and on, in the namespace where it is started, and says `ready`; whoever
started it moves them to where they belong. A packet goes to the edge that its destination names: edge N has
51.0.N.0/24 and 2a01:51:N::/48. It arrives half a ROUND_TRIP (ms) later, after all that the same edge was sent before,
at no more than RATE (Mbit/s); what would wait longer than 0.1 s is dropped, as a router would. Ends when stdin ends.

The kernel's own delay (`tc netem`) is missing on some machines, and the lab should be the same everywhere.
"""

import contextlib
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

LONGEST_WAIT: Final = 0.1
_TURN: Final = 64  # packets taken from one edge before the others have their turn
_LARGEST: Final = 2048
_TICK: Final = 0.0005  # seconds in which packets gather: waking for each would cost more than all the rest
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000


@dataclass(slots=True)
class Edge:
    """One edge: its device, what is on its way there, and when its line will be free."""

    device: int
    free_at: float = 0.0
    coming: deque[tuple[float, bytes]] = field(default_factory=deque)


def destination(packet: bytes) -> int:
    """Return the number of the edge that a packet is for; -1 for no edge of ours."""
    if len(packet) >= 20 and packet[0] >> 4 == 4 and packet[16:18] == b"\x33\x00":  # 51.0
        return packet[18]
    if len(packet) >= 40 and packet[0] >> 4 == 6 and packet[24:28] == b"\x2a\x01\x00\x51":
        return int.from_bytes(packet[28:30], "big")
    return -1


class Wide:
    """All edges, and what is on its way between them."""

    def __init__(self, edges: int, round_trip: float, rate: float) -> None:
        self._edges = [Edge(_device(f"edge{number}")) for number in range(edges)]
        self._delay = round_trip / 2000
        self._rate = rate * 1e6 / 8

    def carry(self) -> None:
        """Carry packets until stdin ends."""
        devices = {edge.device: edge for edge in self._edges}
        while True:
            due = min((edge.coming[0][0] for edge in self._edges if edge.coming), default=None)
            limit = None if due is None else max(0.0, due - time.monotonic())
            ready, _, _ = select.select([0, *devices], [], [], limit)
            if 0 in ready and not os.read(0, 64):
                return
            for device in ready:
                if device in devices and not self._take(device):
                    del devices[device]
            self._deliver()
            time.sleep(_TICK)

    def _take(self, device: int) -> bool:
        """Take what an edge sends; False once its namespace is gone."""
        for _ in range(_TURN):
            try:
                packet = os.read(device, _LARGEST)
            except BlockingIOError:
                return True
            except OSError:
                return False
            number = destination(packet)
            if 0 <= number < len(self._edges):
                self._enter(self._edges[number], packet)
        return True

    def _enter(self, edge: Edge, packet: bytes) -> None:
        now = time.monotonic()
        begins = max(now, edge.free_at)
        if begins - now > LONGEST_WAIT:
            return
        edge.free_at = begins + len(packet) / self._rate
        edge.coming.append((edge.free_at + self._delay, packet))

    def _deliver(self) -> None:
        now = time.monotonic()
        for edge in self._edges:
            while edge.coming and edge.coming[0][0] <= now:
                with contextlib.suppress(OSError):  # the device is down: that is what is tried
                    os.write(edge.device, edge.coming.popleft()[1])


def _device(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


if __name__ == "__main__":
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # time that it does not get is the network's error
    wide = Wide(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
    print("ready", flush=True)
    wide.carry()
