"""One attempt to open a session: the initiation, where it goes, and when it is sent again."""

from collections.abc import Iterable
from typing import Final

from agent.protocol.candidates import Found
from agent.protocol.handshake import Established, Initiator
from agent.protocol.packet import Address, Datagrams
from agent.protocol.ranking import is_local, relayed
from agent.protocol.report import Outcome, Tried

INTERVALS: Final = (0.2, 0.4, 0.8)  # seconds between tries; the last one repeats
GIVE_UP: Final = 9.0  # seconds: whoever asked is told within ten
NO_PLACE: Final = "It is not known where {name} can be reached."
NO_ANSWER: Final = "No answer came from {name}'s agent."
"""Sentences for people; `{name}` stands for the peer's."""


class Attempt:
    """Sends one initiation to all addresses of a peer until a response comes or time is up.

    Addresses may come while it lasts: without any it waits for one.
    """

    def __init__(self, initiator: Initiator, key: bytes, addresses: Iterable[Address], now: float) -> None:
        self.initiator = initiator
        self.key = key
        self.ends = now + GIVE_UP
        self._sent: dict[Address, list[float]] = {address: [] for address in addresses}  # when
        self._hurry: set[Address] = set()
        self._outcomes: dict[Address, Outcome] = {}
        self._tries = 0
        self._next = now

    def add(self, address: Address) -> None:
        """Send to an address as well, or again: now it may be worth it."""
        self._sent.setdefault(address, [])
        self._hurry.add(address)

    def drop(self, address: Address) -> None:
        """Send to an address no more."""
        self._sent.pop(address, None)

    def note(self, address: Address, outcome: Outcome) -> None:
        """Note what became of the datagrams to an address."""
        if address in self._sent:
            self._outcomes[address] = outcome

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        """Return the initiation for each address when it is due, at once for new ones."""
        if not self._sent:
            return []
        if now >= self._next:
            due = list(self._sent)
            self._next = now + INTERVALS[min(self._tries, len(INTERVALS) - 1)]
            self._tries += 1
        else:
            due = [address for address in self._sent if address in self._hurry]
        self._hurry.clear()
        if not due:
            return []
        packet = self.initiator.initiation(now)
        for address in due:
            self._sent[address].append(now)
        return [Datagrams(address, packet, len(packet)) for address in due]

    def receive_cookie(self, packet: bytes, now: float) -> None:
        """Take a cookie, and send the initiation with it at once."""
        if self.initiator.receive_cookie(packet, now):
            self._next = now

    def receive_response(self, packet: bytes, address: Address, now: float) -> tuple[Established, float | None]:
        """Return the session's keys, and the round trip in seconds where it is certain; raises HandshakeError."""
        established = self.initiator.receive_response(packet)
        self._outcomes[address] = Outcome.ANSWERED
        times = self._sent.get(address, [])
        return established, now - times[0] if len(times) == 1 else None

    def timeout(self) -> float:
        """Return when `datagrams_to_send` has something again, or the attempt is over."""
        return min(self._next, self.ends) if self._sent else self.ends

    @property
    def in_vain(self) -> str:
        """Say to a person why it has failed; `{name}` stands for the peer's."""
        return NO_ANSWER if self._sent else NO_PLACE

    def tried(self, over: bool) -> tuple[Tried, ...]:
        """Return what became of each address but the relayed ones; `over`: nothing more is waited for."""
        silent = Outcome.NO_ANSWER if over else Outcome.TRYING
        return tuple(
            Tried(_found(address), address, self._outcomes.get(address, silent))
            for address in self._sent
            if not relayed(address)
        )


def _found(address: Address) -> Found:
    """Guess how an address was found that was remembered, not told as a candidate."""
    return Found.HOST if is_local(address[0]) else Found.REFLEXIVE
