"""What the connection doctor is told of the paths to a peer: values alone."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from agent.protocol.candidates import Found, Nat, PathKind
from agent.protocol.packet import Address

MEASURABLE: Final = 500
"""Packets from which on the share that was lost is told: challenges to paths that lead nowhere count as numbers too."""


class Outcome(StrEnum):
    """What became of the datagrams to an address; the order is that of the wire."""

    TRYING = "trying"
    ANSWERED = "answered"
    NO_ANSWER = "no_answer"
    REFUSED = "refused"
    """ICMP says that nobody listens there."""
    UNREACHABLE = "unreachable"
    """There is no route, as the kernel or ICMP has it."""
    BLOCKED = "blocked"
    """A firewall on this machine forbids it."""
    WRONG_KEY = "wrong_key"
    """Somebody else answered."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One address that was tried; `rtt` in seconds where it answered."""

    found: Found
    address: Address
    outcome: Outcome
    rtt: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How a peer is reached, or was in the last session, or what was tried in vain.

    `kind`, `address`, `rtt`, `since` are those of the path in use; None where no session ever stood. `nat` is the
    peer's, `here` what we tried, `there` what the peer says that it has tried towards us.
    """

    kind: PathKind | None
    address: Address | None
    rtt: float | None  # seconds
    loss: float  # 0 to 1
    since: float | None  # the core's clock
    nat: Nat
    here: tuple[Tried, ...]
    there: tuple[Tried, ...]
    initiated_relayed: bool


def in_vain(here: tuple[Tried, ...], before: Report | None) -> Report:
    """Report an attempt that has opened no session (yet); what was known of the peer before is still told."""
    if before is None:
        return Report(None, None, None, 0.0, None, Nat(), here, (), False)
    return replace(before, kind=None, address=None, rtt=None, since=None, here=here)
