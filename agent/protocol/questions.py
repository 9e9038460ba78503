"""Requests as messages: which message asks for what, and pictures as they are announced. Used by `consent`."""

from collections.abc import Sequence
from typing import Final

from agent.protocol import messages as m
from agent.protocol.book import ImageGift, QuoteGift, Request
from agent.protocol.errors import PeerError
from agent.protocol.fields import MAX_FETCH_RANGES
from agent.protocol.request import Kind, Verb
from agent.protocol.transfer import FORMATS, Image

Question = m.ConnectTo | m.AskQuote | m.AskImage | m.OfferQuote | m.OfferImage

MEANING: Final[dict[type, tuple[Kind, Verb]]] = {
    m.ConnectTo: (Kind.CONNECTION, Verb.ASK),
    m.AskQuote: (Kind.QUOTE, Verb.ASK),
    m.AskImage: (Kind.IMAGE, Verb.ASK),
    m.OfferQuote: (Kind.QUOTE, Verb.OFFER),
    m.OfferImage: (Kind.IMAGE, Verb.OFFER),
}


def question(request: Request, lifetime: int, wish: str) -> Question:
    """Return the message that asks for what the request is about."""
    id = request.id
    if isinstance(request.gift, QuoteGift):
        return m.OfferQuote(id, lifetime, wish, request.token)
    if isinstance(request.gift, ImageGift):
        return m.OfferImage(id, lifetime, wish, *image_fields(request.gift.image))
    if request.kind is Kind.CONNECTION:
        return m.ConnectTo(id, lifetime, wish)
    return (m.AskQuote if request.kind is Kind.QUOTE else m.AskImage)(id, lifetime, wish)


def bounded(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return at most as many ranges as one Fetch holds; the last one then covers all the others."""
    most = MAX_FETCH_RANGES
    if len(ranges) <= most:
        return tuple(ranges)
    return (*ranges[: most - 1], (ranges[most - 1][0], ranges[-1][1]))


ImageFields = tuple[int, int, int, int, bytes, bytes, bytes, int, str, str]


def image_fields(image: Image) -> ImageFields:
    """Return a picture as the fields of GiveImage and OfferImage."""
    return (
        image.size,
        FORMATS.index(image.format),
        image.width,
        image.height,
        image.sha256,
        image.digests_sha256,
        image.preview,
        m.STRIPPED if image.stripped else 0,
        image.caption,
        image.alt,
    )


def announced(message: m.OfferImage | m.GiveImage) -> Image:
    """Return the picture that a message announces; raises PeerError where it is impossible."""
    if message.format >= len(FORMATS):
        raise PeerError("image", "it announced a picture of an unknown format")
    image = Image(
        message.size,
        FORMATS[message.format],
        message.width,
        message.height,
        message.sha256,
        message.digests_sha256,
        message.preview,
        message.about & m.STRIPPED != 0,
        message.caption,
        message.alt,
    )
    image.check()
    return image
