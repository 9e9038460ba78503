"""What packets carried, told when they arrived or were lost: the ends of `recovery` that are tied to other parts."""

from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from agent.protocol.control import ControlOut
from agent.protocol.mtu import PathMtu
from agent.protocol.transfer import SendTransfer


class Content(Protocol):
    """What the packets of a run carried; indices count from the run's first packet as it was sent."""

    tells_congestion: ClassVar[bool]

    def arrived(self, index: int, count: int) -> None:
        """Note that these packets arrived."""

    def lost(self, index: int, count: int) -> None:
        """Send what these packets carried again."""


@dataclass(frozen=True, slots=True)
class ControlBytes:
    """What a packet carried of the control stream."""

    tells_congestion: ClassVar = True
    stream: ControlOut
    start: int
    stop: int

    def arrived(self, index: int, count: int) -> None:
        self.stream.acknowledged(self.start, self.stop)

    def lost(self, index: int, count: int) -> None:
        self.stream.lost(self.start, self.stop)


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a batch carried of a transfer: `payload` bytes in each packet but the last."""

    tells_congestion: ClassVar = True
    transfer: SendTransfer
    offset: int
    stop: int
    payload: int

    def arrived(self, index: int, count: int) -> None:
        start = self.offset + index * self.payload
        self.transfer.arrived(start, min(start + count * self.payload, self.stop))

    def lost(self, index: int, count: int) -> None:
        start = self.offset + index * self.payload
        self.transfer.lost(start, min(start + count * self.payload, self.stop))


class Nothing:
    """What a PING carried: it need not be sent again."""

    tells_congestion: ClassVar = True

    def arrived(self, index: int, count: int) -> None: ...

    def lost(self, index: int, count: int) -> None: ...


NOTHING: Final = Nothing()


@dataclass(frozen=True, slots=True)
class MtuProbe:
    """What a probe of the path's size carried: padding. Its loss tells of the size, not of congestion."""

    tells_congestion: ClassVar = False
    mtu: PathMtu
    size: int

    def arrived(self, index: int, count: int) -> None:
        self.mtu.arrived(self.size)

    def lost(self, index: int, count: int) -> None:
        self.mtu.lost(self.size)
