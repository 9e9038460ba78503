"""A request: one question from one person to another, and the phases it goes through.

The table is the whole truth about phases: `TABLE[(phase, side, move)]` is the next phase, a missing key means that this
side may not do that now. It does not know which side is ours. At any moment one side has the last word, so both end in
the same phase whatever crosses on the wire: before the yes the one who was asked, after it the one who receives.
"""

from enum import Enum
from typing import Final


class Kind(Enum):
    """What is asked for."""

    CONNECTION = "connection"
    QUOTE = "quote"
    IMAGE = "image"


class Verb(Enum):
    """Whether the asker wants to have or to give."""

    ASK = "ask"
    OFFER = "offer"


class Phase(Enum):
    """Where a request stands; the last five, and DONE, are final. Values are the words people's scripts see."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    TRANSFERRING = "transferring"
    DONE = "done"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    UNREACHABLE = "unreachable"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Tell whether nothing can change any more."""
        return self not in (Phase.WAITING, Phase.ACCEPTED, Phase.TRANSFERRING)


class Side(Enum):
    """Who moves: before the yes the asker or the one asked, after it the giver or the receiver."""

    ASKER = "asker"
    ASKED = "asked"
    GIVER = "giver"
    RECEIVER = "receiver"


class Move(Enum):
    """What can happen to a request."""

    CONNECT = "connect"  # yes to a connection
    ACCEPT = "accept"  # yes to a quote or picture
    FETCH = "fetch"
    FINISH = "finish"
    REJECT = "reject"
    EXPIRE = "expire"
    CANCEL = "cancel"
    FAIL = "fail"
    LOSE = "lose"  # the other side is gone


_LAST_WORD: Final = {
    Phase.WAITING: Side.ASKED,
    Phase.ACCEPTED: Side.RECEIVER,
    Phase.TRANSFERRING: Side.RECEIVER,
}

TABLE: Final[dict[tuple[Phase, Side, Move], Phase]] = {
    (Phase.WAITING, Side.ASKED, Move.CONNECT): Phase.DONE,
    (Phase.WAITING, Side.ASKED, Move.ACCEPT): Phase.ACCEPTED,
    (Phase.WAITING, Side.ASKED, Move.REJECT): Phase.REJECTED,
    (Phase.WAITING, Side.ASKED, Move.EXPIRE): Phase.EXPIRED,
    (Phase.WAITING, Side.ASKED, Move.CANCEL): Phase.CANCELLED,
    (Phase.WAITING, Side.ASKED, Move.FAIL): Phase.FAILED,
    (Phase.WAITING, Side.ASKED, Move.LOSE): Phase.UNREACHABLE,
    (Phase.WAITING, Side.ASKER, Move.CANCEL): Phase.CANCELLED,  # only before the question left
    (Phase.WAITING, Side.ASKER, Move.LOSE): Phase.UNREACHABLE,
    (Phase.ACCEPTED, Side.RECEIVER, Move.FETCH): Phase.TRANSFERRING,
    (Phase.ACCEPTED, Side.RECEIVER, Move.FINISH): Phase.DONE,
    (Phase.ACCEPTED, Side.RECEIVER, Move.CANCEL): Phase.CANCELLED,
    (Phase.ACCEPTED, Side.RECEIVER, Move.FAIL): Phase.FAILED,
    (Phase.ACCEPTED, Side.RECEIVER, Move.LOSE): Phase.UNREACHABLE,
    (Phase.ACCEPTED, Side.GIVER, Move.LOSE): Phase.UNREACHABLE,
    (Phase.TRANSFERRING, Side.RECEIVER, Move.FETCH): Phase.TRANSFERRING,
    (Phase.TRANSFERRING, Side.RECEIVER, Move.FINISH): Phase.DONE,
    (Phase.TRANSFERRING, Side.RECEIVER, Move.CANCEL): Phase.CANCELLED,
    (Phase.TRANSFERRING, Side.RECEIVER, Move.FAIL): Phase.FAILED,
    (Phase.TRANSFERRING, Side.RECEIVER, Move.LOSE): Phase.UNREACHABLE,
    (Phase.TRANSFERRING, Side.GIVER, Move.LOSE): Phase.UNREACHABLE,
}

WIRE_PHASES: Final = tuple(Phase)  # a phase on the wire is its place in this order


def last_word(phase: Phase) -> Side:
    """Return which side has the last word in an open phase."""
    return _LAST_WORD[phase]


def side_of(phase: Phase, verb: Verb, made_here: bool) -> Side:
    """Return which side we are, who made the request or did not."""
    if phase is Phase.WAITING:
        return Side.ASKER if made_here else Side.ASKED
    receives = made_here == (verb is Verb.ASK)
    return Side.RECEIVER if receives else Side.GIVER
