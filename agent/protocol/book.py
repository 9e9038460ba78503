"""The open requests of this agent: what is known of each, and how it moves on. Used by `consent`, which decides."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Final

from agent.protocol.card import Card
from agent.protocol.errors import UsageError
from agent.protocol.events import Event, RequestChanged
from agent.protocol.liveness import SILENCE
from agent.protocol.request import TABLE, Kind, Move, Phase, Side, Verb, last_word, side_of
from agent.protocol.session import Session
from agent.protocol.transfer import Image, ReceiveTransfer, SendTransfer, Source

GRACE: Final = SILENCE + 15  # seconds for the other side's last word: it comes, or first the session ends
DELIVERY: Final = 60.0  # seconds from the yes to the quote, or to the first byte asked for
FINISHED_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True)
class QuoteGift:
    """A quote that may leave once the request is accepted."""

    text: str
    author: str
    source: str


@dataclass(frozen=True, slots=True)
class ImageGift:
    """A picture that may leave once the request is accepted."""

    image: Image
    source: Source
    digests: bytes


Gift = QuoteGift | ImageGift


@dataclass(slots=True)
class Request:
    """An open request. It ends by itself at `deadline` unless the phase changes before."""

    id: bytes
    kind: Kind
    verb: Verb
    peer: Card
    made_here: bool
    deadline: float
    phase: Phase = Phase.WAITING
    gift: Gift | None = None
    image: Image | None = None
    token: bytes = b""
    stopping: bool = False  # we asked the side with the last word to end it
    incoming: ReceiveTransfer | None = None
    outgoing: SendTransfer | None = None
    session: Session | None = None  # carries the transfer, under `name`
    name: int = 0
    complete: bool = False  # every byte is here and right
    said_inside: bool = False  # the quote went inside the session

    @property
    def side(self) -> Side:
        """Return which side we are now."""
        return side_of(self.phase, self.verb, self.made_here)

    @property
    def ours_to_end(self) -> bool:
        """Tell whether we have the last word now."""
        return not self.phase.final and self.side is last_word(self.phase)


class Book:
    """Requests by id; what has ended is remembered by its last phase, for a while."""

    def __init__(self, events: deque[Event]) -> None:
        self._events = events
        self._open: dict[bytes, Request] = {}
        self._finished: OrderedDict[bytes, Phase] = OrderedDict()

    def __iter__(self) -> Iterator[Request]:
        return iter(list(self._open.values()))

    def add(self, request: Request) -> None:
        """Enter a new request."""
        self._open[request.id] = request

    def known(self, id: bytes) -> bool:
        """Tell whether a request of this id is or was here."""
        return id in self._open or id in self._finished

    def find(self, id: bytes) -> Request | None:
        """Return an open request, or None."""
        return self._open.get(id)

    def get(self, id: bytes) -> Request:
        """Return an open request. UsageError `already_final` or `unknown_request`."""
        request = self._open.get(id)
        if request is None:
            if id in self._finished:
                raise UsageError("already_final", f"This request has ended: {self._finished[id].value}.")
            raise UsageError("unknown_request", "There is no such request.")
        return request

    def with_peer(self, key: bytes) -> list[Request]:
        """Return what is open with a peer."""
        return [request for request in self._open.values() if request.peer.key == key]

    def may(self, request: Request, side: Side, move: Move) -> bool:
        """Tell whether the table lets this side make this move now."""
        return (request.phase, side, move) in TABLE

    def move(self, request: Request, side: Side, move: Move, reason: str, now: float) -> None:
        """Take a request to its next phase; what ends lets go of its transfer."""
        before = request.phase
        request.phase = TABLE[before, side, move]
        request.deadline = inf if request.phase is Phase.TRANSFERRING else now + DELIVERY
        if request.stopping:
            request.deadline = now + GRACE
        if request.phase is not before:
            self._events.append(RequestChanged(request.id, request.phase, reason))
        if request.phase.final:
            self._let_go(request)

    def _let_go(self, request: Request) -> None:
        if request.session is not None:
            transfers = request.session.receiving if request.incoming is not None else request.session.sending
            transfers.pop(request.name, None)
        del self._open[request.id]
        self._finished[request.id] = request.phase
        if len(self._finished) > FINISHED_REMEMBERED:
            self._finished.popitem(last=False)
