"""What a person has to give and has been given: the calls of the local contract about the collection and its files.

Beside `exchange`, which has the calls that concern other people.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from agent.library import Library
from agent.pictures import Pictures
from agent.quote_file import MAX_FILE, QuoteFile
from agent.view import StateView

Answer = dict[str, Any]


class Collection:
    """The calls about quotes and pictures, by name."""

    def __init__(self, library: Library, pictures: Pictures, view: StateView) -> None:
        self._library, self._pictures, self._view = library, pictures, view

    def add_quote(self, *, text: str, author: str, source: str | None = None) -> Answer:
        """Add a quote to the collection."""
        item = self._library.add_quote(text, author, source)
        self._view.publish()
        return {"item": item["item"]}

    def describe_item(self, *, item: str, caption: str | None = None, alt: str | None = None) -> Answer:
        """Set a picture's caption and alternative text, which travel with it; "" takes one away."""
        self._library.describe_item(item, caption, alt)
        self._view.publish()
        return {}

    def add_quotes(self, stream: IO[bytes]) -> Answer:
        """Take in a text file of quotes."""
        file = QuoteFile(stream.read(MAX_FILE + 1))
        added = self._library.add_quotes(file)
        self._view.publish()
        known = len(file.quotes) - added
        return {"added": added, "known": known, "refused": file.as_json(), "left_out": file.left_out}

    def remove_item(self, *, item: str) -> Answer:
        """Stop offering an item."""
        self._library.remove_item(item)
        self._view.publish()
        return {}

    def add_image(self, stream: IO[bytes], filename: str | None) -> Answer:
        """Take in an uploaded picture."""
        item = self._library.add_image(stream, filename)
        self._view.publish()
        told = ("item", "sha256", "width", "height", "bytes", "stripped", "reveals")
        return {name: item[name] for name in told if name in item}

    def media(self, sha256: str) -> tuple[Path, str] | None:
        """Find a finished picture."""
        return self._library.media(sha256)

    def preview(self, request: str) -> bytes | None:
        """Find the tiny picture that came with a picture's announcement."""
        return self._pictures.preview(request)

    def partial(self, request: str) -> Iterator[bytes] | None:
        """Follow a picture that arrives."""
        return self._pictures.follow(request)
