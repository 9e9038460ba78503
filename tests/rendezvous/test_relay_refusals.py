"""What the relay of a real rendezvous refuses, by UDP and over its WebSocket: whoever has no right, too much, and every
address that a client names.
"""

import contextlib
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from rendezvous.authority import Authority
from rendezvous.contract import relay, stun
from rendezvous.contract.encoding import from_text
from rendezvous.contract.relay import Refusal
from rendezvous.contract.ticket import Ticket, decode_ticket
from rendezvous.embedded import EmbeddedServer
from rendezvous.relay_check import Line, WebSocketLine, ask, bind
from rendezvous.store import Store
from tests.support.live_agent import Agent, sign_up
from tests.support.live_rendezvous import PATIENCE, Rendezvous, Someone, running
from tests.support.relayed import sign

TICKET_BYTES, PERSON_BYTES, RATE = 80_000, 200_000, 65_536
Side = tuple[Ticket, bytes]


@pytest.fixture(scope="module")
def rendezvous(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendezvous]:
    budgets = ("--relay-ticket-bytes", str(TICKET_BYTES), "--relay-person-bytes", str(PERSON_BYTES))
    flags = (*budgets, "--relay-rate", "64K", "--redis", server.url, "--limit", "all=off")
    with running(tmp_path_factory.mktemp("data"), *flags) as rendezvous:
        yield rendezvous


@pytest.fixture(scope="module")
def authority(rendezvous: Rendezvous, server: EmbeddedServer) -> Authority:
    """The rendezvous' own key, for tickets that it would not make."""
    return Authority(Store(server.url), f":{rendezvous.udp_port}", TICKET_BYTES)


@pytest.fixture(params=["udp", "websocket"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def lines(rendezvous: Rendezvous, way: str, count: int) -> Iterator[list[Line]]:
    opened: list[Line] = []
    try:
        for _ in range(count):
            opened.append(line(rendezvous, way))
        yield opened
    finally:
        for one in opened:
            one.close()


def line(rendezvous: Rendezvous, way: str) -> Line:
    if way == "websocket":
        return WebSocketLine(rendezvous.url, PATIENCE)
    return udp_socket(rendezvous)


def udp_socket(rendezvous: Rendezvous) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", rendezvous.udp_port))
    sock.settimeout(PATIENCE)
    return sock


def pair(authority: Authority) -> list[Side]:
    """Return both sides of a ticket for two people whom nobody has seen before."""
    return authority.tickets(secrets.token_bytes(32), secrets.token_bytes(32))


def answer_to(one: Line, datagram: bytes) -> relay.Datagram | None:
    one.send(datagram)
    return relay.decode(one.recv(2048))


def test_without_a_ticket_nothing_is_answered_and_nothing_forwarded(
    rendezvous: Rendezvous, authority: Authority
) -> None:
    with lines(rendezvous, "udp", 3) as (alice, bob, mallory):
        mine, theirs = (bind(one, *side) for one, side in zip((alice, bob), pair(authority), strict=True))
        for nothing in (
            b"\xe8\x01transact",
            b"\xe8\x01transact" + bytes(400),
            relay.Data(mine.binding, b"from nobody").encode(),
            relay.Data(theirs.binding, b"from nobody").encode(),
            relay.Data(bytes(8), b"from nobody").encode(),
            relay.Keepalive(mine.binding, b"echoecho").encode(),
        ):
            mallory.send(nothing)
        other = bind(mallory, *pair(authority)[0])  # the first answer to mallory is to this
        assert not other.peer
        assert ask(bob, relay.Data(theirs.binding, b"fence").encode(), relay.Data, alice).inner == b"fence"


def test_an_expired_ticket_is_refused(rendezvous: Rendezvous, authority: Authority, way: str) -> None:
    (ticket, _), _ = pair(authority)
    old = replace(ticket, expires=int(time.time()) - 1)
    old = old.signed(authority._signer().sign(old.message()))
    with lines(rendezvous, way, 1) as (one,), pytest.raises(OSError, match="expired"):
        bind(one, old, authority.secret_of(old))


def test_the_ticket_of_another_identity_is_refused(rendezvous: Rendezvous, authority: Authority, way: str) -> None:
    (ticket, secret), (other, _) = pair(authority)
    with lines(rendezvous, way, 1) as (one,), pytest.raises(OSError, match="bad_proof"):
        bind(one, other, secret)
    with lines(rendezvous, way, 1) as (one,), pytest.raises(OSError, match="bad_proof"):
        bind(one, replace(ticket, asker=bytes(32)), secret)


def test_a_proof_that_somebody_has_recorded_is_worth_nothing_elsewhere(
    rendezvous: Rendezvous, authority: Authority, way: str
) -> None:
    mine, theirs = pair(authority)
    with lines(rendezvous, way, 2) as (alice, bob), lines(rendezvous, "udp", 1) as (mallory,):
        challenge = ask(alice, relay.Bind(b"transact", mine[0]).encode(), relay.Challenge).challenge
        mac = relay.proof_of(mine[1], challenge, mine[0])
        recorded = relay.Proof(b"transact", challenge, mac, mine[0]).encode()
        bound = ask(alice, recorded, relay.Bound)
        assert answer_to(mallory, recorded) == relay.Refused(b"transact", Refusal.STALE)
        at = bind(bob, *theirs)
        assert ask(alice, relay.Keepalive(bound.binding, b"echoecho").encode(), relay.Alive).echo == b"echoecho"
        assert ask(bob, relay.Data(at.binding, b"still here").encode(), relay.Data, alice).inner == b"still here"


def test_nobody_sends_to_whom_the_ticket_does_not_name(rendezvous: Rendezvous, authority: Authority, way: str) -> None:
    with lines(rendezvous, way, 4) as four:
        sides = [*pair(authority), *pair(authority)]
        alice, bob, carol, dave = (bind(one, *side).binding for one, side in zip(four, sides, strict=True))
        for sender in four[2:]:
            for target in (alice, bob):
                sender.send(relay.Data(target, b"not for you").encode())
        for at, binding in enumerate((alice, bob, carol, dave)):  # what comes first is this
            arrived = ask(four[at], relay.Data(binding, b"fence").encode(), relay.Data, four[at ^ 1])
            assert arrived.inner == b"fence"


def send_until(one: Line, binding: bytes, wanted: set[Refusal]) -> tuple[Refusal, int]:
    """Send until one of these refusals comes; return it, and the bytes that are left of the ticket."""
    deadline = time.monotonic() + PATIENCE
    left = 0
    while time.monotonic() < deadline:
        for _ in range(4):
            one.send(relay.Data(binding, bytes(1191)).encode())
        one.send(relay.Keepalive(binding, b"echoecho").encode())
        while not isinstance(found := relay.decode(one.recv(2048)), relay.Alive):
            if isinstance(found, relay.Refused) and found.code in wanted:
                return found.code, left
        left = found.left
    raise AssertionError(f"none of {wanted}")


def test_a_ticket_carries_so_many_bytes_so_fast_and_no_more_when_it_is_used_again(
    rendezvous: Rendezvous, authority: Authority, way: str
) -> None:
    mine, theirs = pair(authority)
    with lines(rendezvous, way, 2) as (alice, again), udp_socket(rendezvous) as bob:
        at, _ = bind(alice, *mine), bind(bob, *theirs)
        assert at.left == TICKET_BYTES
        for _ in range(
            (RATE + TICKET_BYTES) // 2 // 1200
        ):  # all at once: more than a second's worth, less than the ticket's
            alice.send(relay.Data(at.binding, bytes(1191)).encode())
        assert refused(alice) is Refusal.TOO_FAST
        assert send_until(alice, at.binding, {Refusal.TICKET_BUDGET})[1] < 5 * 1200
        for other in (again, alice):
            anew = bind(other, *mine)
            assert anew.left < 1200
            assert send_until(other, anew.binding, {Refusal.TICKET_BUDGET})[1] < 1200
        bob.setblocking(False)
        assert heard(bob) <= TICKET_BYTES


def refused(one: Any) -> Refusal:
    """Return the first refusal that comes."""
    while not isinstance(found := relay.decode(one.recv(2048)), relay.Refused):
        pass
    return found.code


def heard(sock: Any) -> int:
    """Return the bytes of all DATA that has arrived."""
    arrived = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            datagram = sock.recv(2048)
            arrived += len(datagram) if datagram[0] == relay.Kind.DATA else 0
    return arrived


def test_a_person_has_so_many_bytes_whatever_tickets_they_get(
    rendezvous: Rendezvous, authority: Authority, way: str
) -> None:
    key = secrets.token_bytes(32)
    with lines(rendezvous, way, 2) as (alice, bob):
        met: list[Refusal] = []
        while Refusal.PERSON_BUDGET not in met:
            assert len(met) < 4
            mine, theirs = authority.tickets(key, secrets.token_bytes(32))
            at, _ = bind(alice, *mine), bind(bob, *theirs)
            met.append(send_until(alice, at.binding, {Refusal.TICKET_BUDGET, Refusal.PERSON_BUDGET})[0])
        assert met == [Refusal.TICKET_BUDGET] * 2 + [Refusal.PERSON_BUDGET]
        stranger = bind(bob, *pair(authority)[0])  # others go on
        assert stranger.left == TICKET_BYTES


@pytest.fixture
def victims() -> Iterator[list[socket.socket]]:
    """Somebody who listens where a client would like datagrams to go: over IPv4, IPv6, and by TCP."""
    with contextlib.ExitStack() as opened:
        found = []
        for family, host, kind in (
            (socket.AF_INET, "127.0.0.1", socket.SOCK_DGRAM),
            (socket.AF_INET6, "::1", socket.SOCK_DGRAM),
            (socket.AF_INET, "127.0.0.1", socket.SOCK_STREAM),
        ):
            sock = opened.enter_context(socket.socket(family, kind))
            sock.bind((host, 0))
            if kind == socket.SOCK_STREAM:
                sock.listen()
            sock.setblocking(False)
            found.append(sock)
        yield found


def test_nothing_is_ever_sent_to_an_address_that_a_client_names(
    rendezvous: Rendezvous, authority: Authority, way: str, victims: list[socket.socket]
) -> None:
    mine, theirs = pair(authority)
    named = [
        f"{host}:{sock.getsockname()[1]}"
        for sock, host in zip(victims, ("127.0.0.1", "[::1]", "127.0.0.1"), strict=True)
    ]
    private = [
        "10.0.0.1:22",
        "192.168.0.1:80",
        "169.254.169.254:80",
        "[fe80::1]:53",
        "0.0.0.0:53",
        ":53",
        "localhost:22",
    ]
    for place in (*named, *private):
        for forged in (sign(replace(mine[0], relay=place)), replace(mine[0], relay=place)):
            with lines(rendezvous, way, 1) as (one,):
                expected = Refusal.WRONG_RELAY if way == "udp" else Refusal.BAD_PROOF
                assert answer_to(one, relay.Bind(b"transact", forged).encode()) == relay.Refused(b"transact", expected)
                with contextlib.suppress(OSError):  # the WebSocket is closed by now
                    one.send(relay.Proof(b"transact", bytes(24), bytes(32), forged).encode())
    with lines(rendezvous, way, 2) as (alice, bob):
        at, there = bind(alice, *mine), bind(bob, *theirs)
        assert ask(alice, relay.Data(at.binding, b"fence").encode(), relay.Data, bob).inner == b"fence"
        assert there.binding != at.binding
    for victim in victims:
        with pytest.raises(BlockingIOError):
            victim.accept() if victim.type == socket.SOCK_STREAM else victim.recv(1)


def test_no_field_of_a_client_makes_the_rendezvous_tell_others_an_address_or_a_relay(
    rendezvous: Rendezvous, victims: list[socket.socket]
) -> None:
    place = f"127.0.0.1:{victims[0].getsockname()[1]}"
    wishes: dict[str, object] = {"ip": "10.9.9.9", "host": "10.9.9.9", "relay": place}
    names = [secrets.token_hex(8) for _ in range(2)]
    agents = [Agent(rendezvous, sign_up(rendezvous, Someone(secrets.randbits(200)), name, **wishes)) for name in names]
    reach = {"mapping": "none", "filtering": "open", "udp": True, "ipv6": True, **wishes}
    assert agents[1].call("heartbeat", wishes | {"reach": reach}) == {"ok": True}
    told = requests.get(f"{rendezvous.url}/user", params={"id": names[1]}, timeout=PATIENCE).text
    assert place not in told
    assert "10.9.9.9" not in told
    said = agents[0].call("ticket", {"peer": names[1], "relay": place, "address": place})
    assert decode_ticket(from_text(said["ticket"])).relay == f":{rendezvous.udp_port}"
    for agent in agents:
        agent.close()


def test_without_a_relay_there_are_no_tickets_and_nothing_is_forwarded(tmp_path: Path) -> None:
    with running(tmp_path, "--no-relay") as without:
        agents = [Agent(without, sign_up(without, Someone(number), f"agent{number}")) for number in (1, 2)]
        refused = agents[0].call("ticket", {"peer": "agent2"})
        assert (refused["ok"], refused["error"]["code"]) == (False, "no_relay")
        for agent in agents:
            agent.close()
        with pytest.raises(OSError, match="503"):
            line(without, "websocket")
        with lines(without, "udp", 1) as (one,):
            one.send(b"\xe8\x01transact" + bytes(400))
            one.send(stun.encode(stun.Message(stun.BINDING_REQUEST, bytes(12))))
            assert stun.decode(one.recv(2048)) is not None  # and no answer to the first
        assert requests.get(without.url, timeout=PATIENCE).json()["relay"] is None
