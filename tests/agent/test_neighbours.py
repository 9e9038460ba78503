"""People in the same local network, when the rendezvous is away: found, marked as unchecked, and nobody's impostors."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from agent.history import History
from agent.identity import Identity, load_or_make_identity
from agent.ledger import Ledger
from agent.nearby.lines import Gone, LanPerson, Wish
from agent.neighbours import Neighbours
from agent.people import People
from agent.person import Person
from agent.protocol.errors import UsageError
from agent.settings import Settings, parse_settings

HERE = ("192.168.1.5", 4000)
KEY, OTHER, BOX, SIGNATURE = b"k" * 32, b"o" * 32, b"b" * 32, b"s" * 64


@dataclass
class World:
    """A directory that may be away, and who hears of what; `core` stands for the peer protocol."""

    url: str = "http://10.0.0.1:8000"
    down: bool = True
    noticed: bool = False
    known: dict[str, Person] = field(default_factory=dict)
    name: str | None = "alice"
    neighbours: set[bytes] = field(default_factory=set)
    heard: list[tuple[bytes, bool]] = field(default_factory=list)
    events: list[tuple[str, Any]] = field(default_factory=list)

    def get_person(self, name: str, look: bytes = b"") -> Person:
        self._check()
        if name not in self.known:
            raise UsageError("unknown_person", "Nobody has that name here.")
        return self.known[name]

    def list_people(self, query: str, after: str | None) -> tuple[list[Person], None]:
        self._check()
        return list(self.known.values()), None

    def _check(self) -> None:
        if self.down:
            raise UsageError("rendezvous_down", "The rendezvous does not answer.")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return load_or_make_identity(tmp_path_factory.mktemp("identity"))


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "history.db")
    yield history
    history.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "directory.db")
    yield ledger
    ledger.close()


@pytest.fixture
def lan(world: World, history: History, identity: Identity) -> Neighbours:
    def heard(key: bytes, here: bool) -> None:
        world.heard.append((key, here))

    return Neighbours(world, world, history, identity, Settings(), 4001, lambda: world.noticed, lambda _: None, heard)  # type: ignore[arg-type]


@pytest.fixture
def people(world: World, lan: Neighbours, history: History, ledger: Ledger) -> People:
    def publish(event: str, value: object) -> None:
        world.events.append((event, value))

    return People(world, lan, history, ledger, publish, lambda *_: None, lambda _: None)  # type: ignore[arg-type]


def comes(lan: Neighbours, name: str, key: bytes = KEY) -> None:
    """Have somebody announced in the local network."""
    lan.neighbourhood.take(LanPerson(name, key, BOX, SIGNATURE, (HERE[0],), HERE[1]))


def code_of(call: Any, *arguments: Any) -> str:
    """Return why a call is refused."""
    with pytest.raises(UsageError) as refused:
        call(*arguments)
    assert refused.value.message.endswith(".")
    return refused.value.code


@pytest.mark.parametrize("noticed", [False, True])
def test_without_a_rendezvous_whoever_is_in_the_lan_is_listed_and_found(
    people: People, lan: Neighbours, world: World, noticed: bool
) -> None:
    world.noticed = noticed
    assert code_of(people.listed, "", None, "alice") == "rendezvous_down"
    comes(lan, "bob")
    comes(lan, "alice", OTHER)
    shown, following = people.listed("", None, "alice")
    assert [(one["name"], one["online"], one["lan"], one["unchecked"]) for one in shown] == [("bob", True, True, True)]
    assert following is None
    assert people.listed("B", None, "alice")[0] == shown
    found = people.look_up("bob")
    assert (found.key, found.box_key, found.unchecked) == (KEY, BOX, True)
    assert people.nearby(KEY) == [HERE]
    assert code_of(people.look_up, "carol") == "rendezvous_down"


def test_a_rendezvous_that_is_there_has_the_only_word(people: People, lan: Neighbours, world: World) -> None:
    world.down = False
    comes(lan, "bob")
    assert code_of(people.look_up, "bob") == "unknown_person"
    assert people.listed("", None, None) == ([], None)
    world.known["bob"] = Person("bob", KEY, BOX, SIGNATURE, online=False, host=None, port=None, last_seen=None)
    assert people.get("bob")["lan"] is people.get("bob")["online"] is True
    assert "unchecked" not in people.get("bob")
    world.known["bob"] = Person("bob", OTHER, BOX, SIGNATURE, online=False, host=None, port=None, last_seen=None)
    assert "lan" not in people.get("bob")


def test_a_contact_in_the_lan_is_reached_there(people: People, lan: Neighbours, history: History, world: World) -> None:
    history.pin("bob", KEY, BOX, SIGNATURE, 5.0)
    contact = people.contact("bob")
    assert people.reach(contact)[0]
    comes(lan, "bob")
    assert people.reach(contact) == ("", [HERE])
    assert people.contacts()[0]["online"]
    assert "unchecked" not in people.contacts()[0]
    assert world.heard == [(KEY, True)]
    assert world.neighbours == {KEY}
    lan.neighbourhood.take(Gone("bob", KEY))
    assert people.reach(contact)[0]
    assert not people.contacts()[0]["online"]
    assert (world.heard[-1], world.neighbours) == ((KEY, False), set())


@pytest.mark.parametrize("name", ["bob", "Bob", "BOB"])
def test_nobody_in_the_lan_passes_for_a_contact(people: People, lan: Neighbours, history: History, name: str) -> None:
    history.pin("bob", KEY, BOX, SIGNATURE, 5.0)
    comes(lan, name, OTHER)
    assert people.listed("", None, None)[0] == []
    assert code_of(people.look_up, name) == "key_changed"
    assert not people.contacts()[0]["key_changed"]  # only the directory can stop a contact
    comes(lan, "bob")
    assert people.look_up("bob").key == KEY


def test_two_in_the_lan_with_one_name_are_asked_only_by_key(people: People, lan: Neighbours) -> None:
    comes(lan, "bob")
    comes(lan, "bob", OTHER)
    assert code_of(people.look_up, "bob") == "unreachable"
    assert people.look_up("bob", OTHER).key == OTHER


def test_a_contact_whose_key_is_disputed_stays_stopped(people: People, lan: Neighbours, history: History) -> None:
    history.pin("bob", KEY, BOX, SIGNATURE, 5.0)
    history.note_other_key("bob", OTHER)
    comes(lan, "bob")
    assert code_of(people.look_up, "bob") == "key_changed"
    assert code_of(people.reach, people.contact("bob")) == "key_changed"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"])
def test_nobody_is_spoken_with_where_the_rendezvous_is_on_this_machine(lan: Neighbours, world: World, url: str) -> None:
    world.url = url
    lan.refresh()
    assert lan.neighbourhood.wish is None


def test_nobody_is_spoken_with_before_there_is_a_name(lan: Neighbours, world: World) -> None:
    world.name = None
    lan.refresh()
    assert lan.neighbourhood.wish is None


def test_the_lan_hears_of_who_is_listed_and_wants_it_alone(
    world: World, history: History, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out = parse_settings(["--no-candidates", "10.9.0.0/16"], {})
    for settings, visibility, mapping, announced in (
        (left_out, "listed", True, True),
        (left_out, "contacts", True, False),
        (replace(left_out, lan=False), "listed", True, False),
        (replace(left_out, lan=False, port_mapping=False), "listed", False, False),
    ):
        history.set_setting("visibility", visibility)
        lan = Neighbours(world, world, history, identity, settings, 4001, *[print] * 3)  # type: ignore[arg-type]
        wishes: list[Wish] = []
        monkeypatch.setattr(lan.neighbourhood, "start", wishes.append)
        lan.refresh()
        (wish,) = wishes
        assert (wish.mapping, wish.card is not None, wish.without) == (mapping, announced, ("10.9.0.0/16",))
        assert wish.empty == (not mapping and not announced)
