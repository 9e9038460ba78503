"""What a rendezvous states about a name, signed by its own key: the part of an answer that it can be held to.

Used by the rendezvous, which signs, and by agents, which check, keep and compare. A statement says that a name has been
bound to a key without a break from `claimed` (when this key first got it) to `time` (its last sign-up). So two
statements of one server that give one name different keys in spans that overlap cannot both be true, whatever their
`seq`: together they are evidence. Spans that are apart are not: the name was released, or fell free, in between.

In JSON: `{name, key, box_key, seq, claimed, time, server, signature}`, bytes as base64url, times in Unix seconds; a
release has `released: true` as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from rendezvous.contract.encoding import from_text, to_text
from rendezvous.contract.identity import signed_message, verify
from rendezvous.contract.names import canonical, skeleton

STATEMENT_CONTEXT: Final = b"tmge-statement-v1\0"
MAX_STATEMENT: Final = 1024
"""Bytes of one as JSON: 700 at most."""
_LATEST: Final = 2**53


@dataclass(frozen=True, slots=True)
class Statement:
    """A server's word on one name; `signature` is empty until it is signed."""

    name: str
    key: bytes
    box_key: bytes
    seq: int
    claimed: int
    time: int
    server: bytes
    released: bool = False
    signature: bytes = b""

    def message(self) -> bytes:
        """Return the bytes that the server signs."""
        return signed_message(STATEMENT_CONTEXT, self.as_json())

    def signed(self, signature: bytes) -> "Statement":
        """Return it with its signature."""
        return replace(self, signature=signature)

    def holds(self) -> bool:
        """Say whether the server that it names has signed it."""
        return verify(self.server, self.signature, self.message())

    def contradicts(self, other: "Statement") -> bool:
        """Say whether both cannot be true; signatures are the caller's to check."""
        return (
            self.server == other.server
            and skeleton(self.name) == skeleton(other.name)
            and self.key != other.key
            and self.claimed <= other.time
            and other.claimed <= self.time
        )

    def as_json(self) -> dict[str, object]:
        """Return it as answers carry it."""
        value: dict[str, object] = {
            "name": self.name,
            "key": to_text(self.key),
            "box_key": to_text(self.box_key),
            "seq": self.seq,
            "claimed": self.claimed,
            "time": self.time,
            "server": to_text(self.server),
            "signature": to_text(self.signature),
        }
        return value | ({"released": True} if self.released else {})


def read_statement(value: object) -> Statement:
    """Read a statement from JSON; ValueError with a sentence unless it is well-formed. Next: `holds`."""
    if not isinstance(value, Mapping):
        raise ValueError("a statement is not an object")
    name = value.get("name")
    if not isinstance(name, str) or canonical(name) != name:
        raise ValueError("a statement has no name")
    released = value.get("released", False)
    if not isinstance(released, bool):
        raise ValueError("released is neither true nor false")
    return Statement(
        name=name,
        key=_bytes(value, "key", 32),
        box_key=_bytes(value, "box_key", 32),
        seq=_integer(value, "seq"),
        claimed=_integer(value, "claimed"),
        time=_integer(value, "time"),
        server=_bytes(value, "server", 32),
        released=released,
        signature=_bytes(value, "signature", 64),
    )


def _bytes(value: Mapping[object, object], field: str, length: int) -> bytes:
    text = value.get(field)
    if not isinstance(text, str):
        raise ValueError(f"{field} of a statement is not a text")
    return from_text(text, length)


def _integer(value: Mapping[object, object], field: str) -> int:
    number = value.get(field)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _LATEST:
        raise ValueError(f"{field} of a statement is out of range")
    return number
