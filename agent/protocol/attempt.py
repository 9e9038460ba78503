"""One attempt to open a session: the initiation, when it is sent again, and what waits for it to succeed."""

from typing import Final

from agent.protocol.handshake import Established, Initiator
from agent.protocol.packet import Address, Datagrams

INTERVALS: Final = (0.2, 0.4, 0.8)  # seconds between tries; the last one repeats
GIVE_UP: Final = 10.0  # seconds


class Attempt:
    """Sends one initiation to all addresses of a peer until a response comes or time is up."""

    def __init__(self, initiator: Initiator, key: bytes, addresses: tuple[Address, ...], now: float) -> None:
        self.initiator = initiator
        self.key = key
        self.ends = now + GIVE_UP
        self._addresses = addresses
        self._tries = 0
        self._next = now
        self._sent_at = now

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        """Return the initiation for each address when it is due."""
        if now < self._next:
            return []
        packet = self.initiator.initiation(now)
        self._next = now + INTERVALS[min(self._tries, len(INTERVALS) - 1)]
        self._tries += 1
        self._sent_at = now
        return [Datagrams(address, packet, len(packet)) for address in self._addresses]

    def receive_cookie(self, packet: bytes, now: float) -> None:
        """Take a cookie, and send the initiation with it at once."""
        if self.initiator.receive_cookie(packet, now):
            self._next = now

    def receive_response(self, packet: bytes, now: float) -> tuple[Established, float | None]:
        """Return the session's keys, and the round trip in seconds where it is certain; raises HandshakeError."""
        established = self.initiator.receive_response(packet)
        return established, now - self._sent_at if self._tries == 1 else None

    def timeout(self) -> float:
        """Return when `datagrams_to_send` has something again, or the attempt is over."""
        return min(self._next, self.ends)
