"""How presence is kept alive, who sees it, and what it says of a network, in the words and numbers that both programs
must agree on.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

HEARTBEAT: Final = 15
"""Seconds between the heartbeats of an agent: two may be lost before its presence ends."""
PRESENCE: Final = 45
"""Seconds of presence that a sign-up, a connection or a heartbeat buys."""
MAX_WATCHED: Final = 1000
"""Names that one agent may watch, and keys that it may allow to look."""
UNUSED: Final = 180 * 86_400
"""Seconds after its owner was last here, after which a name is free again."""

VISIBILITIES: Final = ("listed", "contacts", "hidden")
"""Who may find a person: everybody; those whom the person's agent allows; nobody but those whom the person asks."""
MAPPINGS: Final = ("none", "independent", "dependent", "blocked", "unknown")
"""How a NAT maps (RFC 4787 section 4.1): not there, one address for all, one for each remote; nothing comes through."""
FILTERINGS: Final = ("open", "port", "unknown")
"""Whether a NAT lets in what comes from a port that was not asked (RFC 4787 section 5)."""
LOOKER_SIZE: Final = 16
LOOK_SIZE: Final = 16
"""Bytes of the secret in an invite link by which somebody who is not listed can be found."""


_FIELDS: Final = ("mapping", "filtering", "udp", "ipv6", "mapped")
_WRITTEN: Final = {True: "1", False: "0", None: "?"}
_READ: Final = {text: value for value, text in _WRITTEN.items()}


@dataclass(frozen=True, slots=True)
class Reach:
    """What an agent has found out about its network, told with a heartbeat to whoever may see the person. None: it has
    not been tried yet.
    """

    mapping: str
    filtering: str
    udp: bool | None
    ipv6: bool | None
    mapped: bool = False
    """Whether a router has opened a port."""

    def as_json(self) -> dict[str, object]:
        """Return it as answers carry it."""
        return {name: getattr(self, name) for name in _FIELDS}

    @property
    def text(self) -> str:
        """Return it as it is kept."""
        return " ".join(
            (self.mapping, self.filtering, *(_WRITTEN[said] for said in (self.udp, self.ipv6, self.mapped)))
        )

    @classmethod
    def of_text(cls, text: str) -> "Reach | None":
        """Return what is kept as this text; None for nothing."""
        if not text:
            return None
        mapping, filtering, udp, ipv6, mapped = text.split()
        return cls(mapping, filtering, _READ[udp], _READ[ipv6], mapped == "1")


def read_reach(value: object) -> Reach:
    """Read it from JSON; ValueError with a sentence unless it is well-formed. Unknown fields are ignored."""
    if not isinstance(value, Mapping):
        raise ValueError("reach must be an object.")
    mapping, filtering, udp, ipv6, mapped = (value.get(field) for field in _FIELDS)
    if not (isinstance(mapping, str) and mapping in MAPPINGS):
        raise ValueError(f"mapping must be one of {', '.join(MAPPINGS)}.")
    if not (isinstance(filtering, str) and filtering in FILTERINGS):
        raise ValueError(f"filtering must be one of {', '.join(FILTERINGS)}.")
    if not (isinstance(udp, bool | None) and isinstance(ipv6, bool | None)):
        raise ValueError("udp and ipv6 must be true, false or null.")
    if not isinstance(mapped, bool | None):
        raise ValueError("mapped must be true or false.")
    return Reach(mapping, filtering, udp, ipv6, bool(mapped))


def looker(key: bytes) -> bytes:
    """Return by what a server knows somebody who may look: a digest of their key, or of an invite's secret."""
    return hashlib.sha256(b"tmge-looker-v1\0" + key).digest()[:LOOKER_SIZE]
