"""Who there is: the directory's word, the keys that are pinned here, and where someone can be reached.

Used by `exchange` and `happenings`. A contact is someone this person has connected with; their key decides who they
are, whatever the directory says later. Where it says another key, nothing is asked of them until the person decides.
Only the directory brings that about: a stranger under a contact's name is refused, and could otherwise cut them off.
"""

import contextlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agent.directory import Directory
from agent.doctor import There
from agent.forecast import Reach
from agent.history import Contact, History
from agent.ledger import Evidence, Ledger
from agent.neighbours import Neighbours
from agent.person import Person
from agent.protocol.card import Card
from agent.protocol.errors import UsageError
from agent.protocol.packet import Address
from agent.protocol.ranking import relayed
from agent.words import written
from rendezvous.contract.names import skeleton
from rendezvous.contract.presence import LOOK_SIZE, looker
from rendezvous.contract.statement import read_statement

Publish = Callable[[str, object], None]
Say = Callable[[bytes, bytes], None]
"""Tells a peer in session (by its key) what the rendezvous has stated about them."""


class People:
    """The directory and the contacts, as one."""

    def __init__(
        self,
        directory: Directory,
        neighbours: Neighbours,
        history: History,
        ledger: Ledger,
        publish: Publish,
        say: Say,
        on_evidence: Callable[[Evidence], None],
        beside: Callable[[There], dict[str, Any]] = lambda _: {},
    ) -> None:
        """Begin; `beside` tells of the way to somebody, for what the page sees of them."""
        self._directory, self._neighbours = directory, neighbours
        self._history = history
        self._ledger = ledger
        self._publish = publish
        self._say = say
        self._on_evidence = on_evidence
        self._beside = beside
        self._asked: dict[str, bytes] = {}  # strangers asked since the start, who must find us
        self._told: set[bytes] = set()  # peers who have told what is stated about us
        self._seen: dict[str, Person] = {}  # the directory's last word on contacts

    # --- looking ---

    def contacts(self) -> list[dict[str, Any]]:
        """Return the contacts as the page sees them."""
        return [self._of_contact(contact) for contact in self._history.contacts()]

    def listed(self, query: str, after: str | None, without: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """Return a page of the directory, or of the LAN's people, without ourselves."""
        people, following = self._neighbours.list_people(query, after)
        shown = [person for person in people if person.name != without and not self._pretends(person)]
        return [self._of_person(person) for person in shown], following

    def get(self, name: str) -> dict[str, Any]:
        """Return what is known of one person; UsageError `unknown_person`, `rendezvous_down`."""
        return self._of_person(self._found(name))

    def look_up(self, name: str, key: bytes | None = None) -> Person:
        """Ask the directory, and the LAN (for the one of this key) where it is away.

        UsageError `unknown_person`, `rendezvous_down`, and `key_changed` for a contact.
        """
        person = self._found(name, key)
        contact = self._note(person)
        if person.unchecked and contact is not None and contact.other_key is not None:
            self._history.check_pin(contact.name, contact.other_key)
        if person.key is not None:
            self._history.check_pin(person.name, person.key)
        return person

    def contact(self, name: str) -> Contact:
        """Return a contact that is connected; UsageError `not_connected`."""
        contact = self._history.contact(name)
        if contact is None or not contact.connected:
            raise UsageError("not_connected", f"You and {name} are not connected: ask to connect first.")
        return contact

    def find(self, name: str) -> Contact | None:
        """Return someone this person has connected with, still so or not."""
        return self._history.contact(name)

    def by_key(self, key: bytes) -> Contact | None:
        """Return the contact of a key."""
        return next((contact for contact in self._history.contacts() if contact.key == key), None)

    def there(self, name: str) -> There:
        """Return what the connection doctor is to know of somebody; UsageError as `look_up`, but for a contact."""
        contact = self._history.contact(name)
        if contact is None:
            person = self._found(name)
            return self._there(person.name, person.key, person, stranger=True)
        if contact.name not in self._seen:
            with contextlib.suppress(UsageError):
                self.look_up(contact.name)
        return self._there(contact.name, contact.key, self._seen.get(contact.name))

    def reach(self, contact: Contact) -> tuple[str, list[Address]]:
        """Return why a contact is out of reach, as far as is known (empty: they are not), and where they were reached
        without a relay before.

        While the directory is away, whoever was reached before may still be, and it is not waited for. UsageError
        `key_changed` where a decision about their key is due.
        """
        gone = f"{contact.name} is not online."
        addresses = list(dict.fromkeys((*self._neighbours.addresses(contact.key), *contact.addresses)))
        try:
            if contact.addresses and self._neighbours.away():
                raise UsageError("rendezvous_down", "")
            person = self.look_up(contact.name)
        except UsageError as error:
            if error.code not in ("rendezvous_down", "unknown_person"):
                raise
            if contact.other_key is not None:
                self._history.check_pin(contact.name, contact.other_key)
            if addresses:
                return "", addresses
            nowhere = f"{error.message} Where {contact.name} was before is not known."
            return gone if error.code == "unknown_person" else nowhere, []
        if person.direct and person.host and person.port and (person.host, person.port) not in addresses:
            addresses.append((person.host, person.port))
        return "" if person.online else gone, addresses

    def nearby(self, key: bytes | None) -> list[Address]:
        """Return where in the local network somebody announces themselves."""
        return self._neighbours.addresses(key)

    # --- learning ---

    def way_changed(self, key: bytes) -> None:
        """Tell that the way to somebody is another one now, if it is a contact."""
        contact = self.by_key(key)
        if contact is not None:
            self._tell(contact.name)

    def connected(self, card: Card) -> None:
        """Pin someone who is connected from now on; UsageError `key_changed`."""
        self._history.pin(card.name, card.key, card.box_key, card.box_signature, time.time())
        if self._history.setting(invited(card.key)):
            self._history.set_verified(card.name, True)
        self._tell(card.name)
        self.watch()

    def disconnected(self, name: str) -> None:
        """Note that someone is not connected any more; the pin stays."""
        self._history.set_connected(name, False)
        self._tell(name)

    def session_opened(self, card: Card, address: Address, counter: int | None) -> None:
        """Note where and when a contact was there, and which handshake it was; tell them what is stated about them."""
        self._told.discard(card.key)
        contact = self.by_key(card.key)
        if contact is not None:
            self._history.seen(contact.name, time.time())
            self.reached(card, address)
            if counter is not None:
                self._history.take_handshake_counter(contact.name, counter)
        server = self._ledger.server(self._directory.url)
        statement = None if server is None else self._ledger.newest(server, contact.name if contact else card.name)
        if statement is not None:
            self._say(card.key, json.dumps(statement.as_json(), ensure_ascii=False, separators=(",", ":")).encode())

    def reached(self, card: Card, address: Address) -> None:
        """Note where a contact was reached; a binding at a relay is no place."""
        contact = self.by_key(card.key)
        if contact is not None and not relayed(address):
            self._history.reached(contact.name, address)

    def statement_told(self, card: Card, statement: bytes) -> None:
        """Compare what a peer was told about us with what we were told; once in a session."""
        if card.key in self._told:
            return
        self._told.add(card.key)
        with contextlib.suppress(ValueError, RecursionError):
            told = read_statement(json.loads(statement))
            if told.server == self._ledger.server(self._directory.url):
                evidence = self._ledger.note(told, card.name)
                if evidence is not None:
                    self._on_evidence(evidence)

    def presence(self, person: Person) -> None:
        """Take the directory's news of someone who is watched."""
        if self._note(person) is not None:
            self._tell(person.name)

    def watch(self) -> None:
        """Ask the directory for news of all contacts, and let it know who may find us."""
        self._directory.watch([contact.name for contact in self._history.contacts()])
        self.allow()

    # --- being found ---

    def allow(self, seconds: float = 0.0) -> None:
        """Let those find us who must: whom we ask, who was invited, and contacts unless we are hidden."""
        lookers = [*self._asked.values(), looker(self.look_secret())]
        if self._history.setting("visibility") == "contacts":
            lookers += [looker(contact.key) for contact in self._history.contacts() if contact.connected]
        self._directory.allow(lookers, seconds)

    def ask(self, name: str) -> None:
        """Prepare for asking somebody: they are to find us, as they will look who asks. UsageError as `look_up`, and
        `key_changed` where the rendezvous has contradicted itself and cannot say who is who.
        """
        contact = self._history.contact(name)
        if contact is None and self._ledger.evidence(self._ledger.server(self._directory.url)):
            raise UsageError(
                "key_changed", "The rendezvous has contradicted itself: nobody new is asked until you decide to go on."
            )
        if self._history.setting("visibility", "listed") != "listed":
            person = self.look_up(name)
            if person.key is not None:
                self._asked[person.name] = looker(person.key)
                self.allow(seconds=2.0)

    def look_secret(self) -> bytes:
        """Return the secret by which whoever we invite can find us."""
        secret = self._history.setting("look")
        if secret is None:
            secret = secrets.token_hex(LOOK_SIZE)
            self._history.set_setting("look", secret)
        return bytes.fromhex(secret)

    def invited(self, name: str, expected: str, look: bytes) -> dict[str, Any]:
        """Find somebody who sent an invitation; UsageError `key_changed` where the rendezvous gives them another key
        than the invitation names, else they count as compared.
        """
        person = self._directory.get_person(name, look)
        self._note(person)
        if person.key is None or person.fingerprint != expected:
            raise UsageError(
                "key_changed",
                f"This may be somebody else: the rendezvous gives {person.name} another key than the invitation names. "
                f"Do not connect; ask {person.name} in another way for a new link.",
            )
        self._history.check_pin(person.name, person.key)
        self._history.set_setting(invited(person.key), True)
        if look:
            self._history.set_setting(f"look {person.name}", look.hex())
        if self._history.contact(person.name) is not None:
            self.set_verified(person.name, True)
        return self._of_person(person)

    def secret(self, name: str) -> bytes:
        """Return the secret of the invitation that came from somebody; empty where none did."""
        return bytes.fromhex(self._history.setting(f"look {name}", ""))

    # --- deciding about keys ---

    def set_verified(self, name: str, verified: bool) -> None:
        """Note that the key of a contact was compared, or that it counts as not compared."""
        contact = self._pinned(name)
        if verified and contact.other_key is not None:
            self._history.check_pin(name, contact.other_key)
        self._history.set_verified(name, verified)
        self._tell(name)

    def keep_key(self, name: str) -> None:
        """Stay with the pinned key of a contact, whatever the directory says."""
        self._history.refuse_other_key(name)
        self._tell(name)

    def replace_key(self, name: str, chosen: str) -> None:
        """Pin a contact to the key that the directory gives now, if that has the fingerprint that was chosen.

        They are not connected then. UsageError `key_changed` for any other key, `unknown_person`, `rendezvous_down`.
        """
        person = self._directory.get_person(name)
        contact = self._note(person)
        if contact is None or contact.other_key is None or person.fingerprint != chosen:
            raise UsageError("key_changed", f"This is not the key that the rendezvous gives for {name}: look again.")
        if person.key is None or person.box_key is None or person.box_signature is None:
            raise UsageError("unreachable", f"{name} has signed up without a key: nobody can reach them safely.")
        self._history.replace_pin(name, person.key, person.box_key, person.box_signature)
        self._tell(name)

    # --- inside ---

    def _found(self, name: str, key: bytes | None = None) -> Person:
        contact = self._history.contact(name)
        wanted = contact.key if key is None and contact is not None else key
        person = self._neighbours.get_person(name, self.secret(name), wanted)
        if self._pretends(person):
            message = f"Somebody in the local network calls themselves {name}, with another key than your contact's."
            raise UsageError("key_changed", message)
        return person

    def _pretends(self, person: Person) -> bool:
        """Tell whether somebody for whom no rendezvous vouches has the name of a contact, and is not that contact."""
        if not person.unchecked:
            return False
        like = skeleton(person.name)
        return any(one.key != person.key and skeleton(one.name) == like for one in self._history.contacts())

    def _pinned(self, name: str) -> Contact:
        contact = self._history.contact(name)
        if contact is None:
            raise UsageError("not_connected", f"Connect with {name} first: only then is there a key to compare.")
        return contact

    def _note(self, person: Person) -> Contact | None:
        """Take the directory's word on a contact; None for anybody else."""
        contact = self._history.contact(person.name)
        if contact is None or person.unchecked:
            return contact
        before = self._seen.get(person.name)
        if person.box_key is None and before is not None:  # a page of the list says nothing of networks
            person = replace(person, reach=before.reach, same_network=before.same_network)
        self._seen[person.name] = person
        other = None if person.key == contact.key else person.key
        if other == contact.other_key or person.key is None:
            return contact
        self._history.note_other_key(person.name, other)
        self._tell(person.name)
        if other is not None:
            message = f"{person.name} has another key than the one you connected with. Your conversation says more."
            self._publish("notice", {"level": "error", "code": "key_changed", "message": message})
        return self._history.contact(person.name)

    def _there(self, name: str, key: bytes | None, seen: Person | None, stranger: bool = False) -> There:
        lan = bool(self.nearby(key))
        if seen is None:
            return There(name, key, lan, same_network=lan)
        online, near, reach = lan or seen.online, lan or seen.same_network, Reach.read(seen.reach or {})
        return There(name, key, online, reach, near, seen.direct, stranger=stranger and not lan)

    def _tell(self, name: str) -> None:
        contact = self._history.contact(name)
        if contact is not None:
            self._publish("people", [self._of_contact(contact)])

    def _of_contact(self, contact: Contact) -> dict[str, Any]:
        seen, lan = self._seen.get(contact.name), bool(self.nearby(contact.key))
        value = {
            "name": contact.name,
            **written(contact.key),
            "online": lan or (seen is not None and seen.online),
            "connected": contact.connected,
            "verified": contact.verified,
            "key_changed": contact.other_key is not None,
            **self._beside(self._there(contact.name, contact.key, seen)),
        }
        if lan:
            value["lan"] = True
        if contact.other_key is not None:
            value |= {f"new_{form}": text for form, text in written(contact.other_key).items()}
            value["key_kept"] = contact.other_refused
        times = [time for time in (contact.last_seen, seen.last_seen if seen else None) if time]
        return value | ({"last_seen": max(times)} if times else {})

    def _of_person(self, person: Person) -> dict[str, Any]:
        contact = self._note(person)
        if contact is not None:
            return self._of_contact(contact)
        value = {
            "name": person.name,
            **(written(person.key) if person.key is not None else {"fingerprint": None}),
            "online": person.online,
            "connected": False,
            "verified": person.key is not None and bool(self._history.setting(invited(person.key))),
            "key_changed": False,
        }
        value |= {field: True for field in ("lan", "unchecked") if getattr(person, field)}
        if person.box_key is not None:
            value |= self._beside(self._there(person.name, person.key, person, stranger=True))
        return value | ({"last_seen": person.last_seen} if person.last_seen else {})


def invited(key: bytes) -> str:
    """Name the setting that says that somebody's invitation named this key."""
    return f"invited {key.hex()}"


def card_of(contact: Contact) -> Card:
    """Return what the core knows a contact by."""
    return Card(contact.name, contact.key, contact.box_key, contact.box_signature)
