"""Transfers that outlive their session: the peer's agent was away, was started anew, or moved to another session.

The receiver knows what is missing and asks for it on the next session; the giver waits for that. Both try to open one.
Other requests end with the last session: a question that the other side may have forgotten is not left hanging.
"""

from collections import deque
from typing import Final

from agent.protocol import messages as m
from agent.protocol.book import DELIVERY, Book, Request
from agent.protocol.card import Card
from agent.protocol.events import Event, RequestChanged
from agent.protocol.questions import bounded
from agent.protocol.request import Kind, Move, Phase, Side
from agent.protocol.session import Session

STALL: Final = 60.0  # seconds in which nothing comes, although the session lives
PATIENCE: Final = 86_400.0  # seconds that an interrupted transfer is kept


class Interruption:
    """Interrupts and resumes the transfers in `book`; an interrupted one has no session."""

    def __init__(self, book: Book, events: deque[Event]) -> None:
        self._book = book
        self._events = events

    def begin(self, request: Request, session: Session, now: float) -> None:
        """Fetch what is missing of a picture over `session`."""
        assert request.incoming is not None
        interrupted = request.phase is Phase.TRANSFERRING
        request.session, request.name = session, session.receive_transfer(request.incoming)
        self._book.move(request, Side.RECEIVER, Move.FETCH, "", now)
        request.deadline = now + STALL
        session.say(m.Fetch(request.id, request.name, bounded(request.incoming.missing())), now)
        if interrupted:
            self._events.append(RequestChanged(request.id, Phase.TRANSFERRING, ""))

    def lost(self, key: bytes, reason: str, now: float, for_good: bool = False) -> None:
        """End what is open with a peer that is gone; transfers wait for it to come back, unless it is `for_good`."""
        for request in self._book.with_peer(key):
            if (
                for_good
                or request.kind is not Kind.IMAGE
                or request.phase is not Phase.TRANSFERRING
                or request.stopping
            ):
                self._book.move(request, request.side, Move.LOSE, reason, now)
            elif request.session is not None:
                self._detach(request, now)
                self._events.append(RequestChanged(request.id, Phase.TRANSFERRING, reason))

    def session_ended(self, session: Session, other: Session, now: float) -> None:
        """Go on over another session with the same peer."""
        for request in self._book.with_peer(session.peer.key):
            if request.session is session:
                self._detach(request, now)
        self.resume(other, now)

    def resume(self, session: Session, now: float) -> None:
        """Go on with what was interrupted, now that there is a session."""
        for request in self._book.with_peer(session.peer.key):
            if request.phase is not Phase.TRANSFERRING or request.session is not None:
                continue
            if request.side is Side.GIVER:
                request.deadline = now + DELIVERY
            elif request.incoming is not None and not request.complete:
                self.begin(request, session, now)

    def waiting(self) -> list[Card]:
        """Return the peers that a session should be opened with."""
        cards = {request.peer.key: request.peer for request in self._book if self._waits(request)}
        return list(cards.values())

    def _waits(self, request: Request) -> bool:
        return request.phase is Phase.TRANSFERRING and request.session is None and not request.complete

    def _detach(self, request: Request, now: float) -> None:
        session = request.session
        if session is not None:
            transfers = session.receiving if request.incoming is not None else session.sending
            transfers.pop(request.name, None)
        request.session = request.outgoing = None
        if not request.stopping:
            request.deadline = now + PATIENCE
