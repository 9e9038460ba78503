"""What happened, as the core tells it: kept in the history, told to the page, and carried on. Decides nothing.

The one exception is the door: someone who is no contact is asked of the directory before a person is bothered, so that
nobody can come under a name that is not theirs.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from agent.entries import Entries, image_value, shortened
from agent.gifts import Gifts
from agent.history import History, never
from agent.node import Node
from agent.people import People
from agent.pictures import Pictures
from agent.protocol import events as e
from agent.protocol.attempt import NO_ANSWER, NO_PLACE
from agent.protocol.book import QuoteGift
from agent.protocol.endpoint import Endpoint
from agent.protocol.errors import UsageError
from agent.protocol.ranking import relayed
from agent.protocol.reach_events import ReachEvent, Reflexive, RelayBound, RelayLost, TicketNeeded
from agent.protocol.request import Phase
from agent.quotes import checked_quote
from agent.reach import Reachability
from agent.text_link import TextLink

Publish = Callable[[str, object], None]

_log = logging.getLogger(__name__)
INSIDE: Final = "session"
"""The way of a quote that crossed no link of its own."""
_DEFAULT_REASON: Final = {"expired": "Nobody answered in time."}


class Happenings:
    """Takes the core's events, one after the other; what must wait goes to a thread of its own."""

    def __init__(
        self,
        core: Endpoint,
        people: People,
        entries: Entries,
        gifts: Gifts,
        history: History,
        publish: Publish,
    ) -> None:
        self._core, self._people, self._entries, self._gifts = core, people, entries, gifts
        self._history, self._publish = history, publish
        self._node: Node
        self._pictures: Pictures
        self._text_link: TextLink
        self._reach: Reachability

    def attach(self, node: Node, pictures: Pictures, text_link: TextLink, reach: Reachability) -> None:
        """Say who pumps and who fetches, and who knows of ways; before the node starts."""
        self._node, self._pictures, self._text_link, self._reach = node, pictures, text_link, reach

    def on_event(self, event: e.Event | ReachEvent) -> None:
        """Act on one event of the core; whatever goes wrong with one, the next ones still count."""
        try:
            self._act_on(event)
        except UsageError as error:
            self._publish("notice", {"level": "error", "code": error.code, "message": error.message})
        except Exception as error:
            _log.error("A fault in the agent, with %s: %s: %s", type(event).__name__, type(error).__name__, error)
            _log.debug("It was raised here.", exc_info=error)

    def _act_on(self, event: e.Event | ReachEvent) -> None:
        match event:
            case e.RequestMade():
                self._made(event)
            case e.RequestChanged():
                self._changed(event)
            case e.QuoteAccepted():
                self._quote_accepted(event)
            case e.QuoteArrived(id, text, author, source):
                self.quote_came(id, text, author, source)
            case e.ImageAccepted():
                self._pictures.accepted(event)
            case e.ImageArrived(id):
                self._pictures.arrived(id)
            case e.SessionOpened(peer, address, counter):
                self._people.session_opened(peer, address, counter)
                self._people.way_changed(peer.key)
            case e.PathChanged(peer, _, address):
                self._people.reached(peer, address)
                self._people.way_changed(peer.key)
            case e.SessionClosed(peer):
                self._people.way_changed(peer.key)
            case e.StatementTold(peer, statement):
                self._people.statement_told(peer, statement)
            case e.Connected(peer):
                self._connected(peer)
            case e.Disconnected(peer):
                contact = self._people.by_key(peer.key)
                if contact is not None:
                    self._people.disconnected(contact.name)
                    message = f"{contact.name} ended the connection."
                    self._publish("notice", {"level": "info", "code": "disconnected", "message": message})
            case Reflexive() | RelayBound() | RelayLost() | TicketNeeded():
                self._reach.on_event(event)

    # --- requests ---

    def _made(self, event: e.RequestMade) -> None:
        contact = self._people.by_key(event.peer.key)
        if event.made_here or contact is not None:
            name = event.peer.name if event.made_here or contact is None else contact.name
            if not event.made_here and self._history.setting(never(event.peer.key)):
                self._refuse(event.request, "No.")
                return
            self._enter(event, name)
        else:
            threading.Thread(target=self._at_the_door, args=(event,), daemon=True).start()

    def _enter(self, event: e.RequestMade, name: str, **more: Any) -> None:
        if event.image and not event.made_here:
            more["image"] = image_value(event.image, url=False, request=event.request.hex())
        self._entries.add(
            event.request.hex(),
            event.kind.value,
            event.verb.value,
            "out" if event.made_here else "in",
            name,
            event.wish,
            event.lifetime,
            **more,
        )

    def _at_the_door(self, event: e.RequestMade) -> None:
        """Show a stranger's request once the directory says that the name is theirs."""
        name, reason, more = event.peer.name, "", {}
        try:
            person = self._people.look_up(name, event.peer.key)
            more = {"unchecked": True} if person.unchecked else {}
            if person.key != event.peer.key:
                reason = f"The rendezvous knows {name} by another key."
        except UsageError as error:
            reason = "It could not be checked who is asking: " + error.message
            if error.code == "key_changed":
                self._publish("notice", {"level": "error", "code": error.code, "message": error.message})
        if not reason and self._history.setting(never(event.peer.key)):
            reason = "No."
        if reason:
            self._refuse(event.request, reason)
        elif self._core.find(event.request) is not None:
            self._enter(event, name, **more)
        self._node.wake()

    def _refuse(self, id: bytes, reason: str) -> None:
        if self._core.find(id) is not None:
            self._core.answer(id, False, None, reason, self._node.now())

    def _changed(self, event: e.RequestChanged) -> None:
        request, phase = event.request.hex(), event.phase
        reason = event.reason or _DEFAULT_REASON.get(phase.value, "")
        entry = self._entries.open(request)
        if entry is not None and reason in [sentence.format(name=entry["peer"]) for sentence in (NO_PLACE, NO_ANSWER)]:
            reason = f"{reason} {self._reach.trouble_with(entry['peer'])}".strip()
        if phase is Phase.DONE and entry is not None and entry["kind"] == "quote":
            entry.setdefault("via", INSIDE)
        if phase is Phase.DONE and entry is not None and "image" in entry:
            image = entry["image"]
            entry["image"] = image | {"url": f"/media/{image['sha256']}"}
        told = {"reason": reason} if reason or (entry and "reason" in entry) else {}
        entry = self._entries.change(request, phase=phase.value, **told)
        if phase is Phase.TRANSFERRING:
            self._pictures.moving()
        if not phase.final:
            return
        self._gifts.let_go(request)
        self._pictures.ended(request)
        self._text_link.forget(event.request)
        if phase is Phase.DONE and entry is not None:
            self._tell_item(entry)

    def _tell_item(self, entry: dict[str, Any]) -> None:
        """Tell the receiver's page what it now has."""
        if (entry["direction"] == "out") != (entry["verb"] == "ask"):
            return
        if entry["kind"] in ("quote", "image"):
            head = {"request": entry["request"], "peer": entry["peer"]}
            told = shortened(entry) if entry["kind"] == "image" else entry
            self._publish(entry["kind"], head | told[entry["kind"]])

    # --- quotes ---

    def _quote_accepted(self, event: e.QuoteAccepted) -> None:
        """Have a quote cross: over TCP, which both sides dial; through a relay there is only the session."""
        address = None if relayed(event.address) else event.address
        request = self._core.find(event.request)
        if address is None:
            self._link_failed(event.request, "")
        if not event.receives and request is not None and isinstance(request.gift, QuoteGift):
            self._text_link.give(event.request, event.token, event.key, request.gift, address)
        elif event.receives and address is not None:
            self._text_link.fetch(event.request, event.token, event.key, address, self.quote_came, self._link_failed)

    def quote_given(self, id: bytes, way: str) -> None:
        """Note by which way a quote has left."""
        self._entries.note(id.hex(), via=way)

    def quote_came(self, id: bytes, text: str, author: str, source: str, way: str = INSIDE) -> None:
        """Keep a quote, whichever way it came; the second time nothing happens."""
        if self._core.find(id) is None:
            return
        try:
            value = checked_quote(text, author, source).as_json()
        except UsageError as error:
            self._core.fail(id, error.message, self._node.now())
        else:
            self._entries.note(id.hex(), quote=value, via=way)
            self._core.quote_arrived(id, self._node.now())
        self._node.wake()

    def _link_failed(self, id: bytes, reason: str) -> None:
        """Have the quote sent inside the session instead."""
        self._core.quote_inside(id, self._node.now())
        self._node.wake()

    # --- people ---

    def _connected(self, peer: Any) -> None:
        try:
            self._people.connected(peer)
        except UsageError as error:
            self._core.disconnect_from(peer, self._node.now())
            self._publish("notice", {"level": "error", "code": error.code, "message": error.message})
