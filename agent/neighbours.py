"""Who is in the same local network, for when the rendezvous is away; and when the neighbourhood is spoken with at all.

Stands between `people` and the directory: the rendezvous' word comes first, and where it cannot be had, what the LAN
announces is taken in its place and marked as unchecked: nobody vouches for the name, only the keys fit together. Made
by the composition root; `member` tells it when the person has signed up.

Somebody who announces themselves has chosen to be reached directly there; we hear of them only while we do the same.
"""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from agent.directory import Directory
from agent.history import History
from agent.neighbourhood import LanPerson, Neighbourhood, Wish
from agent.person import Person
from agent.protocol.card import LocalIdentity, own_card
from agent.protocol.endpoint import Endpoint
from agent.protocol.errors import UsageError
from agent.protocol.packet import Address
from agent.settings import Settings
from rendezvous.contract.names import fold, skeleton


class Neighbours:
    """The LAN's people. `refresh` whenever name, visibility or rendezvous have changed.

    `on_mapped` hears at which addresses in the world routers have opened our port, `on_neighbour` whose key has come
    into the LAN or left it. `away` tells whether the rendezvous is known to be.
    """

    def __init__(
        self,
        directory: Directory,
        core: Endpoint,
        history: History,
        identity: LocalIdentity,
        settings: Settings,
        port: int,
        away: Callable[[], bool],
        on_mapped: Callable[[list[Address]], None],
        on_neighbour: Callable[[bytes, bool], None],
    ) -> None:
        self._directory, self._core, self._history = directory, core, history
        self._identity, self._settings, self._port = identity, settings, port
        self._on_mapped, self._on_neighbour = on_mapped, on_neighbour
        self.away, self._stopping = away, False
        self.neighbourhood = Neighbourhood(self._mapped, self._came, self._left)

    def refresh(self) -> None:
        """Do what is wished now: nothing before this person has a name, or where the rendezvous is on this machine."""
        name = self._core.name
        if name is None or _is_here(self._directory.url):
            self.neighbourhood.stop()
            return
        shown = self._settings.lan and self._history.setting("visibility", "listed") == "listed"
        without = tuple(str(network) for network in self._settings.no_candidates)
        card = own_card(self._identity, name) if shown else None
        self.neighbourhood.start(Wish(self._port, self._settings.port_mapping, card, without))

    def stop(self) -> None:
        """Do nothing any more, and tell nobody: the agent ends."""
        self._stopping = True
        self.neighbourhood.stop()

    # --- who there is ---

    def get_person(self, name: str, look: bytes = b"", key: bytes | None = None) -> Person:
        """Return what the rendezvous says of somebody, or the LAN where it is away: the one of this key, if given.

        UsageError as `Directory.get_person`; `unreachable` where several people in the LAN have this name.
        """
        if self.away() and (found := self._named(name, key)) is not None:
            return found  # instead of waiting in vain first
        try:
            return self._with_lan(self._directory.get_person(name, look))
        except UsageError as error:
            if error.code != "rendezvous_down" or (found := self._named(name, key)) is None:
                raise
            return found

    def list_people(self, query: str, after: str | None) -> tuple[list[Person], str | None]:
        """Return a page of the directory; where it is away and the LAN has somebody, those."""
        here = [_unchecked(one) for one in self.neighbourhood.people() if fold(one.name).startswith(fold(query))]
        here.sort(key=lambda person: fold(person.name))
        if here and self.away():
            return here, None
        try:
            people, following = self._directory.list_people(query, after)
        except UsageError as error:
            if error.code != "rendezvous_down" or not here:
                raise
            return here, None
        return [self._with_lan(person) for person in people], following

    def addresses(self, key: bytes | None) -> list[Address]:
        """Return where in the LAN somebody of this key is."""
        return [(host, one.port) for one in self.neighbourhood.people() if one.key == key for host in one.addresses]

    # --- inside ---

    def _named(self, name: str, key: bytes | None) -> Person | None:
        """Return whom the LAN has of this name: the one of this key, where there is one."""
        named = [one for one in self.neighbourhood.people() if skeleton(one.name) == skeleton(name)]
        found = [one for one in named if one.key == key] or named
        if len(found) > 1:
            message = f"Several people in the local network call themselves {name}: none of them is asked."
            raise UsageError("unreachable", message)
        return _unchecked(found[0]) if found else None

    def _with_lan(self, person: Person) -> Person:
        if not self.addresses(person.key):
            return person
        return replace(person, lan=True, online=True)

    def _mapped(self, addresses: list[Address]) -> None:
        if not self._stopping:
            self._on_mapped(addresses)

    def _came(self, one: LanPerson) -> None:
        if not self._stopping:
            self._core.neighbours.add(one.key)
            self._on_neighbour(one.key, True)

    def _left(self, _: str, key: bytes) -> None:
        if not self._stopping and not self.addresses(key):
            self._core.neighbours.discard(key)
            self._on_neighbour(key, False)


def _unchecked(one: LanPerson) -> Person:
    keys = (one.name, one.key, one.box_key, one.box_signature)
    return Person(*keys, online=True, host=None, port=None, last_seen=None, lan=True, unchecked=True)


def _is_here(url: str) -> bool:
    """Tell whether a rendezvous is on this machine: then whoever is there is found without asking the LAN."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
