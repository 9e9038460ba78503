"""The path of a session: where its datagrams go, and how it moves when the peer's address changes.

A peer is believed to be where its newest authentic packet came from only after it has answered a challenge there
(RFC 9000 section 8.2 and 9.3): a forged source address moves nothing.
"""

from collections.abc import Callable
from typing import Final

from agent.protocol.mtu import PathMtu
from agent.protocol.packet import LARGEST_DATAGRAM, SMALLEST_DATAGRAM, Address
from agent.protocol.ranking import Standing, kind_of, relayed

CHALLENGE_SIZE: Final = 8
CHALLENGE_INTERVAL: Final = 0.25  # seconds between tries
CHALLENGE_TRIES: Final = 5


def mtu_of(address: Address, now: float) -> PathMtu:
    """Begin the search for the largest datagram; a relay's header must fit as well, so nothing is tried there."""
    return PathMtu(now, SMALLEST_DATAGRAM if relayed(address) else LARGEST_DATAGRAM)


class Path:
    """One session's path, and the candidate it may move to."""

    def __init__(self, address: Address, now: float) -> None:
        self.address = address
        self.kind = kind_of(address, Standing(), Standing())
        self.since = now
        self.mtu = mtu_of(address, now)
        self._candidate: Address | None = None
        self._challenge = b""
        self._tries = 0
        self._next_try = 0.0
        self._responses: list[tuple[Address, bytes]] = []

    def heard_from(self, address: Address, now: float, random: Callable[[int], bytes]) -> None:
        """Note where the newest authentic packet came from: a new address is challenged."""
        if address == self.address:
            self._candidate = None
        elif address != self._candidate:
            self._candidate = address
            self._challenge = random(CHALLENGE_SIZE)
            self._tries = 0
            self._next_try = now

    def challenged(self, address: Address, data: bytes) -> None:
        """Owe a response, over the path that the challenge came by."""
        if len(self._responses) < 4:
            self._responses.append((address, data))

    def responded(self, data: bytes, now: float) -> bool:
        """Move to the candidate if this answers its challenge; tell whether that may be another path.

        A new port alone is a NAT's doing: what is known of the path stays good (RFC 9000 section 9.4).
        """
        if self._candidate is None or data != self._challenge:
            return False
        elsewhere = self.address[0] != self._candidate[0]
        self.address, self._candidate = self._candidate, None
        self.kind, self.since = kind_of(self.address, Standing(), Standing()), now
        if elsewhere:
            self.mtu = mtu_of(self.address, now)
        return elsewhere

    def take_response(self) -> tuple[Address, bytes] | None:
        """Return a response that is to be sent now, or None."""
        return self._responses.pop(0) if self._responses else None

    def take_challenge(self, now: float) -> tuple[Address, bytes] | None:
        """Return a challenge that is to be sent now, or None."""
        if self._candidate is None or now < self._next_try:
            return None
        if self._tries == CHALLENGE_TRIES:
            self._candidate = None
            return None
        self._tries += 1
        self._next_try = now + CHALLENGE_INTERVAL
        return self._candidate, self._challenge

    def timeout(self) -> float | None:
        """Return when `take_challenge` has something again."""
        return self._next_try if self._candidate is not None else None
