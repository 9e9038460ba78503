"""How presence is kept alive and who sees it, in the words and numbers that both programs must agree on."""

import hashlib
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
LOOKER_SIZE: Final = 16
LOOK_SIZE: Final = 16
"""Bytes of the secret in an invite link by which somebody who is not listed can be found."""


def looker(key: bytes) -> bytes:
    """Return by what a server knows somebody who may look: a digest of their key, or of an invite's secret."""
    return hashlib.sha256(b"tmge-looker-v1\0" + key).digest()[:LOOKER_SIZE]
