"""The local contract: what the page may call, what it is told, and who carries it out.

`CALLS` and `EVENTS` are the only list of these names on this side; the page has the other, and a
test compares the two. Used by events.py and routes.py; the composition root implements `Exchange`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final, Protocol, TypeAlias

Answer: TypeAlias = Mapping[str, object]
Arguments: TypeAlias = Mapping[str, tuple[type, bool]]

_PEER: Final[Arguments] = {"peer": (str, True)}
_ASK: Final[Arguments] = {**_PEER, "wish": (str, False), "lifetime": (int, False)}

# For each call: its arguments, each with its type and whether it is required.
CALLS: Final[Mapping[str, Arguments]] = {
    "sign_up": {"name": (str, True), "code": (str, False)},
    "list_people": {"query": (str, False), "after": (str, False)},
    "get_person": {"name": (str, True)},
    "set_visibility": {"visibility": (str, True)},
    "forget_me": {},
    "trust_rendezvous": {"fingerprint": (str, True)},
    "get_invite": {},
    "open_invite": {"link": (str, True), "move": (bool, False)},
    "connect_to": _ASK,
    "disconnect_from": _PEER,
    "set_verified": {**_PEER, "verified": (bool, True)},
    "trust_key": {**_PEER, "fingerprint": (str, True)},
    "ask_quote": _ASK,
    "ask_image": _ASK,
    "offer_quote": {**_PEER, "item": (str, False), "text": (str, False), "author": (str, False)},
    "offer_image": {**_PEER, "item": (str, True), "keep_metadata": (bool, False)},
    "answer": {
        "request": (str, True),
        "accept": (bool, True),
        "item": (str, False),
        "reply": (str, False),
        "keep_metadata": (bool, False),
    },
    "cancel": {"request": (str, True)},
    "add_quote": {"text": (str, True), "author": (str, True), "source": (str, False)},
    "describe_item": {"item": (str, True), "caption": (str, False), "alt": (str, False)},
    "remove_item": {"item": (str, True)},
    "get_timeline": {"peer": (str, False), "before": (int, False), "limit": (int, False)},
    "get_state": {},
    "get_doctor": _PEER,
}

EVENTS: Final = frozenset({"state", "people", "request", "quote", "image_progress", "image", "notice"})


class Exchange(Protocol):
    """Who carries out what a person does on the page.

    A method for each of CALLS, with its arguments by keyword; it gives the rest of `{ok: true, …}`
    or raises UsageError. Methods may wait (they run in a green thread each) and must stand being
    called by several at once.
    """

    def sign_up(self, *, name: str, code: str | None = None) -> Answer: ...
    def list_people(self, *, query: str | None = None, after: str | None = None) -> Answer: ...
    def get_person(self, *, name: str) -> Answer: ...
    def set_visibility(self, *, visibility: str) -> Answer: ...
    def forget_me(self) -> Answer: ...
    def trust_rendezvous(self, *, fingerprint: str) -> Answer: ...
    def get_invite(self) -> Answer: ...
    def open_invite(self, *, link: str, move: bool | None = None) -> Answer: ...
    def connect_to(self, *, peer: str, wish: str | None = None, lifetime: int | None = None) -> Answer: ...
    def disconnect_from(self, *, peer: str) -> Answer: ...
    def set_verified(self, *, peer: str, verified: bool) -> Answer: ...
    def trust_key(self, *, peer: str, fingerprint: str) -> Answer: ...
    def ask_quote(self, *, peer: str, wish: str | None = None, lifetime: int | None = None) -> Answer: ...
    def ask_image(self, *, peer: str, wish: str | None = None, lifetime: int | None = None) -> Answer: ...
    def offer_quote(
        self,
        *,
        peer: str,
        item: str | None = None,
        text: str | None = None,
        author: str | None = None,
    ) -> Answer: ...
    def offer_image(self, *, peer: str, item: str, keep_metadata: bool | None = None) -> Answer: ...
    def answer(
        self,
        *,
        request: str,
        accept: bool,
        item: str | None = None,
        reply: str | None = None,
        keep_metadata: bool | None = None,
    ) -> Answer: ...
    def cancel(self, *, request: str) -> Answer: ...
    def add_quote(self, *, text: str, author: str, source: str | None = None) -> Answer: ...
    def describe_item(self, *, item: str, caption: str | None = None, alt: str | None = None) -> Answer: ...
    def remove_item(self, *, item: str) -> Answer: ...
    def get_timeline(
        self, *, peer: str | None = None, before: int | None = None, limit: int | None = None
    ) -> Answer: ...
    def get_state(self) -> Answer: ...
    def get_doctor(self, *, peer: str) -> Answer: ...

    def key_text(self) -> str:
        """Give what the QR code of this person's key says."""
        ...

    def invite_link(self) -> str:
        """Give the link by which others find this person, or UsageError."""
        ...

    def add_image(self, stream: IO[bytes], filename: str | None) -> Answer:
        """Take in an uploaded picture: `{item, sha256, width, height, bytes, stripped, reveals}`, or UsageError."""
        ...

    def add_quotes(self, stream: IO[bytes]) -> Answer:
        """Take in a text file: `{added, known, refused: [{line, code, message}], left_out}`, or UsageError."""
        ...

    def media(self, sha256: str) -> tuple[Path, str] | None:
        """Find a finished picture: its file and media type."""
        ...

    def preview(self, request: str) -> bytes | None:
        """Find the tiny WebP that came with a picture's announcement, checked."""
        ...

    def partial(self, request: str) -> Iterator[bytes] | None:
        """Follow a picture that arrives: verified bytes in order, from its beginning.

        `None` if there is nothing to show. The iterator waits for more, ends when the picture is
        whole, and raises when it will never be. It has a `close` if it holds anything.
        """
        ...
