"""What a person does, verb by verb, and what can be asked about it: the part of `Endpoint` that passes on to `consent`.

A mixin, so that a verb of the agent is a verb of the endpoint. It knows nothing of datagrams.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.protocol.book import Gift, Request
from agent.protocol.candidates import PathKind
from agent.protocol.card import Card
from agent.protocol.consent import Consent
from agent.protocol.packet import Address
from agent.protocol.request import Kind, Verb
from agent.protocol.transfer import Image, Sink


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the transfer of a picture is. `bytes` are those that are verified, or acknowledged at the giver."""

    bytes: int
    total: int
    rtt: float  # seconds
    loss: float  # 0 to 1
    address: Address
    path: PathKind


class Verbs:
    """The verbs of an endpoint; after each, call its doors."""

    _consent: Consent

    def ask(
        self, id: bytes, kind: Kind, peer: Card, lifetime: int, wish: str, now: float, offer: Gift | None = None
    ) -> None:
        """Ask `peer` for a connection, a quote or a picture, or offer it one. `lifetime` is in whole seconds.

        UsageError `not_connected`, `limit`, `bad_request`. What becomes of it: RequestMade, RequestChanged.
        """
        verb = Verb.ASK if offer is None else Verb.OFFER
        self._consent.make(id, kind, verb, peer, lifetime, wish, offer, now)

    def answer(self, id: bytes, accept: bool, gift: Gift | None, reason: str, now: float) -> None:
        """Say yes or no to a peer's request; `gift` is what leaves. UsageError."""
        self._consent.answer(id, accept, gift, reason, now)

    def cancel(self, id: bytes, now: float) -> None:
        """Take back a request or stop its transfer, on either side. UsageError."""
        self._consent.cancel(id, now)

    def fail(self, id: bytes, reason: str, now: float) -> None:
        """End a request because this side cannot go on; `reason` is a sentence for the other person."""
        self._consent.fail(id, reason, now)

    def fetch_image(self, id: bytes, sink: Sink, have: Sequence[int], now: float) -> None:
        """After ImageAccepted: fetch the picture into `sink`, without the chunks of indices `have`."""
        self._consent.fetch_image(id, sink, have, now)

    def restore_image(
        self, id: bytes, verb: Verb, peer: Card, made_here: bool, image: Image, gift: Gift | None, now: float
    ) -> None:
        """After a restart, go on with a picture that was on its way; next, at the receiver: `fetch_image`."""
        self._consent.restore(id, verb, peer, made_here, image, gift, now)

    def image_kept(self, id: bytes, now: float) -> bool:
        """After ImageArrived: say that the picture is kept. False if the request ended meanwhile."""
        return self._consent.arrived(id, now)

    def quote_arrived(self, id: bytes, now: float) -> bool:
        """Say that a quote is here, by the text link or inside the session. False if it was here before."""
        return self._consent.arrived(id, now)

    def quote_inside(self, id: bytes, now: float) -> None:
        """After QuoteAccepted, on either side: the text link does not work, send it inside the session."""
        self._consent.quote_inside(id, now)

    def disconnect_from(self, peer: Card, now: float) -> None:
        """End the connection with a peer."""
        self._consent.disconnect(peer, now)

    def find(self, id: bytes) -> Request | None:
        """Return an open request, to look at."""
        return self._consent.book.find(id)

    def is_connected(self, key: bytes) -> bool:
        """Tell whether both said yes to a connection."""
        return key in self._consent.connected

    def progress(self, id: bytes) -> Progress | None:
        """Tell how far a transfer is; None if there is none."""
        request = self._consent.book.find(id)
        if request is None or request.session is None or request.image is None:
            return None
        session, total = request.session, request.image.size
        path = session.path
        if request.incoming is not None:
            done = request.incoming.verified_bytes()
            return Progress(done, total, session.rtt, session.loss(sending=False), path.address, path.kind)
        assert request.outgoing is not None
        done = max(0, total - (request.outgoing.total - request.outgoing.arrived_bytes))
        return Progress(done, total, session.rtt, session.loss(sending=True), path.address, path.kind)
