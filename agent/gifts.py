"""What is given away: items of the library, as the core wants them, held open while they may be needed."""

import hashlib
from typing import Any

from agent.entries import image_value
from agent.library import Library
from agent.parts import ImageSource
from agent.protocol.book import Gift, ImageGift, QuoteGift
from agent.protocol.errors import UsageError
from agent.protocol.transfer import Image
from agent.quotes import Quote


class Gifts:
    """Opens what a request gives, and closes it when the request has ended."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._open: dict[str, ImageSource] = {}

    def pick(
        self, request: str, kind: str, item: str | None, keep_metadata: bool = False
    ) -> tuple[Gift, dict[str, Any]]:
        """Return an item, or one at random, as a gift and as the entry shows it. UsageError `bad_request`."""
        chosen = self._library.random_item(kind) if item is None else self._library.item(item)
        if chosen["kind"] != kind:
            raise UsageError("bad_request", f"This item is not a {'picture' if kind == 'image' else 'quote'}.")
        return self._image(request, str(chosen["item"]), keep_metadata) if kind == "image" else _quote(chosen)

    def offered(self, request: str, kind: str, value: Any, keep_metadata: bool = False) -> tuple[Gift, dict[str, Any]]:
        """Return what is offered: a quote's fields, or the item of a picture."""
        return self._image(request, value, keep_metadata) if kind == "image" else _quote(value)

    def again(self, entry: dict[str, Any]) -> ImageGift:
        """Return the picture that an interrupted request gives. UsageError if it is not there any more."""
        for keep_metadata in (False, True):
            gift, shown = self._image(entry["request"], entry["item"], keep_metadata)
            if shown["image"]["sha256"] == entry["image"]["sha256"]:
                return gift
            self.let_go(entry["request"])
        raise UsageError("bad_request", "This picture is not there any more.")

    def quote_of(self, item: object) -> dict[str, object]:
        """Return a quote of the collection. UsageError `bad_request`."""
        value = self._library.item(item)
        if value["kind"] != "quote":
            raise UsageError("bad_request", "This item is not a quote.")
        return value

    def check_image(self, item: object) -> None:
        """Raise UsageError `bad_request` unless this is a picture of the collection."""
        if self._library.item(item)["kind"] != "image":
            raise UsageError("bad_request", "This item is not a picture.")

    def let_go(self, request: str) -> None:
        """Close what a request has given."""
        source = self._open.pop(request, None)
        if source is not None:
            source.close()

    def _image(self, request: str, item: str, keep_metadata: bool) -> tuple[ImageGift, dict[str, Any]]:
        source = self._open[request] = self._library.open_image(item, keep_metadata=keep_metadata)
        value, facts = self._library.item(item), source.facts
        image = Image(
            facts.size,
            facts.format,
            facts.width,
            facts.height,
            bytes.fromhex(facts.sha256),
            hashlib.sha256(facts.digests).digest(),
            facts.preview,
            value["stripped"] and not keep_metadata,
            value.get("caption", ""),
            value.get("alt", ""),
        )
        shown = {name: fact for name, fact in image_value(image, url=True).items() if name != "digests_sha256"}
        return ImageGift(image, source, facts.digests), {"item": item, "image": shown}


def _quote(value: dict[str, Any]) -> tuple[Gift, dict[str, Any]]:
    quote = Quote(value["text"], value["author"], value.get("source"))
    shown = {"text": quote.text, "author": quote.author} | ({"source": quote.source} if quote.source else {})
    item = {"item": value["item"]} if "item" in value else {}
    return QuoteGift(quote.text, quote.author, quote.source or ""), {"quote": shown} | item
