"""Requests as people see them: one entry each, kept in the history and told to the page whenever it changes.

An entry is the `request` value of the local contract. Used by `exchange` and `happenings`; it decides nothing.
"""

import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from typing import Any, Final

from agent.history import FINAL_PHASES, History
from agent.protocol.errors import UsageError
from agent.protocol.transfer import Image
from agent.quotes import MAX_ALT, MAX_CAPTION, heard_line

STATE_BYTES: Final = 100_000  # of the requests in `state`, which is to stay under 256 KB
CUT: Final = 1000  # characters of a quote in `state` and in events of open pages
RECENT: Final = 50

_UNTOLD: Final = ("digests_sha256", "preview_bytes")  # of a picture

Entry = dict[str, Any]
Publish = Callable[[str, object], None]


class Entries:
    """The requests of this person; open ones are at hand, all are in the history."""

    def __init__(self, history: History, publish: Publish) -> None:
        self._history = history
        self._publish = publish
        self._open: dict[str, Entry] = {}
        self._unsaved: dict[str, Entry] = {}  # what a full disk did not take

    def unfinished(self) -> list[Entry]:
        """Return the pictures that were on their way when the agent stopped; everything else gets its last word."""
        on_the_way = ("accepted", "transferring")
        moving = [e for e in self._history.open_requests() if e["kind"] == "image" and e["phase"] in on_the_way]
        self._open = {entry["request"]: entry for entry in moving}
        self._history.close_open("The agent was stopped before this was finished.", "unreachable")
        for entry in moving:
            self._history.save_request(entry)
        return moving

    def add(
        self, request: str, kind: str, verb: str, direction: str, peer: str, wish: str, lifetime: float, **more: Any
    ) -> None:
        """Enter a new request in phase `waiting`, or in `more`'s."""
        now = time.time()
        entry = {
            "request": request,
            "kind": kind,
            "verb": verb,
            "direction": direction,
            "peer": peer,
            "phase": "waiting",
            "created_at": now,
            "expires_at": now + lifetime,
        }
        if wish:
            entry["wish"] = wish
        self._open[request] = entry | more
        self._keep(request)

    def change(self, request: str, **values: Any) -> Entry | None:
        """Change an open entry, keep and tell it; None if there is no such open entry."""
        entry = self._open.get(request)
        if entry is None:
            return None
        entry |= values
        self._keep(request)
        return entry

    def note(self, request: str, **values: Any) -> None:
        """Add to an open entry what the next change will keep and tell."""
        if request in self._open:
            self._open[request] |= values

    def open(self, request: str) -> Entry | None:
        """Return an open entry."""
        return self._open.get(request)

    def find(self, request: str) -> Entry | None:
        """Return an entry, open or not."""
        return self._open.get(request) or self._unsaved.get(request) or self._history.request(request)

    def with_peer(self, peer: str) -> list[Entry]:
        """Return the open entries with a person."""
        return [entry for entry in self._open.values() if entry["peer"] == peer]

    def transferring(self) -> list[Entry]:
        """Return the entries whose picture is on its way."""
        return [entry for entry in self._open.values() if entry["phase"] == "transferring"]

    def for_state(self) -> list[Entry]:
        """Return the open requests and the last ones, newest first, within the size that `state` has for them."""
        chosen = {entry["request"]: entry for entry in self._history.recent(RECENT, CUT)}
        chosen |= {request: shortened(entry) for request, entry in (self._unsaved | self._open).items()}
        ranked = sorted(chosen.values(), key=lambda entry: (entry["phase"] in FINAL_PHASES, -entry["created_at"]))
        entries = within(ranked, STATE_BYTES)
        return sorted(entries, key=lambda entry: -float(entry["created_at"]))

    def _keep(self, request: str) -> None:
        entry = self._open[request]
        self._unsaved[request] = entry
        try:
            for id, unsaved in list(self._unsaved.items()):
                self._history.save_request(unsaved)
                self._unsaved.pop(id, None)
        except UsageError as error:  # it has happened all the same; the next change tries again
            self._publish("notice", {"level": "error", "code": error.code, "message": error.message})
        self._publish("request", shortened(entry))
        if entry["phase"] in FINAL_PHASES:
            del self._open[request]


def within(values: Iterable[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """Return the first values that together take at most about `size` bytes of JSON."""
    taken: list[dict[str, Any]] = []
    for value in values:
        size -= len(str(value).encode())
        if size < 0:
            break
        taken.append(value)
    return taken


def shortened(entry: Entry) -> Entry:
    """Return an entry as it is told: its quote cut to what fits everywhere, without what only the agent needs."""
    if any(name in entry.get("image", ()) for name in _UNTOLD):
        entry = entry | {"image": {name: value for name, value in entry["image"].items() if name not in _UNTOLD}}
    quote = entry.get("quote")
    if quote and len(quote["text"]) > CUT:
        return entry | {"quote": quote | {"text": quote["text"][:CUT], "cut": True}}
    return entry


def image_value(image: Image, url: bool, request: str = "") -> dict[str, Any]:
    """Return a picture as the page sees it, with its address once it is whole.

    With a request, the preview that was announced is kept, and where it can be seen.
    """
    sha256 = image.sha256.hex()
    value = {
        "width": image.width,
        "height": image.height,
        "format": image.format,
        "bytes": image.size,
        "sha256": sha256,
        "digests_sha256": image.digests_sha256.hex(),
        "stripped": image.stripped,
    }
    texts = {"caption": heard_line(image.caption, MAX_CAPTION), "alt": heard_line(image.alt, MAX_ALT)}
    value |= {name: text for name, text in texts.items() if text}
    if request and image.preview:
        value |= {"preview": f"/media/preview/{request}", "preview_bytes": b64encode(image.preview).decode()}
    return value | ({"url": f"/media/{sha256}"} if url else {})


def preview_of(entry: Entry) -> bytes | None:
    """Return the preview that came with the picture of an entry, as it came."""
    kept = entry.get("image", {}).get("preview_bytes")
    return b64decode(kept) if kept else None


def image_of(value: dict[str, Any]) -> Image:
    """Return the picture that an entry tells of."""
    sha256, digests = bytes.fromhex(value["sha256"]), bytes.fromhex(value["digests_sha256"])
    return Image(value["bytes"], value["format"], value["width"], value["height"], sha256, digests, b"")
