"""Errors, named by what the reader must do. Refused, expired and closed are events, not errors.

`UsageError` is ours: a person or script asked for what cannot be; it becomes the acknowledgement's `error`.
`PeerError` is theirs: a peer broke the protocol; it closes that session alone.
`Drop` says why a datagram was ignored: counted, never raised.
"""

from enum import Enum
from typing import Final

USAGE_CODES: Final = frozenset(
    "unauthorized bad_request not_signed_up name_taken unknown_person not_connected unknown_request "
    "already_final too_large unsupported_image limit rendezvous_down unreachable key_changed".split()
)


class UsageError(Exception):
    """A call that cannot be carried out: `code` for scripts, `message` a sentence for the person."""

    def __init__(self, code: str, message: str) -> None:
        if code not in USAGE_CODES:
            raise ValueError(f"{code!r} is not a code of the local contract")
        super().__init__(message)
        self.code = code
        self.message = message


class PeerError(Exception):
    """A peer broke the protocol: the session with it is closed with `code`, and `reason` says what it did."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Drop(Enum):
    """Why a datagram was ignored without an answer."""

    SHORT = "shorter than any packet"
    KIND = "first byte is of no packet kind"
    UNKNOWN_CONNECTION = "connection id of no session"
    NOT_AUTHENTIC = "authentication failed"
    DUPLICATE = "packet number seen before"
    NOT_FOR_US = "handshake for another key"
    REPLAYED = "handshake counter not above the last one"
    BUSY = "too many handshakes at once"
