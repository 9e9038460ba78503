"""The composition root: the only file that knows everybody. Used by the entry point alone."""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.datafolder import DataFolder
from agent.directory import Directory
from agent.doctor import Doctor, Here
from agent.entries import Entries
from agent.gifts import Gifts
from agent.happenings import Happenings
from agent.history import History, never
from agent.identity import Identity
from agent.invite import read_invite
from agent.ledger import Ledger
from agent.library import Library
from agent.member import Member, open_later
from agent.neighbours import Neighbours
from agent.node import Node
from agent.people import People
from agent.person import Person
from agent.pictures import Pictures
from agent.ports import PeerSockets
from agent.protocol.endpoint import Endpoint
from agent.protocol.errors import UsageError
from agent.protocol.front import Front
from agent.reach import Reachability
from agent.settings import Settings
from agent.text_link import TextLink
from agent.view import StateView

Publish = Callable[[str, object], None]

_GOODBYE_SECONDS: Final = 1.0
"""At most, for the neighbours to hear that we leave and for routers to close our port."""

_log = logging.getLogger("agent")


@dataclass(slots=True)
class Agent:
    """Everything that runs, put together but for the page."""

    exchange: Member
    _settings: Settings
    _history: History
    _ledger: Ledger
    _library: Library
    _directory: Directory
    _node: Node
    _text_link: TextLink
    _pictures: Pictures
    _view: StateView
    _reach: Reachability
    _neighbours: Neighbours
    _stopping: bool = False

    def start(self) -> None:
        """Begin to work; nothing here waits for the rendezvous."""
        self._text_link.start()
        self._node.start()
        self._directory.start()
        name = self._settings.name or self._history.setting("name")
        if name:
            threading.Thread(target=self._sign_up, args=(name,), daemon=True).start()
        threading.Thread(target=self._fill_library, daemon=True).start()

    def stop(self) -> None:
        """Say goodbye to peers and rendezvous, and close the files."""
        self._stopping = True
        self._neighbours.stop()
        self._pictures.stop()
        self._node.stop()
        self._reach.stop()
        self._text_link.stop()
        self._directory.stop()
        self._library.close()
        self._history.close()
        self._ledger.close()
        self._neighbours.neighbourhood.wait(_GOODBYE_SECONDS)

    def _sign_up(self, name: str) -> None:
        """Sign up by the name that was given, or used before; what the directory still has to try, it tries alone."""
        try:
            self.exchange.sign_up(name=name, code=self._settings.signup_code)
        except UsageError as error:
            _log.warning("%s", error.message)
            if error.code == "rendezvous_down" and self._history.setting("name"):
                self.exchange.go_on()

    def _fill_library(self) -> None:
        try:
            self._library.ensure_starter(lambda _: self._view.publish())
        except UsageError as error:
            if not self._stopping:
                _log.warning("The starter collection is not complete: %s", error.message)


def build(settings: Settings, folder: DataFolder, identity: Identity, sockets: PeerSockets, publish: Publish) -> Agent:
    """Put an agent together. `publish` tells all open pages an event of the local contract."""
    history = History(folder.path / "history.db")
    ledger = Ledger(folder.path / "directory.db")
    library = Library(folder.path / "library")
    entries = Entries(history, publish)
    contacts = history.contacts()
    core = Endpoint(
        identity,
        history.setting("name"),
        history.next_epoch(),
        os.urandom,
        [contact.key for contact in contacts if contact.connected],
        {contact.key: contact.handshake_counter for contact in contacts},
    )
    late: list[Callable[..., None]] = []  # who hears of the directory is made after it
    rendezvous = _rendezvous(settings, history)
    history.set_setting("met_at", rendezvous)
    directory = Directory(
        rendezvous,
        identity,
        ledger,
        next_seq=history.next_seq,
        on_presence=lambda person: late[0](person),
        on_status=lambda status, message: late[1](status, message),
        on_evidence=lambda evidence: late[2](evidence),
        on_ticket=lambda ticket: reach.handed(ticket),
        visibility=history.setting("visibility", "listed"),
        direct=settings.direct,
    )
    core.direct = settings.direct
    front = Front(core, os.urandom)
    reach = Reachability(
        core,
        front,
        directory,
        sockets.port,
        settings.no_candidates,
        secret=lambda name: people.secret(name),
        welcome=lambda key: not history.setting(never(key)),
        on_change=lambda: view.publish(),
    )
    doctor = Doctor(
        core,
        front.relays,
        lambda: Here(
            reach.reach,
            reach.candidates,
            reach.stun,
            view.is_up,
            reach.relay,
            sockets.port,
            neighbours.neighbourhood.notes,
            settings.direct,
        ),
        lambda: node.now(),
    )
    neighbours = Neighbours(
        directory,
        core,
        history,
        identity,
        settings,
        sockets.port,
        away=lambda: view.is_down,
        on_mapped=reach.mapped,
        on_neighbour=lambda key, here: late[3](key, here),
    )
    reach.on_network_changed = neighbours.neighbourhood.network_changed
    people = People(
        directory,
        neighbours,
        history,
        ledger,
        publish,
        say=lambda key, statement: core.tell_statement(key, statement, node.now()),
        on_evidence=lambda evidence: late[2](evidence),
        beside=doctor.beside,
    )
    values = {
        "rendezvous": rendezvous,
        "data": str(folder.path),
        "peer_port": sockets.port,
        "page_port": settings.page_port,
    }
    view = StateView(core, people, entries, library, history, ledger, identity.key, values, publish)
    gifts = Gifts(library)
    happenings = Happenings(core, people, entries, gifts, history, publish)
    node = Node(front, sockets.udp, happenings.on_event, elsewhere=reach.elsewhere)
    reach.attach(node)
    pictures = Pictures(core, node, library, entries, publish)
    text_link = TextLink(sockets.tcp, on_given=happenings.quote_given)
    happenings.attach(node, pictures, text_link, reach)
    exchange = Member(
        core,
        node,
        directory,
        people,
        entries,
        library,
        gifts,
        pictures,
        history,
        view,
        reach,
        sockets.port,
        settings.direct,
    )
    view.code_required = lambda: directory.code_required
    view.network = doctor.mine
    exchange.join(ledger, identity.key, settings.invite, doctor, neighbours)

    library.discard_unfinished(exchange.take_up())

    def on_presence(person: Person) -> None:
        people.presence(person)
        if person.online:
            threading.Thread(target=exchange.came_online, args=(person.name,), daemon=True).start()
        else:
            exchange.went_offline(person.name)

    def on_status(status: str, message: str) -> None:
        if directory.name is not None and core.name is None:
            exchange.signed_up(directory.name)
        view.rendezvous(status, message)
        if status == "up":
            open_later(exchange)
            reach.keep_floor((contact.name, contact.key) for contact in history.contacts() if contact.connected)

    def on_neighbour(key: bytes, here: bool) -> None:
        people.way_changed(key)
        contact = people.by_key(key)
        if here and contact is not None:
            threading.Thread(target=exchange.came_online, args=(contact.name,), daemon=True).start()

    late += [on_presence, on_status, view.found, on_neighbour]
    return Agent(
        exchange, settings, history, ledger, library, directory, node, text_link, pictures, view, reach, neighbours
    )


def _rendezvous(settings: Settings, history: History) -> str:
    """Return where people meet: as it was said; else as an invitation says, to somebody new; else as it was before."""
    if settings.rendezvous_given:
        return settings.rendezvous
    if settings.invite is not None and history.setting("name") is None:
        return read_invite(settings.invite).rendezvous
    return str(history.setting("rendezvous") or settings.rendezvous)
