"""A plain TCP balancer in front of several machines: connections in turn, each to a machine that takes them.

Looks into nothing and remembers nobody, as the cheapest ones do.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence


class Balancer:
    """Listens on `port` from the start, until `close`."""

    def __init__(self, backends: Sequence[int]) -> None:
        self._backends = list(backends)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Return the address that agents are told."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                backend = self._reach()
                if backend is None:
                    client.close()
                    continue
                for source, sink in ((client, backend), (backend, client)):
                    threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()

    def _reach(self) -> socket.socket | None:
        for _ in self._backends:
            self._backends.append(self._backends.pop(0))
            with contextlib.suppress(OSError):
                return socket.create_connection(("127.0.0.1", self._backends[-1]), 1)
        return None


@contextlib.contextmanager
def balanced(backends: Sequence[int]) -> Iterator[Balancer]:
    """Run a balancer for the length of a block."""
    balancer = Balancer(backends)
    try:
        yield balancer
    finally:
        balancer.close()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Carry bytes one way; the end of one side is the end of both."""
    source.settimeout(None)
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    for side in (source, sink):
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
    sink.close()
