"""STUN on real sockets, asked by real clients: ours, aioice, and coturn's own."""

import asyncio
import functools
import random
import socket
import subprocess
import threading
from collections.abc import Iterator

import aioice.ice
import aioice.stun
import pytest

from rendezvous import udp
from rendezvous.contract import stun
from rendezvous.stun import answer
from rendezvous.throttle import BURST, MOST, PER_SECOND, throttled
from tests.rendezvous.test_stun import PLAIN, REQUEST, TRANSACTION, change, mutated
from tests.support import foreign

PATIENCE = 10.0


@pytest.fixture(params=["127.0.0.1", "::1"])
def ports(request: pytest.FixtureRequest) -> Iterator[tuple[str, int, int]]:
    """A server at one address with two ports."""
    with served(request.param) as ports:
        yield (request.param, *ports)


class served:
    """A server with two ports, for the length of a block."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> tuple[int, int]:
        first, second = udp.bind(self._host, 0), udp.bind(self._host, 0)
        others = {sock.family: sock for sock in second}
        answers = functools.partial(answer, second_port=True)
        for sock in (*first, *second):
            arguments = (sock, others.get(sock.family), answers)
            threading.Thread(target=udp.serve, args=arguments, daemon=True).start()
        self._sockets = [*first, *second]
        return first[0].getsockname()[1], second[0].getsockname()[1]

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            sock.close()


def client(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(PATIENCE)
    return sock


def mapped(datagram: bytes) -> tuple[str, int] | None:
    message = stun.decode(datagram)
    assert message is not None
    return stun.unpack_address(message.get(stun.XOR_MAPPED_ADDRESS) or b"", message.transaction)


def test_a_client_learns_its_own_address_and_noise_gets_no_answer(ports: tuple[str, int, int]) -> None:
    host, port, _ = ports
    with client(host) as sock:
        sock.connect((host, port))
        sock.send(b"not STUN at all")
        sock.send(bytes(4000))
        sock.send(PLAIN)
        assert mapped(sock.recv(2048)) == sock.getsockname()[:2]


def test_a_client_is_answered_from_the_second_port_where_it_asks_for_that(ports: tuple[str, int, int]) -> None:
    host, port, second = ports
    with client(host) as sock:
        sock.sendto(stun.change_request(TRANSACTION), (host, port))
        datagram, source = sock.recvfrom(2048)
        assert source[:2] == (host, second)
        assert mapped(datagram) == sock.getsockname()[:2]
        sock.sendto(stun.change_request(TRANSACTION)[:-8], (host, port))  # cut short: no answer
        sock.sendto(change(0), (host, second))
        assert sock.recvfrom(2048)[1][:2] == (host, second)


def test_all_addresses_are_served_in_both_families_and_each_answers_for_itself() -> None:
    with served("::") as (port, second):
        for host in ("127.0.0.1", "127.0.0.2", "::1"):
            with client("127.0.0.1" if host == "127.0.0.2" else host) as sock:
                sock.sendto(PLAIN, (host, port))
                datagram, source = sock.recvfrom(2048)
                assert source[:2] == (host, port)
                assert mapped(datagram) == sock.getsockname()[:2]
                sock.sendto(stun.change_request(TRANSACTION), (host, port))
                assert sock.recvfrom(2048)[1][:2] == (host, second)


def test_a_port_that_somebody_has_is_refused() -> None:
    (sock,) = udp.bind("127.0.0.1", 0)
    with sock, pytest.raises(OSError, match="in use"):
        udp.bind("127.0.0.1", sock.getsockname()[1])


def test_ten_thousand_mutated_packets_leave_it_standing() -> None:
    chance = random.Random(5389)
    seeds = [REQUEST, PLAIN, change(2), stun.change_request(TRANSACTION)]
    with served("127.0.0.1") as (port, _), client("127.0.0.1") as sock, client("127.0.0.1") as probe:
        for number in range(10_000):
            sock.sendto(mutated(chance, chance.choice(seeds)), ("127.0.0.1", port))
            if number % 100 == 99:  # at this pace no queue overflows, and it still answers
                probe.sendto(PLAIN, ("127.0.0.1", port))
                assert mapped(probe.recv(2048)) == probe.getsockname()[:2]


def test_an_address_is_answered_so_often_and_another_one_meanwhile() -> None:
    now = 100.0
    limited = throttled(answer, lambda: now)
    replies = [limited(PLAIN, "192.0.2.1", 7) for _ in range(int(BURST) + 10)]
    assert replies.count(None) == 10
    assert limited(PLAIN, "192.0.2.2", 7) is not None
    now += 1
    replies = [limited(PLAIN, "192.0.2.1", 7) for _ in range(int(PER_SECOND) + 10)]
    assert replies.count(None) == 10
    for number in range(MOST):  # forged sources take no more memory than this
        limited(b"", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 7)
    assert limited(PLAIN, "192.0.2.1", 7) is not None


def test_aioice_agrees(ports: tuple[str, int, int]) -> None:
    host, port, _ = ports
    request = aioice.stun.Message(aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST)
    with client(host) as sock:
        for datagram in (bytes(request), with_fingerprint(request)):
            sock.sendto(datagram, (host, port))
            response = aioice.stun.parse_message(sock.recv(2048))  # raises where FINGERPRINT is wrong
            assert response.message_class is aioice.stun.Class.RESPONSE
            assert response.transaction_id == request.transaction_id
            assert response.attributes["XOR-MAPPED-ADDRESS"] == sock.getsockname()[:2]
            assert "FINGERPRINT" in response.attributes
        unknown = aioice.stun.Message(aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST)
        unknown.attributes["PRIORITY"] = 1
        sock.sendto(bytes(unknown), (host, port))
        assert aioice.stun.parse_message(sock.recv(2048)).attributes["ERROR-CODE"] == (420, "")


def with_fingerprint(message: aioice.stun.Message) -> bytes:
    data = bytes(message)
    message.attributes["FINGERPRINT"] = aioice.stun.message_fingerprint(data)
    return bytes(message)


def test_an_ice_agent_of_aioice_finds_its_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gathered(port: int) -> list[aioice.Candidate]:
        agent = aioice.Connection(ice_controlling=True, stun_server=("127.0.0.1", port), use_ipv6=False)
        await agent.gather_candidates()
        candidates = list(agent.local_candidates)
        await agent.close()
        return candidates

    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])  # it leaves loopback out
    with served("127.0.0.1") as (port, _):
        candidates = asyncio.run(gathered(port))
    addresses = {candidate.type: (candidate.host, candidate.port) for candidate in candidates}
    assert addresses["srflx"] == addresses["host"]


def test_the_client_of_coturn_agrees(ports: tuple[str, int, int]) -> None:
    host, port, _ = ports
    coturn = foreign.program("turnutils_stunclient", "coturn", "libevent-extra-2.1-7", "libevent-core-2.1-7")
    command = [coturn.path, "-p", str(port), "-L", host, host]
    ran = subprocess.run(command, env=coturn.environment, capture_output=True, text=True, timeout=PATIENCE)
    assert f"UDP reflexive addr: {host}:" in ran.stdout, ran.stdout + ran.stderr
