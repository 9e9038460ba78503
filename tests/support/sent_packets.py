"""Packets that leave, and what became of them: for tests of loss recovery."""

from typing import ClassVar

from agent.protocol.congestion import Controller
from agent.protocol.frames import Ack
from agent.protocol.recovery import Recovery

SIZE = 1200
RTT = 0.1


class Numbers:
    """What became of packets, by number."""

    tells_congestion: ClassVar = True

    def __init__(self, base: int = 0) -> None:
        self.base = base
        self.arrived_ones: list[int] = []
        self.lost_ones: list[int] = []

    def arrived(self, index: int, count: int) -> None:
        self.arrived_ones += range(self.base + index, self.base + index + count)

    def lost(self, index: int, count: int) -> None:
        self.lost_ones += range(self.base + index, self.base + index + count)


def recovery(rtt: float | None = RTT) -> Recovery:
    made = Recovery(Controller(SIZE, 0.0), 12345)
    if rtt is not None:
        made.set_rtt(rtt)
    return made


def send(to: Recovery, count: int, now: float) -> Numbers:
    """Send a run of packets of which each wants an acknowledgement."""
    content = Numbers(to.allocate(count))
    to.sent(content.base, count, SIZE, content, now)
    return content


def ack(*ranges: tuple[int, int], delay: float = 0.0) -> Ack:
    return Ack(delay, ranges)
