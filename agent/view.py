"""The value of `state`: all that a page needs to begin, put together from whoever knows it."""

from collections.abc import Callable
from typing import Any, Final

from agent.entries import Entries, within
from agent.history import History
from agent.images import MAX_BYTES, MAX_PIXELS
from agent.ledger import Evidence, Ledger
from agent.library import Library
from agent.people import People
from agent.protocol.endpoint import Endpoint
from agent.quotes import MAX_TEXT_BYTES
from agent.words import digits, key_text, words
from rendezvous.contract.identity import fingerprint

LIBRARY_BYTES: Final = 50_000  # of the items in `state`, which is to stay under 256 KB
PEOPLE_BYTES: Final = 90_000  # of the contacts: some 200; the others are found by searching
DEFAULT_LIFETIME: Final = 300  # seconds
MOST_EVIDENCE: Final = 5

Publish = Callable[[str, object], None]


class StateView:
    """Makes `state` and publishes it when something in it changes that has no event of its own."""

    def __init__(
        self,
        core: Endpoint,
        people: People,
        entries: Entries,
        library: Library,
        history: History,
        ledger: Ledger,
        key: bytes,
        settings: dict[str, Any],
        publish: Publish,
    ) -> None:
        self._core, self._people, self._entries, self._library = core, people, entries, library
        self._history, self._ledger = history, ledger
        self._key, self._settings, self.tell = key, settings, publish
        self._rendezvous = ("connecting", "")
        self._measured: tuple[list[dict[str, Any]], list[dict[str, Any]]] = [], []
        self.invitation: dict[str, str] = {}  # that the agent was started with: who sent it, or a message why not
        self.network: Callable[[], dict[str, Any]] = (
            dict  # what the connection doctor says of ourselves; the root sets it
        )
        self.code_required: Callable[[], bool] = lambda: False  # whether newcomers need a code; the root sets it

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
            "settings": {
                **self._settings,
                "visibility": self._history.setting("visibility", "listed"),
                "default_lifetime": DEFAULT_LIFETIME,
                "limits": limits,
            },
            "reachability": {
                "rendezvous": status,
                "message": message,
                "peer_port": self._settings["peer_port"],
                "code_required": self.code_required(),
                **self.network(),
                **self._standing(),
            },
        } | ({"invitation": self.invitation} if self.invitation else {})

    def servers(self) -> list[str]:
        """Return the fingerprint of the key that the rendezvous has now, then of the one that it had before, if any."""
        url = self._settings["rendezvous"]
        keys = (self._ledger.other_server(url), self._ledger.server(url))
        return [fingerprint(key) for key in keys if key is not None]

    def moved(self, url: str) -> None:
        """Take the address of another rendezvous."""
        self._settings["rendezvous"] = url

    def found(self, evidence: Evidence) -> None:
        """Show what was found against the rendezvous."""
        message = f"{evidence.sentence} Nobody new is asked until you decide; your contacts are who they were."
        self.tell("notice", {"level": "error", "code": "key_changed", "message": message})
        self.publish()

    def _standing(self) -> dict[str, Any]:
        """Return what is to be decided about the rendezvous: `changed` (two fingerprints) and `evidence`, if any."""
        url = self._settings["rendezvous"]
        found = self._ledger.evidence(self._ledger.server(url))[:MOST_EVIDENCE]
        value: dict[str, Any] = {"evidence": [evidence.as_json() for evidence in found]} if found else {}
        servers = self.servers()
        if len(servers) == 2:
            value["changed"] = {"new_fingerprint": servers[0], "fingerprint": servers[1]}
        return value | ({"fingerprint": servers[-1]} if servers else {})

    def key_text(self) -> str:
        """Return what the QR code says."""
        return key_text(self._core.name, self._key)

    @property
    def is_up(self) -> bool:
        """Tell whether the rendezvous is in reach."""
        return self._rendezvous[0] == "up"

    @property
    def is_down(self) -> bool:
        """Tell whether the rendezvous was away when it was last looked for."""
        return self._rendezvous[0] == "down"

    def publish(self) -> None:
        """Tell all pages the state as it is now."""
        self.tell("state", self.state())

    def rendezvous(self, status: str, message: str) -> None:
        """Take the directory's news of itself: `up`, `down` or `connecting`, and a sentence."""
        before, self._rendezvous = self._rendezvous, (status, message)
        self.publish()
        if status == "down" and before[0] == "up":
            self.tell("notice", {"level": "warning", "code": "rendezvous_down", "message": message})

    def _items(self) -> list[dict[str, Any]]:
        """Return what is offered, within its size; that is measured again only when something else is offered."""
        items = self._library.items()
        if items is not self._measured[0]:
            self._measured = items, within(items, LIBRARY_BYTES)
        return self._measured[1]


def _rank(person: dict[str, Any]) -> tuple[bool, bool, str]:
    return not person["connected"], not person["online"], person["name"]
