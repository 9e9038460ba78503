"""The relay of a real rendezvous, over real sockets, with tickets as agents get them."""

import itertools
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rendezvous.contract import relay, stun
from rendezvous.contract.encoding import from_text
from rendezvous.contract.ticket import Ticket, decode_ticket
from rendezvous.relay_check import ask, bind
from tests.support.live_agent import Agent, sign_up
from tests.support.live_rendezvous import PATIENCE, Rendezvous, Someone, free_udp_port, running

seqs = itertools.count(1, 10)


@pytest.fixture(scope="module", params=[(), ("--processes", "2")], ids=["one", "workers"])
def rendezvous(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendezvous]:
    with running(tmp_path_factory.mktemp("data"), *request.param) as rendezvous:
        yield rendezvous


def side(rendezvous: Rendezvous) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", rendezvous.udp_port))
    sock.settimeout(PATIENCE)
    return sock


def tickets(rendezvous: Rendezvous) -> list[tuple[Ticket, bytes]]:
    """Ask as an agent does; return what each side gets."""
    agents = [Agent(rendezvous, sign_up(rendezvous, Someone(number, next(seqs)), f"p{number}")) for number in (1, 2)]
    mine = agents[0].call("ticket", {"peer": "p2"})
    theirs = agents[1].tickets.until(lambda _: True)
    for agent in agents:
        agent.close()
    return [(decode_ticket(from_text(said["ticket"])), from_text(said["secret"])) for said in (mine, theirs)]


def test_two_sides_reach_each_other_through_it_and_stun_is_answered_beside(rendezvous: Rendezvous) -> None:
    made = tickets(rendezvous)
    assert {ticket.relay for ticket, _ in made} == {f":{rendezvous.udp_port}"}
    with side(rendezvous) as first, side(rendezvous) as second:
        mine, theirs = (bind(sock, *one) for sock, one in zip((first, second), made, strict=True))
        assert theirs.peer
        first.send(relay.Data(mine.binding, b"i" * 1200).encode())
        assert second.recv(2048) == relay.Data(theirs.binding, b"i" * 1200).encode()
        second.send(relay.Data(theirs.binding, b"back").encode())
        assert ask(first, stun.encode(stun.Message(stun.BINDING_REQUEST, bytes(12))), relay.Data).inner == b"back"
        alive = ask(first, relay.Keepalive(mine.binding, b"echoecho").encode(), relay.Alive)
        assert alive.echo == b"echoecho"
        assert alive.left == made[0][0].budget - 2 * relay.HEADER_SIZE - 1204


def test_a_side_goes_on_from_another_port_and_a_thief_does_not(rendezvous: Rendezvous) -> None:
    (ticket, secret), other = tickets(rendezvous)
    with side(rendezvous) as first, side(rendezvous) as second, side(rendezvous) as moved, side(rendezvous) as thief:
        bind(first, ticket, secret)
        theirs = bind(second, *other)
        with pytest.raises(OSError, match="bad_proof"):
            bind(thief, ticket, other[1])
        mine = bind(moved, ticket, secret)
        second.send(relay.Data(theirs.binding, b"hello").encode())
        while isinstance(found := relay.decode(moved.recv(2048)), relay.Bound):
            pass  # the other side's coming
        assert found == relay.Data(mine.binding, b"hello")


def started(folder: Path, *flags: str) -> "subprocess.Popen[str]":
    port = free_udp_port()
    command = [sys.executable, "-m", "rendezvous", "--port", "0", "--udp-port", str(port), "--data", str(folder)]
    return subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
def test_at_its_start_it_says_that_the_relay_works(tmp_path: Path, host: str) -> None:
    word = the_word_of(tmp_path, "--host", host)
    assert word.startswith("The relay works at :")
    assert word.endswith(", over UDP and WebSocket.\n")


def test_at_its_start_it_says_that_the_relay_does_not_work_where_tickets_say_it_is(tmp_path: Path) -> None:
    word = the_word_of(tmp_path, "--relay-address", f"127.0.0.1:{free_udp_port()}")
    assert "The relay does not work at 127.0.0.1:" in word
    assert "--relay-address" in word


def the_word_of(folder: Path, *flags: str) -> str:
    """Return the first line of the log that is about the relay."""
    process = started(folder, *flags)
    try:
        assert process.stdout is not None
        return next(line for line in process.stdout if "The relay" in line)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def test_batches_as_agents_send_them_are_forwarded_whatever_is_mixed_into_them(rendezvous: Rendezvous) -> None:
    made = tickets(rendezvous)
    with side(rendezvous) as first, side(rendezvous) as second:
        mine, theirs = (bind(sock, *one).binding for sock, one in zip((first, second), made, strict=True))
        same = [relay.Data(mine, bytes([number]) * 1200).encode() for number in range(20)]
        stunned = stun.encode(stun.Message(stun.BINDING_REQUEST, bytes(12), ((0x8022, bytes(1173)),)))
        mixed = [same[0], relay.Data(bytes(8), bytes(1200)).encode(), same[1], stunned.ljust(1209), same[2]]
        for batch in (same, mixed):
            segments = [(17, 103, struct.pack("=H", 1209))] if sys.platform == "linux" else []
            for piece in [b"".join(batch)] if segments else batch:
                first.sendmsg([piece], segments)
        wanted = [relay.Data(theirs, bytes([number]) * 1200).encode() for number in (*range(20), 0, 1, 2)]
        assert [second.recv(2048) for _ in wanted] == wanted
