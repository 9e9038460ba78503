"""The sockets that the agent listens on: a port in use is always noticed, in a sentence."""

import socket

import pytest

from agent.ports import bind_page, bind_peers, open_peers
from agent.settings import StartError
from tests.support.page_server import free_port

V4, V6 = socket.AF_INET, socket.AF_INET6
ANY = {V4: "0.0.0.0", V6: "::"}


@pytest.fixture
def port() -> int:
    """A port that is free on both loopback addresses."""
    return free_port()


@pytest.mark.parametrize(("family", "address"), [(V4, "127.0.0.1"), (V6, "::1"), (V4, "0.0.0.0")])
def test_one_taken_loopback_address_is_enough_to_refuse(port: int, family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as taken:
        taken.bind((address, port))
        taken.listen()
        with pytest.raises(StartError, match=rf"Port {port} is in use.*--port\."):
            bind_page(None, port)
    for listener in bind_page(None, port):  # nothing was left bound
        listener.close()


def test_the_page_listens_where_it_is_told_and_nowhere_else(port: int) -> None:
    (only,) = bind_page("127.0.0.2", port)
    with only:
        assert only.getsockname() == ("127.0.0.2", port)
        for listener in bind_page(None, port):
            listener.close()


def test_an_answer_to_a_page_does_not_wait_for_what_was_sent_before_it(port: int) -> None:
    (listener,) = bind_page("127.0.0.1", port)
    with listener, socket.create_connection(("127.0.0.1", port)):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_of_another_machine_is_refused(port: int) -> None:
    with pytest.raises(StartError, match=r"This machine has no address 192\.0\.2\.1"):
        bind_page("192.0.2.1", port)


@pytest.mark.parametrize("family", [V4, V6])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_peer_port_is_wanted_whole_or_not_at_all(
    port: int, family: socket.AddressFamily, kind: socket.SocketKind
) -> None:
    with socket.socket(family, kind) as taken:
        taken.bind((ANY[family], port))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        with pytest.raises(StartError, match=rf"Peer port {port} is in use"):
            open_peers(port, None, avoid=1)
        other = open_peers(None, port, avoid=1)
        assert other.port != port
        other.close()
    bind_peers(port).close()


def test_a_remembered_peer_port_is_taken_again(port: int) -> None:
    peers = open_peers(None, port, avoid=1)
    assert peers.port == port
    assert peers.udp.getsockname()[1] == peers.tcp.getsockname()[1] == port
    peers.close()


def test_the_port_of_the_page_is_never_chosen_for_peers(port: int) -> None:
    peers = open_peers(None, port, avoid=port)
    assert peers.port != port
    peers.close()


@pytest.mark.parametrize(("family", "address"), [(V4, "127.0.0.1"), (V6, "::1")])
def test_peers_are_reached_over_both_versions_of_ip(port: int, family: socket.AddressFamily, address: str) -> None:
    peers = bind_peers(port)
    peers.udp.settimeout(10)
    with peers.udp, peers.tcp, socket.socket(family, socket.SOCK_DGRAM) as peer:
        socket.create_connection((address, port), timeout=10).close()
        peer.sendto(b"hello", (address, port))
        assert peers.udp.recv(10) == b"hello"
