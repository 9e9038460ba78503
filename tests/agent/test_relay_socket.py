"""The relay's WebSocket at the agent: what is sent arrives whole, what breaks is told, what is idle is closed.

The other end is a real WebSocket server (simple-websocket, as engine.io serves with) on a real socket, that echoes.
"""

import queue
import socket
import threading
from collections.abc import Iterator

import pytest
import simple_websocket

from agent import relay_socket
from agent.protocol.packet import Address, Datagrams
from agent.relay_socket import MESSAGE_BYTES, QUEUE_BYTES, RelaySockets

WAIT = 10.0


class Echo:
    """A server that sends back each message; each accepted connection in a thread of its own."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.accepted: queue.Queue[socket.socket] = queue.Queue()
        self.messages: queue.Queue[bytes] = queue.Queue()
        self.ended: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted.put(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        first, *lines = head.decode().split("\r\n")
        fields = (line.partition(": ") for line in lines if line)
        environ = {"HTTP_" + name.upper().replace("-", "_"): value for name, _, value in fields}
        environ |= {"PATH_INFO": first.split()[1], "werkzeug.socket": connection}  # type: ignore[dict-item]
        try:
            server = simple_websocket.Server(environ)
            while True:
                message = server.receive()
                self.messages.put(message)
                server.send(message)
        except (simple_websocket.ConnectionClosed, OSError):
            self.ended.put("ended")
            connection.close()

    def close(self) -> None:
        self.listener.close()
        while not self.accepted.empty():
            self.accepted.get().close()


class Sockets:
    """The connections under test, and what they told."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connect = threading.Event()
        self.connect.set()
        self.came: queue.Queue[Datagrams] = queue.Queue()
        self.broke: queue.Queue[tuple[Address, str]] = queue.Queue()
        self.sockets = RelaySockets(self.where, self.came.put, lambda *told: self.broke.put(told))

    def where(self) -> str:
        assert self.connect.wait(WAIT)
        return self.url

    def send(self, data: bytes, size: int, number: int = 1) -> None:
        self.sockets.send(Datagrams(("websocket", number), memoryview(data), size))


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def sockets(echo: Echo) -> Iterator[Sockets]:
    sockets = Sockets(echo.url)
    yield sockets
    sockets.sockets.stop()


def test_datagrams_go_and_come_one_by_one_and_each_binding_has_a_connection(echo: Echo, sockets: Sockets) -> None:
    sockets.send(b"aaabbbc", 3)
    assert [bytes(sockets.came.get(timeout=WAIT).data) for _ in range(3)] == [b"aaa", b"bbb", b"c"]
    sockets.send(b"other", 5, number=2)
    assert sockets.came.get(timeout=WAIT) == Datagrams(("websocket", 2), b"other", 5)
    assert echo.accepted.qsize() == 2


def test_a_connection_that_breaks_is_told_and_made_again_by_the_next_datagram(echo: Echo, sockets: Sockets) -> None:
    sockets.send(b"first", 5)
    sockets.came.get(timeout=WAIT)
    echo.accepted.get().shutdown(socket.SHUT_RDWR)
    assert sockets.broke.get(timeout=WAIT) == (("websocket", 1), "unreachable")
    sockets.send(b"again", 5)
    assert sockets.came.get(timeout=WAIT).data == b"again"


def test_nobody_there_is_refused(echo: Echo, sockets: Sockets) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        sockets.url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    sockets.send(b"x", 1)
    assert sockets.broke.get(timeout=WAIT) == (("websocket", 1), "refused")


def test_what_does_not_speak_websocket_is_refused_or_unreachable(sockets: Sockets) -> None:
    with socket.create_server(("127.0.0.1", 0)) as wrong:
        sockets.url = f"http://127.0.0.1:{wrong.getsockname()[1]}"
        sockets.send(b"x", 1)
        connection, _ = wrong.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 404 NOT FOUND\r\nContent-Length: 0\r\n\r\n")
            assert sockets.broke.get(timeout=WAIT) == (("websocket", 1), "refused")


@pytest.mark.parametrize("message", [b"\0", b"\0\2x", b"\0\0", b"\0\1x\0"])
def test_a_message_that_is_not_whole_ends_the_connection(echo: Echo, sockets: Sockets, message: bytes) -> None:
    sockets.send(b"x", 1)
    sockets.came.get(timeout=WAIT)
    connection = echo.accepted.get()
    connection.sendall(bytes([0x82, len(message)]) + message)
    assert sockets.broke.get(timeout=WAIT)[0] == ("websocket", 1)


def test_a_queue_that_is_full_loses_what_does_not_fit(echo: Echo, sockets: Sockets) -> None:
    sockets.connect.clear()
    many = 2 * QUEUE_BYTES // 1000
    sockets.send(bytes(1000) * many, 1000)
    sockets.send(b"last", 4)
    sockets.connect.set()
    came = 0
    while bytes(sockets.came.get(timeout=WAIT).data) != b"last":
        came += 1
    assert came == QUEUE_BYTES // 1000
    assert all(len(message) <= MESSAGE_BYTES for message in list(echo.messages.queue))


def test_what_is_idle_is_closed_without_a_word(echo: Echo, sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_socket, "IDLE_SECONDS", 0.05)
    sockets.send(b"x", 1)
    sockets.came.get(timeout=WAIT)
    assert echo.ended.get(timeout=WAIT)
    assert sockets.broke.empty()


def test_stopping_ends_all_and_says_nothing(echo: Echo, sockets: Sockets) -> None:
    sockets.send(b"x", 1)
    sockets.came.get(timeout=WAIT)
    sockets.sockets.stop()
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith("relay ")]:
        thread.join(WAIT)
        assert not thread.is_alive()
    sockets.send(b"x", 1, number=3)
    assert sockets.broke.empty()
    assert echo.accepted.qsize() == 1
