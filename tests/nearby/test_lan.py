"""People in the same LAN: who announces themselves is found, who lies is not."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from ipaddress import ip_interface
from pathlib import Path

import pytest

from agent.identity import Identity, load_or_make_identity
from agent.nearby.lan import Lan, Link, instance, links, properties_of, read_person
from agent.nearby.lines import Gone, LanPerson, Said
from agent.protocol.card import Card, own_card
from tests.support.loops import in_loop

PATIENCE = 30.0
PORT = 23456


@pytest.fixture
def alice(tmp_path: Path) -> Identity:
    return load_or_make_identity(_folder(tmp_path / "alice"))


@pytest.fixture
def bob(tmp_path: Path) -> Identity:
    return load_or_make_identity(_folder(tmp_path / "bob"))


def _folder(path: Path) -> Path:
    path.mkdir(mode=0o700)
    return path


class Hearing:
    """What one agent's side of the LAN tells, about one other: other tests may be on this machine's loopback, too."""

    def __init__(self, about: Card) -> None:
        self._about = about
        self._said: asyncio.Queue[LanPerson | Gone] = asyncio.Queue()

    def tell(self, said: Said) -> None:
        """Take what is told."""
        if isinstance(said, LanPerson | Gone) and said.key == self._about.key:
            self._said.put_nowait(said)

    async def next(self) -> LanPerson | Gone:
        """Return what is told next."""
        async with asyncio.timeout(PATIENCE):
            return await self._said.get()


@contextlib.asynccontextmanager
async def announced(card: Card, port: int, about: Card) -> AsyncIterator[Hearing]:
    """Have somebody announced on this machine's loopback, and listening."""
    hearing = Hearing(about)
    task = asyncio.create_task(Lan(card, port, links(loopback=True), hearing.tell).run())
    yield hearing
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@in_loop
async def test_two_people_find_each_other_and_one_hears_that_the_other_leaves(alice: Identity, bob: Identity) -> None:
    hers, his = own_card(alice, "alice"), own_card(bob, "Zoë 2")
    async with announced(hers, PORT, his) as she_hears:
        async with announced(his, PORT + 1, hers) as he_hears:
            found = await she_hears.next()
            assert isinstance(found, LanPerson)
            assert Card(found.name, found.key, found.box_key, found.box_signature) == his
            assert (found.addresses[0], found.port) == ("127.0.0.1", PORT + 1)
            assert isinstance(await he_hears.next(), LanPerson)
        assert await she_hears.next() == Gone("Zoë 2", bob.key)


@in_loop
async def test_an_announcement_that_is_not_signed_is_passed_over(alice: Identity, bob: Identity) -> None:
    """Under bob's key there is first a card that somebody else has made up, and then his own."""
    hers, his = own_card(alice, "alice"), own_card(bob, "bob")
    forged = Card("mallory", his.key, his.box_key, his.box_signature)
    async with announced(hers, PORT, his) as she_hears:
        async with announced(forged, PORT + 1, hers) as mallory_hears:
            await mallory_hears.next()
        async with announced(his, PORT + 2, hers):
            found = await she_hears.next()
            assert isinstance(found, LanPerson)
            assert (found.name, found.port) == ("bob", PORT + 2)


def test_a_text_record_is_read_as_it_was_written(bob: Identity) -> None:
    card = own_card(bob, "bob")
    read = read_person(properties_of(card), ["127.0.0.1"], PORT)
    assert read == LanPerson("bob", card.key, card.box_key, card.box_signature, ("127.0.0.1",), PORT)
    assert all(len(name) + 1 + len(text) <= 255 for name, text in properties_of(card).items())


@pytest.mark.parametrize("field", [b"v", b"name", b"key", b"box_key", b"box_signature"])
@pytest.mark.parametrize("value", [None, b"", b"x", b"\xff" * 40, b"A" * 43, b"A" * 5000, "Ａlice".encode()])  # noqa: RUF001
def test_a_text_record_that_was_changed_is_nobody(bob: Identity, field: bytes, value: bytes | None) -> None:
    properties: dict[bytes, bytes | None] = {**properties_of(own_card(bob, "bob")), field: value}
    assert read_person(properties, ["127.0.0.1"], PORT) is None
    del properties[field]
    assert read_person(properties, ["127.0.0.1"], PORT) is None


def test_somebody_without_address_or_port_is_nobody(bob: Identity) -> None:
    properties = properties_of(own_card(bob, "bob"))
    assert read_person(properties, [], PORT) is None
    assert read_person(properties, ["127.0.0.1"], None) is None
    assert read_person(properties, ["127.0.0.1"], 0) is None


def test_only_neighbours_addresses_are_taken() -> None:
    link = Link("eth0", 2, (ip_interface("192.168.1.9/24"), ip_interface("fd00::9/64")))
    assert link.reaches("192.168.1.77")
    assert link.reaches("192.168.1.9")  # another agent on this machine
    assert link.reaches("fd00::77")
    assert not any(map(link.reaches, ("192.168.2.77", "8.8.8.8", "127.0.0.1", "192.168.1.255", "fd01::1", "::1")))


def test_what_is_left_out_is_no_link() -> None:
    ours = links()
    assert all(not one.ip.is_loopback for link in ours for one in link.interfaces)
    everything = ("0.0.0.0/0", "::/0")
    assert links(everything) == links(everything, loopback=True) == []
    assert [link.is_loopback for link in links(loopback=True)] == [True]


def test_an_announcement_does_not_name_the_machine() -> None:
    assert instance(secrets.token_bytes(32)).startswith("tmge-")
    assert len(instance(bytes(32))) == 21
