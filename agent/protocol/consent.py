"""Every question, every yes and no, and every last word passes here.

Nothing leaves without the yes of the one who gives, nothing arrives without that of the one who receives: in `answer`
when they were asked, in `make` when they asked or offered themselves. Messages go through a `Line`; what the agent must
know becomes events. Sessions are known here only to be handed transfers.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from agent.protocol import messages as m
from agent.protocol.book import GRACE, Book, Gift, ImageGift, QuoteGift, Request
from agent.protocol.card import Card
from agent.protocol.errors import PeerError, UsageError
from agent.protocol.events import (
    Connected,
    Disconnected,
    Event,
    ImageAccepted,
    ImageArrived,
    QuoteAccepted,
    QuoteArrived,
    RequestChanged,
    RequestMade,
    StatementTold,
)
from agent.protocol.frames import MAX_TRANSFER
from agent.protocol.interruption import PATIENCE, STALL, Interruption
from agent.protocol.questions import MEANING, Question, announced, bounded, image_fields, question
from agent.protocol.request import WIRE_PHASES, Kind, Move, Phase, Side, Verb, last_word
from agent.protocol.session import Session
from agent.protocol.transfer import Image, ReceiveTransfer, SendTransfer, Sink

MAX_OPEN: Final = 64  # requests open with one peer, made by one side
MAX_LIFETIME: Final = 86_400  # seconds
MAX_BACKLOG: Final = 16 << 20  # bytes of answers that a peer does not take: twice all the quotes that it may ask for
QUOTE_LABEL: Final = b"tmge-quote-v1"
QUOTE_KEY_SIZE: Final = 32

_MOVE_TO: Final = {
    Phase.DONE: Move.FINISH,
    Phase.REJECTED: Move.REJECT,
    Phase.EXPIRED: Move.EXPIRE,
    Phase.CANCELLED: Move.CANCEL,
    Phase.FAILED: Move.FAIL,
}


class Line(Protocol):
    """How messages reach a peer, whether a session is open or has yet to be opened."""

    def say(self, peer: Card, message: m.Message, now: float) -> None:
        """Send a message, opening a session where there is none."""

    def session_with(self, key: bytes) -> Session | None:
        """Return the session with a peer, if one is open."""

    def connected(self, key: bytes, now: float) -> None:
        """Learn that both have said yes: from now on a peer may know where we are."""

    def take_back(self, key: bytes, id: bytes) -> bool:
        """Drop the question `id` if it still waits for a session; False where it may have left."""


class Consent:
    """All open requests of this agent, with whomever. `connected` holds the keys that may ask for items."""

    def __init__(self, line: Line, connected: set[bytes], events: deque[Event], random: Callable[[int], bytes]) -> None:
        self.connected = connected
        self.book = Book(events)
        self.interruption = Interruption(self.book, events)
        self._line = line
        self._events = events
        self._random = random

    # --- what a person does ---

    def make(
        self, id: bytes, kind: Kind, verb: Verb, peer: Card, lifetime: int, wish: str, gift: Gift | None, now: float
    ) -> None:
        """Ask `peer` for something, or offer it `gift`. UsageError `limit`, `not_connected`, `bad_request`."""
        if kind is not Kind.CONNECTION and peer.key not in self.connected:
            raise UsageError("not_connected", f"You and {peer.name} are not connected: ask to connect first.")
        if len(wish.encode()) > m.MAX_WISH or not 0 < lifetime <= MAX_LIFETIME:
            raise UsageError("bad_request", "The wish is too long, or the time to answer is not possible.")
        if self._count(peer.key, made_here=True) >= MAX_OPEN:
            raise UsageError("limit", f"Too many requests to {peer.name} are open: wait for answers, or cancel some.")
        request = Request(id, kind, verb, peer, True, now + lifetime + GRACE, gift=gift)
        if isinstance(gift, ImageGift):
            request.image = gift.image
        if isinstance(gift, QuoteGift):
            request.token = self._random(m.TOKEN_SIZE)
        self.book.add(request)
        self._events.append(RequestMade(id, kind, verb, peer, True, lifetime, wish, request.image))
        self._line.say(peer, question(request, lifetime, wish), now)

    def answer(self, id: bytes, accept: bool, gift: Gift | None, reason: str, now: float) -> None:
        """Say yes or no to what a peer asked. UsageError `unknown_request`, `already_final`, `bad_request`."""
        request = self.book.get(id)
        if request.made_here:
            raise UsageError("bad_request", "This is your own request: the other side answers it.")
        if request.phase is not Phase.WAITING:
            raise UsageError("already_final", "This request was answered before.")
        if not accept:
            self._end(request, Move.REJECT, reason, now)
        elif request.kind is Kind.CONNECTION or request.verb is Verb.OFFER:
            self._line.say(request.peer, m.Accept(id), now)
            self._accepted(request, self._line.session_with(request.peer.key), now)
        else:
            self._give(request, gift, now)

    def cancel(self, id: bytes, now: float) -> None:
        """Take back a request, or stop what it led to. UsageError `unknown_request`, `already_final`."""
        self._stop(self.book.get(id), "", now)

    def fail(self, id: bytes, reason: str, now: float) -> None:
        """End a request because this side cannot go on; nothing happens once it has ended."""
        request = self.book.find(id)
        if request is not None:
            self._stop(request, reason, now)

    def fetch_image(self, id: bytes, sink: Sink, have: Sequence[int], now: float) -> None:
        """Begin the transfer of an accepted picture into `sink`, without the chunks `have`."""
        request = self.book.find(id)
        if request is None or request.image is None or request.incoming is not None:
            return
        request.incoming = ReceiveTransfer(request.image, sink, have)
        session = self._line.session_with(request.peer.key)
        if session is not None:
            self.interruption.begin(request, session, now)

    def restore(
        self, id: bytes, verb: Verb, peer: Card, made_here: bool, image: Image, gift: Gift | None, now: float
    ) -> None:
        """Go on, after a restart, with a picture that was on its way; at the receiver, `fetch_image` is next."""
        request = Request(id, Kind.IMAGE, verb, peer, made_here, now + PATIENCE, Phase.TRANSFERRING, gift, image)
        self.book.add(request)

    def quote_inside(self, id: bytes, now: float) -> None:
        """Have an accepted quote cross inside the session, from either side: the text link does not work."""
        request = self.book.find(id)
        if request is not None and request.side is Side.RECEIVER:
            self._line.say(request.peer, m.FetchQuote(id), now)
        elif request is not None:
            self._say_inside(request, now)

    def arrived(self, id: bytes, now: float) -> bool:
        """Say that a quote or picture is here, whole and kept; False if the request has ended, or is not whole."""
        request = self.book.find(id)
        if (
            request is None
            or request.side is not Side.RECEIVER
            or (request.kind is Kind.IMAGE and not request.complete)
        ):
            return False
        self._end(request, Move.FINISH, "", now)
        return True

    def disconnect(self, peer: Card, now: float) -> None:
        """End the connection: nothing is asked or answered any more."""
        for request in self.book.with_peer(peer.key):
            if request.ours_to_end:
                self._end(request, Move.REJECT if request.phase is Phase.WAITING else Move.CANCEL, "", now)
            else:
                self._stop(request, "", now)
        self.connected.discard(peer.key)
        if self._line.session_with(peer.key) is not None:
            self._line.say(peer, m.Disconnect(), now)

    # --- what a peer says ---

    def heard(self, peer: Card, session: Session, message: m.Message, now: float) -> None:
        """Act on a message; raises PeerError when the peer may not say that."""
        answers = self._line.session_with(peer.key)
        if answers is not None and answers.control.backlog() > MAX_BACKLOG:
            raise PeerError("flow_control", "it says more and more, and takes no answer")
        match message:
            case m.ConnectTo() | m.AskQuote() | m.AskImage() | m.OfferQuote() | m.OfferImage():
                self._asked(peer, message, now)
            case m.Disconnect():
                if peer.key in self.connected:
                    self.connected.discard(peer.key)
                    self._events.append(Disconnected(peer))
            case m.Stated(statement):
                self._events.append(StatementTold(peer, statement))
            case m.Hello() | m.Candidates() | m.PathReport():
                pass  # the endpoint's
            case _:
                request = self.book.find(message.request)
                if request is not None and request.peer.key != peer.key:
                    raise PeerError("consent", "it spoke of a request that is not its own")
                if request is None and isinstance(message, m.Fetch):
                    self._line.say(peer, m.Cancel(message.request, "This picture is not there any more."), now)
                elif request is not None:
                    self._heard_about(request, session, message, now)
                    if request.stopping and request.ours_to_end:
                        self._end(request, Move.CANCEL, "", now)

    def _asked(self, peer: Card, message: Question, now: float) -> None:
        if self.book.known(message.request):
            return
        kind, verb = MEANING[type(message)]
        if kind is not Kind.CONNECTION and peer.key not in self.connected:
            self._refuse(peer, message, "You are not connected.", now)
            self._line.say(peer, m.Disconnect(), now)
            return
        if self._count(peer.key, made_here=False) >= MAX_OPEN:
            self._refuse(peer, message, "Too many requests are waiting for an answer.", now)
            return
        lifetime = min(message.lifetime, MAX_LIFETIME)
        request = Request(message.request, kind, verb, peer, False, now + lifetime)
        if isinstance(message, m.OfferQuote):
            request.token = message.token
        if isinstance(message, m.OfferImage):
            request.image = announced(message)
        self.book.add(request)
        self._events.append(RequestMade(request.id, kind, verb, peer, False, lifetime, message.wish, request.image))
        if kind is Kind.CONNECTION and self._asking_to_connect(peer.key):
            self.answer(request.id, True, None, "", now)  # both asked: both have said yes

    def _heard_about(self, request: Request, session: Session, message: m.Message, now: float) -> None:
        match message:
            case m.Accept():
                self._check_asker(request, request.verb is Verb.OFFER or request.kind is Kind.CONNECTION)
                self._accepted(request, session, now)
            case m.GiveQuote(_, token):
                self._check_asker(request, request.kind is Kind.QUOTE and request.verb is Verb.ASK)
                request.token = token
                self._accepted(request, session, now)
            case m.GiveImage():
                self._check_asker(request, request.kind is Kind.IMAGE and request.verb is Verb.ASK)
                request.image = announced(message)
                self._accepted(request, session, now)
            case m.LastWord(_, phase, reason):
                self._ended_by_peer(request, phase, reason, now)
            case m.Cancel(_, reason):
                if request.ours_to_end:
                    self._end(request, Move.FAIL if reason else Move.CANCEL, reason, now)
            case m.Fetch(_, name, ranges):
                self._fetched(request, session, name, ranges, now)
            case m.FetchQuote():
                self._say_inside(request, now)
            case m.Quote(_, text, author, source):
                if request.side is not Side.RECEIVER or request.kind is not Kind.QUOTE:
                    raise PeerError("consent", "it sent a quote that nobody said yes to")
                self._events.append(QuoteArrived(request.id, text, author, source))

    def progressed(self, session: Session, now: float) -> None:
        """Look at the transfers of a session that took bytes: complete, to be mended, or hopeless."""
        touched, session.touched = session.touched, set()
        for request in [r for r in self.book if r.session is session and r.name in touched]:
            transfer = request.incoming
            if transfer is None or request.complete:
                continue
            request.deadline = now + STALL
            if transfer.failure is not None:
                self._end(request, Move.FAIL, transfer.failure, now)
            elif transfer.complete:
                request.complete = True
                self._events.append(ImageArrived(request.id))
            elif again := transfer.take_again():
                session.say(m.Fetch(request.id, request.name, bounded(again)), now)

    # --- time ---

    def timeout(self) -> float | None:
        """Return when `handle_timeout` must be called at the latest."""
        return min((request.deadline for request in self.book), default=None)

    def handle_timeout(self, now: float) -> None:
        """Let expire what nobody answered, and give up what the other side left hanging."""
        for request in [r for r in self.book if r.deadline <= now]:
            if request.phase is Phase.WAITING and not request.made_here:
                self._end(request, Move.EXPIRE, "", now)
            elif request.phase is Phase.TRANSFERRING and request.ours_to_end:
                self._end(request, Move.FAIL, "Nothing more of the picture came.", now)
            else:
                reason = f"{request.peer.name}'s agent did not say how this ended."
                self.book.move(request, request.side, Move.LOSE, reason, now)

    # --- inside ---

    def _count(self, key: bytes, made_here: bool) -> int:
        return sum(request.made_here == made_here for request in self.book.with_peer(key))

    def _asking_to_connect(self, key: bytes) -> bool:
        waiting = (r for r in self.book.with_peer(key) if r.made_here and not r.stopping)
        return any(r.kind is Kind.CONNECTION and r.phase is Phase.WAITING for r in waiting)

    def _refuse(self, peer: Card, message: Question, reason: str, now: float) -> None:
        self._line.say(peer, m.LastWord(message.request, WIRE_PHASES.index(Phase.REJECTED), reason), now)

    def _check_asker(self, request: Request, fits: bool) -> None:
        """Raise PeerError unless the peer may say yes to this now, and it is a yes of the right kind."""
        if not request.made_here or request.phase is not Phase.WAITING or not fits:
            raise PeerError("consent", "it said yes to something else than it was asked")

    def _accepted(self, request: Request, session: Session | None, now: float) -> None:
        """Go on after the yes, whichever side said it; `session` carried it."""
        if request.kind is Kind.CONNECTION:
            self.book.move(request, Side.ASKED, Move.CONNECT, "", now)
            self.connected.add(request.peer.key)
            self._events.append(Connected(request.peer))
            self._line.connected(request.peer.key, now)
            self._say_yes_to_the_same(request.peer, now)
            return
        self.book.move(request, Side.ASKED, Move.ACCEPT, "", now)
        receives = request.side is Side.RECEIVER
        if request.stopping and receives:
            return  # about to be ended
        if request.kind is Kind.QUOTE:
            self._link(request, session, receives)
        elif receives and request.image is not None:
            self._events.append(ImageAccepted(request.id, request.peer, request.image))

    def _say_yes_to_the_same(self, peer: Card, now: float) -> None:
        """Answer what the peer asked before it said yes to the same: both have said yes."""
        for request in self.book.with_peer(peer.key):
            if request.kind is Kind.CONNECTION and not request.made_here and request.phase is Phase.WAITING:
                self.answer(request.id, True, None, "", now)

    def _link(self, request: Request, session: Session | None, receives: bool) -> None:
        if session is not None:
            key = session.established.export(QUOTE_LABEL, request.token, QUOTE_KEY_SIZE)
            self._events.append(
                QuoteAccepted(request.id, request.peer, request.token, key, session.path.address, receives)
            )

    def _give(self, request: Request, gift: Gift | None, now: float) -> None:
        request.gift = gift
        if request.kind is Kind.QUOTE and isinstance(gift, QuoteGift):
            request.token = self._random(m.TOKEN_SIZE)
            self._line.say(request.peer, m.GiveQuote(request.id, request.token), now)
        elif request.kind is Kind.IMAGE and isinstance(gift, ImageGift):
            request.image = gift.image
            self._line.say(request.peer, m.GiveImage(request.id, *image_fields(gift.image)), now)
        else:
            raise UsageError("bad_request", "This is not what was asked for.")
        self._accepted(request, self._line.session_with(request.peer.key), now)

    def _fetched(
        self, request: Request, session: Session, name: int, ranges: Sequence[tuple[int, int]], now: float
    ) -> None:
        gift = request.gift
        if request.side is not Side.GIVER or not isinstance(gift, ImageGift):
            raise PeerError("consent", "it fetched what nobody said yes to")
        if request.stopping:
            return
        if request.outgoing is not None and request.session is session:
            request.outgoing.want(ranges)
        else:
            if name in session.sending or not 0 < name < MAX_TRANSFER:
                raise PeerError("consent", "it fetched a picture under a name that is taken or impossible")
            outgoing = SendTransfer(gift.source, gift.image.size, gift.digests)
            outgoing.want(ranges)
            if request.session is not None:
                request.session.sending.pop(request.name, None)
            request.session, request.name, request.outgoing = session, name, outgoing
            session.sending[name] = outgoing
            if request.phase is Phase.TRANSFERRING:
                self._events.append(RequestChanged(request.id, request.phase, ""))
            self.book.move(request, Side.RECEIVER, Move.FETCH, "", now)

    def _say_inside(self, request: Request, now: float) -> None:
        """Say a quote that leaves here, once."""
        gift = request.gift
        if request.side is Side.GIVER and isinstance(gift, QuoteGift) and not request.said_inside:
            request.said_inside = True
            self._line.say(request.peer, m.Quote(request.id, gift.text, gift.author, gift.source), now)

    def _stop(self, request: Request, reason: str, now: float) -> None:
        """End a request for our side's reasons: by our last word, or by asking the side that has it."""
        if request.ours_to_end:
            self._end(request, Move.FAIL if reason else Move.CANCEL, reason, now)
        elif request.phase is Phase.WAITING and self._line.take_back(request.peer.key, request.id):
            self.book.move(request, Side.ASKER, Move.CANCEL, reason, now)
        elif not request.stopping:
            request.stopping = True
            request.deadline = now + GRACE
            if request.session is not None:
                request.session.sending.pop(request.name, None)
            self._line.say(request.peer, m.Cancel(request.id, reason[: m.MAX_REASON // 4]), now)

    def _end(self, request: Request, move: Move, reason: str, now: float) -> None:
        """Have the last word, and say it."""
        self.book.move(request, request.side, move, reason, now)
        phase = WIRE_PHASES.index(request.phase)
        self._line.say(request.peer, m.LastWord(request.id, phase, reason[: m.MAX_REASON // 4]), now)

    def _ended_by_peer(self, request: Request, phase: int, reason: str, now: float) -> None:
        move = _MOVE_TO.get(WIRE_PHASES[phase]) if phase < len(WIRE_PHASES) else None
        side = last_word(request.phase)
        if move is None or request.side is side or not self.book.may(request, side, move):
            if request.side is side:
                return  # crossed with our own yes: now the last word is ours
            raise PeerError("consent", "it ended a request in a way that is not possible")
        self.book.move(request, side, move, reason, now)
