"""What `Front` tells the agent about the ways in which it can be reached: values that come out of `next_event`."""

from dataclasses import dataclass

from agent.protocol.candidates import Nat, PathKind
from agent.protocol.packet import Address


@dataclass(frozen=True, slots=True)
class Reflexive:
    """What STUN servers see of us now: at most one address of each family, and how our NAT behaves as far as known.

    Comes again whenever that changes; without an address and `Mapping.BLOCKED` where no server answers.
    """

    addresses: tuple[Address, ...]
    nat: Nat


@dataclass(frozen=True, slots=True)
class RelayBound:
    """A relay forwards between us and a peer; `left` bytes of its budget, `rtt` seconds to the relay."""

    key: bytes
    kind: PathKind
    left: int
    rtt: float


@dataclass(frozen=True, slots=True)
class RelayLost:
    """A relay does not forward between us and a peer; `reason` is a sentence."""

    key: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class TicketNeeded:
    """The ticket for a peer ends soon, or is worth nothing; next: `relay` with a new one."""

    key: bytes


ReachEvent = Reflexive | RelayBound | RelayLost | TicketNeeded
