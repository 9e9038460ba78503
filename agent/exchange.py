"""What a person can do: the calls of the local contract, carried out.

Each call checks what was asked, hands it to the core, and wakes the pump. What then happens comes back through
`happenings`. What concerns nobody else is in `collection`. Errors are UsageErrors, whose sentences people read.
"""

import contextlib
import secrets
from typing import Any, Final

from agent.collection import Answer, Collection
from agent.directory import Directory
from agent.entries import Entries
from agent.gifts import Gifts
from agent.history import History, never
from agent.library import Library
from agent.node import Node
from agent.people import People, card_of
from agent.pictures import Pictures
from agent.protocol.card import Card
from agent.protocol.endpoint import Endpoint
from agent.protocol.errors import UsageError
from agent.protocol.packet import Address
from agent.protocol.request import Kind, Verb
from agent.quotes import checked_quote
from agent.reach import Reachability
from agent.view import DEFAULT_LIFETIME, StateView
from rendezvous.contract.identity import fingerprint as fingerprint_of
from rendezvous.contract.names import canonical

SHORTEST, LONGEST = 5, 86_400  # seconds
MAX_WISH: Final = 280  # characters
REPLIES: Final = {None: "", "not_now": "Not now.", "never": "No, and please do not ask again."}


class Exchange(Collection):
    """The calls of the local contract, by name."""

    def __init__(
        self,
        core: Endpoint,
        node: Node,
        directory: Directory,
        people: People,
        entries: Entries,
        library: Library,
        gifts: Gifts,
        pictures: Pictures,
        history: History,
        view: StateView,
        reach: Reachability,
        peer_port: int,
        direct: bool,
    ) -> None:
        super().__init__(library, pictures, view)
        self._core, self._node, self._directory, self._people = core, node, directory, people
        self._entries, self._gifts, self._history, self._reach = entries, gifts, history, reach
        self._peer_port, self._direct = peer_port, direct

    # --- me ---

    def sign_up(self, *, name: str) -> Answer:
        """Claim a name at the rendezvous; the same name again renews it."""
        if self._core.name is not None:
            try:
                same = canonical(name) == self._core.name
            except ValueError:
                same = False
            if not same:
                raise UsageError("bad_request", f"You are signed up as {self._core.name} already.")
        self._directory.sign_up(name, self._peer_port)
        self.signed_up(self._directory.name or canonical(name))
        return {"name": self._core.name}

    def signed_up(self, name: str) -> None:
        """Go by this name from now on."""
        if self._core.name != name:
            self._history.set_setting("name", name)
            self._core.name = name
        self._people.watch()
        self._reach.begin()
        self._view.publish()

    def get_state(self) -> Answer:
        """Return what a page needs to begin."""
        return self._view.state()

    def take_up(self) -> list[str]:
        """Go on with the pictures that were on their way when the agent stopped; return their requests."""
        taken = []
        for entry in self._entries.unfinished():
            if self._restored(entry):
                taken.append(entry["request"])
            else:
                reason = "It could not be taken up again after the agent was stopped."
                self._entries.change(entry["request"], phase="failed", reason=reason)
        return taken

    def came_online(self, name: str) -> None:
        """Look where a contact is now, if a picture waits for them."""
        contact = self._people.find(name)
        if contact is None or not any(entry["phase"] == "transferring" for entry in self._entries.with_peer(name)):
            return
        with contextlib.suppress(UsageError):
            _, addresses = self._people.reach(contact)
            self._core.meet(contact.key, addresses)
            self._reach.approach_later(contact.name, contact.key)
            self._node.wake()

    def went_offline(self, name: str) -> None:
        """Find out whether a contact whom the rendezvous calls offline still answers."""
        contact = self._people.find(name)
        if contact is not None:
            self._core.doubt(contact.key, self._node.now())
            self._node.wake()

    # --- people ---

    def list_people(self, *, query: str | None = None, after: str | None = None) -> Answer:
        """Return a page of who is listed at the rendezvous."""
        people, following = self._people.listed(query or "", after, self._core.name)
        return {"people": people} | ({"next": following} if following is not None else {})

    def get_person(self, *, name: str) -> Answer:
        """Return what the rendezvous says of one person."""
        return {"person": self._people.get(name)}

    def connect_to(self, *, peer: str, wish: str | None = None, lifetime: int | None = None) -> Answer:
        """Ask someone for a connection."""
        self._need_name()
        wish, lifetime = _checked(wish, lifetime)
        person = self._people.look_up(peer)
        if person.name == self._core.name:
            raise UsageError("bad_request", "This is yourself.")
        if person.key is not None and self._core.is_connected(person.key):
            raise UsageError("bad_request", f"You and {person.name} are connected already.")
        for entry in self._entries.with_peer(person.name):
            if entry["kind"] == "connection" and entry["direction"] == "out":
                return {"request": entry["request"]}
        if person.key is None or person.box_key is None or person.box_signature is None:
            raise UsageError("unreachable", f"{person.name} has signed up without a key: nobody can reach them safely.")
        self._history.set_setting(never(person.key), False)  # who asks may be asked
        card = Card(person.name, person.key, person.box_key, person.box_signature)
        chosen = self._direct and person.direct  # by both: else strangers meet at the relay, and see no address
        addresses = [(person.host, person.port)] if chosen and person.host and person.port else []
        addresses += self._people.nearby(person.key)  # so did they who announce themselves in this local network
        gone = "" if person.online else f"{person.name} is not online."
        why_not = self._approach(card, gone, addresses)
        return self._ask(Kind.CONNECTION, card, why_not, wish, lifetime, None)

    def disconnect_from(self, *, peer: str) -> Answer:
        """End the connection with someone."""
        contact = self._people.contact(peer)
        card = card_of(contact)
        self._core.disconnect_from(card, self._node.now())
        self._people.disconnected(contact.name)
        self._node.wake()
        return {}

    def set_verified(self, *, peer: str, verified: bool) -> Answer:
        """Mark a contact's key as compared, or take the mark away."""
        self._people.set_verified(peer, verified)
        return {}

    def trust_key(self, *, peer: str, fingerprint: str) -> Answer:
        """Decide between the pinned key of a contact, and the one that the rendezvous gives now."""
        contact = self._people.find(peer)
        if contact is None or contact.other_key is None:
            raise UsageError("bad_request", f"There is no other key of {peer} to decide about.")
        if fingerprint == fingerprint_of(contact.key):
            self._people.keep_key(contact.name)
            return {}
        self._people.replace_key(contact.name, fingerprint)
        card = card_of(contact)
        self._core.disconnect_from(card, self._node.now())
        self._node.wake()
        return {}

    def key_text(self) -> str:
        """Return what the QR code of this person says."""
        return self._view.key_text()

    # --- asking and offering ---

    def ask_quote(self, *, peer: str, wish: str | None = None, lifetime: int | None = None) -> Answer:
        """Ask a contact for a quote."""
        return self._ask_contact(Kind.QUOTE, peer, wish, lifetime, None)

    def ask_image(self, *, peer: str, wish: str | None = None, lifetime: int | None = None) -> Answer:
        """Ask a contact for a picture."""
        return self._ask_contact(Kind.IMAGE, peer, wish, lifetime, None)

    def offer_quote(
        self, *, peer: str, item: str | None = None, text: str | None = None, author: str | None = None
    ) -> Answer:
        """Offer a contact a quote: one of the collection, or a text typed on the spot."""
        if (item is None) == (text is None):
            raise UsageError("bad_request", "Offer either an item of your collection, or a text.")
        if text is not None:
            quote = checked_quote(text, author or self._core.name or "", None)
            value: dict[str, object] = {"text": quote.text, "author": quote.author}
        else:
            value = self._gifts.quote_of(item)
        return self._ask_contact(Kind.QUOTE, peer, None, None, ("quote", value))

    def offer_image(self, *, peer: str, item: str, keep_metadata: bool | None = None) -> Answer:
        """Offer a contact a picture of the collection, without its metadata unless that is to be kept."""
        self._gifts.check_image(item)
        return self._ask_contact(Kind.IMAGE, peer, None, None, ("image", item, bool(keep_metadata)))

    def answer(
        self,
        *,
        request: str,
        accept: bool,
        item: str | None = None,
        reply: str | None = None,
        keep_metadata: bool | None = None,
    ) -> Answer:
        """Say yes or no to what someone asked; a picture leaves without its metadata unless that is to be kept."""
        entry = self._get(request)
        if reply not in REPLIES:
            raise UsageError("bad_request", "reply is not_now or never.")
        if entry["direction"] == "out":
            raise UsageError("bad_request", "This is your own request: the other side answers it.")
        id = bytes.fromhex(request)
        gift = None
        if accept and entry["kind"] != "connection" and entry["verb"] == "ask":
            gift, value = self._gifts.pick(request, entry["kind"], item, bool(keep_metadata))
            self._entries.note(request, **value)
        asked = self._core.find(id)
        try:
            self._core.answer(id, accept, gift, REPLIES[reply], self._node.now())
        except UsageError:
            if gift is not None:
                self._gifts.let_go(request)
            raise
        if not accept and reply == "never" and asked is not None:
            self._history.set_setting(never(asked.peer.key), True)
        self._node.wake()
        return {}

    def cancel(self, *, request: str) -> Answer:
        """Take back a request, or stop a transfer."""
        self._get(request)
        self._core.cancel(bytes.fromhex(request), self._node.now())
        self._node.wake()
        return {}

    # --- what there is ---

    def get_timeline(self, *, peer: str | None = None, before: int | None = None, limit: int | None = None) -> Answer:
        """Return what happened, newest first."""
        if before is not None and not 0 <= before < 2**62:
            raise UsageError("bad_request", "before is what the last page called next.")
        entries, following = self._history.timeline(peer, before, 50 if limit is None else limit)
        return {"entries": entries} | ({"next": following} if following is not None else {})

    # --- inside ---

    def _restored(self, entry: dict[str, Any]) -> bool:
        contact = self._people.find(entry["peer"])
        if contact is None or not contact.connected:
            return False
        card = card_of(contact)
        made_here = entry["direction"] == "out"
        try:
            if made_here == (entry["verb"] == "ask"):
                self._pictures.restore(entry, card)
                return True
            gift = self._gifts.again(entry)
        except (UsageError, KeyError):
            return False
        id, now = bytes.fromhex(entry["request"]), self._node.now()
        self._core.restore_image(id, Verb(entry["verb"]), card, made_here, gift.image, gift, now)
        return True

    def _need_name(self) -> None:
        if self._core.name is None:
            raise UsageError("not_signed_up", "Sign up first: choose a name that others will see.")

    def _get(self, request: str) -> dict[str, Any]:
        entry = self._entries.open(request)
        if entry is not None:
            return entry
        if (known := self._entries.find(request)) is not None:
            raise UsageError("already_final", f"This request has ended: {known['phase']}.")
        raise UsageError("unknown_request", "There is no such request.")

    def _ask_contact(
        self, kind: Kind, peer: str, wish: str | None, lifetime: int | None, offer: tuple[Any, ...] | None
    ) -> Answer:
        self._need_name()
        wish, lifetime = _checked(wish, lifetime)
        contact = self._people.contact(peer)
        card = card_of(contact)
        why_not = self._approach(card, *self._people.reach(contact))
        return self._ask(kind, card, why_not, wish, lifetime, offer)

    def _approach(self, card: Card, gone: str, addresses: list[Address]) -> str:
        """Prepare for asking somebody, whom the relay reaches, or an address; return why that is in vain, if it is.
        `gone` is what is known against it.
        """
        if self._core.in_session(card.key):
            return ""
        if gone:
            return gone
        self._core.meet(card.key, addresses)
        if addresses:
            self._reach.approach_later(card.name, card.key)
            return ""
        try:
            self._reach.approach(card.name, card.key)
        except UsageError as error:
            return error.message
        return ""

    def _ask(
        self, kind: Kind, card: Card, why_not: str, wish: str, lifetime: int, offer: tuple[Any, ...] | None
    ) -> Answer:
        id = secrets.token_bytes(16)
        request, verb = id.hex(), "ask" if offer is None else "offer"
        if why_not:
            self._entries.add(
                request, kind.value, verb, "out", card.name, wish, lifetime, phase="unreachable", reason=why_not
            )
            return {"request": request}
        gift, value = self._gifts.offered(request, *offer) if offer is not None else (None, {})
        try:
            self._core.ask(id, kind, card, lifetime, wish, self._node.now(), gift)
        except UsageError:
            self._gifts.let_go(request)
            raise
        self._node.wake()
        if value:
            self._entries.change(request, **value)
        return {"request": request}


def _checked(wish: str | None, lifetime: int | None) -> tuple[str, int]:
    wish = (wish or "").strip()
    if len(wish) > MAX_WISH:
        raise UsageError("bad_request", f"A wish has at most {MAX_WISH} characters.")
    if any(not char.isprintable() for char in wish):
        raise UsageError("bad_request", "A wish is one line, without control characters.")
    lifetime = DEFAULT_LIFETIME if lifetime is None else lifetime
    if not SHORTEST <= lifetime <= LONGEST:
        raise UsageError("bad_request", f"The time to answer is between {SHORTEST} and {LONGEST} seconds.")
    return wish, lifetime
