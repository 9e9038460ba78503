"""How presence is kept alive, in numbers that both programs must agree on."""

from typing import Final

HEARTBEAT: Final = 15
"""Seconds between the heartbeats of an agent: two may be lost before its presence ends."""
PRESENCE: Final = 45
"""Seconds of presence that a sign-up, a connection or a heartbeat buys."""
MAX_WATCHED: Final = 1000
"""Names that one agent may watch."""
