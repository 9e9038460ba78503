"""What is kept of a person, as values. Used by the store, which keeps it, and by whoever answers about it."""

from dataclasses import dataclass
from enum import Enum

from rendezvous.contract.presence import Reach, looker
from rendezvous.contract.statement import Statement


class Claimed(Enum):
    """What became of a claim of a name."""

    NEW = "new"
    RENEWED = "renewed"
    TAKEN = "taken"
    OLD_SEQ = "old_seq"
    SPELLING = "spelling"


@dataclass(frozen=True, slots=True)
class Claim:
    """A name and what is bound to it, as its owner has signed it."""

    name: str
    key: bytes
    box_key: bytes
    box_signature: bytes
    seq: int
    host: str
    port: int
    visibility: str = "listed"
    direct: bool = False

    def statement(self, claimed: int, time: int, server: bytes) -> Statement:
        """Return what a server is to sign of it."""
        return Statement(self.name, self.key, self.box_key, self.seq, claimed, time, server)


@dataclass(frozen=True, slots=True)
class Person:
    """One person as kept: a claim, what the server has signed of it, and whether this person is here.

    `claimed`, `time` (of the last sign-up) and `last_seen` in Unix seconds. `attachment` names the live connection,
    `relay` the relay of the process that has it. `direct`: this person lets everybody know the address.
    """

    name: str
    key: bytes
    box_key: bytes
    box_signature: bytes
    seq: int
    host: str
    port: int
    visibility: str
    claimed: int
    time: int
    proof: bytes
    attachment: str
    online: bool
    last_seen: int
    direct: bool = False
    relay: str = ""
    reach: Reach | None = None

    def statement(self, server: bytes) -> Statement:
        """Return the server's word on this name."""
        return Statement(
            self.name, self.key, self.box_key, self.seq, self.claimed, self.time, server, False, self.proof
        )

    @property
    def listed(self) -> bool:
        """Say whether everybody may find this person."""
        return self.visibility == "listed"

    def is_seen_by(self, who: bytes | None, allowed: bool) -> bool:
        """Say whether a looker sees this person, who may have allowed them."""
        return self.listed or allowed or who == looker(self.key)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Something for one live connection, whichever process has it."""

    attachment: str
    event: str
    value: object
