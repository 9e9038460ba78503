"""What a rendezvous says of its servers and hands over as tickets: read with suspicion, and got from a real one."""

from collections.abc import Iterator

import pytest

from agent.directory_servers import Servers, StunPlace, read_place, read_servers, read_ticket
from rendezvous.contract.encoding import to_text
from rendezvous.contract.ticket import Side, Ticket
from tests.support.directory_client import client, refusal
from tests.support.live_rendezvous import Rendezvous, Someone, running

ALICE, BOB, SERVER = Someone(1), Someone(2), Someone(3)
HOST = "rendezvous.example"
SECRET = bytes(range(32))


@pytest.fixture(scope="module")
def rendezvous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendezvous]:
    with running(tmp_path_factory.mktemp("data")) as rendezvous:
        yield rendezvous


def test_both_get_their_side_of_a_ticket_with_secrets_of_their_own(rendezvous: Rendezvous) -> None:
    with client(rendezvous.url, ALICE) as alice, client(rendezvous.url, BOB) as bob:
        alice.directory.sign_up("alice", 5001)
        bob.directory.sign_up("bob", 5002)
        bob.until("up", "Signed up as bob")
        asked = alice.directory.ticket("bob")
        handed = bob.tickets.until(lambda ticket: ticket.name == "alice")
        assert (asked.name, asked.ticket.holder, asked.ticket.peer) == ("bob", ALICE.key, BOB.key)
        assert (handed.ticket.holder, handed.ticket.peer) == (BOB.key, ALICE.key)
        assert asked.ticket.id == handed.ticket.id
        assert asked.secret != handed.secret
        assert asked.relay == handed.relay == ("127.0.0.1", rendezvous.udp_port)
        assert str(asked.secret) not in repr(asked)


def test_no_ticket_for_nobody_and_none_while_the_rendezvous_is_away(rendezvous: Rendezvous) -> None:
    with client(rendezvous.url, ALICE) as alice, client(rendezvous.url, BOB) as bob:
        alice.directory.sign_up("alice", 5001)
        assert refusal(lambda: alice.directory.ticket("nobody")) == "unknown_person"
        assert refusal(lambda: bob.directory.ticket("alice")) == "rendezvous_down"


def test_the_servers_of_a_rendezvous_are_known_once_somebody_has_signed_up(rendezvous: Rendezvous) -> None:
    with client(rendezvous.url, ALICE) as alice:
        alice.directory.sign_up("alice", 5001)
        (stun,) = alice.directory.servers.stun
        assert stun == StunPlace(("127.0.0.1", rendezvous.udp_port), rendezvous.udp_port + 1)


@pytest.mark.parametrize(
    ("answer", "stun"),
    [
        ({}, ()),
        ({"stun_ports": [3478, 3479]}, (StunPlace((HOST, 3478), 3479),)),
        ({"stun_ports": [3478]}, (StunPlace((HOST, 3478), None),)),
        ({"stun_ports": "3478"}, ()),
        ({"stun_ports": [True, 0, 70_000, "x"]}, ()),
        ({"stun": [{"address": ":1", "second_port": 2}, {"address": "[::1]:3"}, ["x"], 5, {}]},
         (StunPlace((HOST, 1), 2), StunPlace(("::1", 3), None))),
        ({"stun": ["other.example:9"], "stun_ports": [3478]}, (StunPlace(("other.example", 9), None),)),
    ],
)  # fmt: skip
def test_what_it_says_of_stun_is_taken_as_far_as_it_holds(
    answer: dict[str, object], stun: tuple[StunPlace, ...]
) -> None:
    assert read_servers(answer, HOST) == Servers(stun)


@pytest.mark.parametrize(
    "value", [None, 5, "", "host", "host:", "host:0", "host:65536", "host:+1", "host:\u0661", "a\n:1"]
)
def test_what_is_no_place_is_none(value: object) -> None:
    assert read_place(value, HOST) is None


def ticket(signer: Someone = SERVER, holder: Someone = ALICE) -> Ticket:
    made = Ticket(bytes(16), Side.ASKER, holder.key, BOB.key, ":3478", 4_000_000_000, 1 << 30)
    return made.signed(signer.sign(made.message()))


def test_a_ticket_is_read_with_the_place_of_its_relay() -> None:
    value = {"ticket": to_text(ticket().encode()), "secret": to_text(SECRET)}
    assert read_ticket(value, "bob", ALICE.key, SERVER.key, HOST).relay == (HOST, 3478)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"ticket": "x", "secret": "y"},
        {"peer": "bob", "ticket": "x", "secret": to_text(SECRET)},
        {"peer": "bob", "ticket": to_text(ticket().encode()), "secret": to_text(SECRET[1:])},
        {"peer": " bob", "ticket": to_text(ticket().encode()), "secret": to_text(SECRET)},
        {"peer": 5, "ticket": to_text(ticket().encode()), "secret": to_text(SECRET)},
        {"peer": "bob", "ticket": to_text(ticket(signer=BOB).encode()), "secret": to_text(SECRET)},
        {"peer": "bob", "ticket": to_text(ticket(holder=BOB).encode()), "secret": to_text(SECRET)},
        {"peer": "bob", "ticket": to_text(ticket().encode() + b"\0"), "secret": to_text(SECRET)},
    ],
)
def test_a_ticket_that_does_not_hold_is_not_taken(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_ticket(value, None, ALICE.key, SERVER.key, HOST)
