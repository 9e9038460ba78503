"""The value of `state`: all that a page needs to begin, put together from whoever knows it."""

from collections.abc import Callable
from typing import Any, Final

from agent.entries import Entries, within
from agent.images import MAX_BYTES, MAX_PIXELS
from agent.library import Library
from agent.people import People
from agent.protocol.endpoint import Endpoint
from agent.quotes import MAX_TEXT_BYTES
from agent.words import digits, key_text, words
from rendezvous.contract.identity import fingerprint

LIBRARY_BYTES: Final = 50_000  # of the items in `state`, which is to stay under 256 KB
PEOPLE_BYTES: Final = 90_000  # of the contacts: some 200; the others are found by searching
DEFAULT_LIFETIME: Final = 300

Publish = Callable[[str, object], None]


class StateView:
    """Makes `state` and publishes it when something in it changes that has no event of its own."""

    def __init__(
        self,
        core: Endpoint,
        people: People,
        entries: Entries,
        library: Library,
        key: bytes,
        settings: dict[str, Any],
        publish: Publish,
    ) -> None:
        self._core, self._people, self._entries, self._library = core, people, entries, library
        self._key, self._settings, self._publish = key, settings, publish
        self._rendezvous = ("connecting", "")

    def state(self) -> dict[str, Any]:
        """Return the whole state, which stays under 256 KB."""
        status, message = self._rendezvous
        limits = {"quote_bytes": MAX_TEXT_BYTES, "image_bytes": MAX_BYTES, "image_pixels": MAX_PIXELS}
        return {
            "me": {
                "name": self._core.name,
                "fingerprint": fingerprint(self._key),
                "words": words(self._key),
                "digits": digits(self._key),
                "qr": "/qr.svg",
                "signed_up": self._core.name is not None,
            },
            "people": within(sorted(self._people.contacts(), key=_rank), PEOPLE_BYTES),
            "requests": self._entries.for_state(),
            "library": self._items(),
            "settings": {**self._settings, "default_lifetime": DEFAULT_LIFETIME, "limits": limits},
            "reachability": {
                "rendezvous": status,
                "message": message,
                "peer_port": self._settings["peer_port"],
            },
        }

    def key_text(self) -> str:
        """Return what the QR code says."""
        return key_text(self._core.name, self._key)

    def publish(self) -> None:
        """Tell all pages the state as it is now."""
        self._publish("state", self.state())

    def rendezvous(self, status: str, message: str) -> None:
        """Take the directory's news of itself: `up`, `down` or `connecting`, and a sentence."""
        before, self._rendezvous = self._rendezvous, (status, message)
        self.publish()
        if status == "down" and before[0] == "up":
            self._publish("notice", {"level": "warning", "code": "rendezvous_down", "message": message})

    def _items(self) -> list[dict[str, object]]:
        return within(self._library.items(), LIBRARY_BYTES)


def _rank(person: dict[str, Any]) -> tuple[bool, bool, str]:
    return not person["connected"], not person["online"], person["name"]
