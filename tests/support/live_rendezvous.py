"""Real parts for tests that need a rendezvous: its process, someone who signs up, and patience
with a deadline.
"""

import contextlib
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from rendezvous.contract.encoding import to_text
from rendezvous.contract.identity import FORGET_CONTEXT, box_message, signed_message, signup_message
from rendezvous.contract.introduction import introduction_message

T = TypeVar("T")
PATIENCE = 20.0


class Heard(Generic[T]):
    """What somebody was told, in order: call it to tell, `until` to wait for something."""

    def __init__(self) -> None:
        self._queue: queue.Queue[T] = queue.Queue()

    def __call__(self, value: T) -> None:
        self._queue.put(value)

    def heard(self) -> list[T]:
        """Take all values that have not been taken yet."""
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]

    def until(self, wanted: Callable[[T], bool], seconds: float = PATIENCE) -> T:
        """Take values until one is wanted; fail when that takes too long."""
        deadline = time.monotonic() + seconds
        seen: list[T] = []
        while True:
            try:
                value = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"not heard in {seconds} s; heard: {seen}") from None
            if wanted(value):
                return value
            seen.append(value)


@dataclass
class Someone:
    """An identity for tests, the same for the same number each time."""

    number: int
    seq: int = 0
    signing_key: Ed25519PrivateKey = field(init=False)
    box_key: bytes = field(init=False)

    def __post_init__(self) -> None:
        seed = self.number.to_bytes(32, "big")
        self.signing_key = Ed25519PrivateKey.from_private_bytes(seed)
        self.box_key = X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()

    @property
    def key(self) -> bytes:
        return self.signing_key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        return self.signing_key.sign(data)

    def box_signature(self, name: str) -> bytes:
        return self.sign(box_message(name, self.box_key))

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def signup(self, name: str, audience: str, /, **changes: object) -> dict[str, object]:
        """Return a signed sign-up; what is changed is signed as well, None leaves a field out."""
        fields: dict[str, object] = {
            "username": name,
            "port": 5001,
            "key": to_text(self.key),
            "box_key": to_text(self.box_key),
            "box_signature": to_text(self.box_signature(name)),
            "seq": self.next_seq(),
            "audience": audience,
            "time": int(time.time()),
        } | changes
        kept = {name: value for name, value in fields.items() if value is not None}
        return kept | {"signature": to_text(self.sign(signup_message(kept)))}

    def forget(self, name: str, audience: str, /, **changes: object) -> dict[str, object]:
        """Return a signed wish to be forgotten; changes as above."""
        fields: dict[str, object] = {
            "username": name,
            "key": to_text(self.key),
            "seq": self.next_seq(),
            "audience": audience,
            "time": int(time.time()),
        } | changes
        kept = {name: value for name, value in fields.items() if value is not None}
        return kept | {"signature": to_text(self.sign(signed_message(FORGET_CONTEXT, kept)))}

    def introduction(
        self, name: str, to: str, payload: bytes, audience: str, /, **changes: object
    ) -> dict[str, object]:
        """Return a signed introduction; changes as above."""
        fields: dict[str, object] = {
            "from": name,
            "to": to,
            "payload": to_text(payload),
            "key": to_text(self.key),
            "audience": audience,
            "time": int(time.time()),
        } | changes
        kept = {name: value for name, value in fields.items() if value is not None}
        return kept | {"signature": to_text(self.sign(introduction_message(kept)))}


class Rendezvous:
    """The program as a user starts it: on its embedded server, on a free port that it then
    keeps.
    """

    def __init__(self, data: Path, *flags: str, port: int = 0) -> None:
        self.data = data
        self._flags = flags
        self.port = port
        self.udp_port = free_udp_port()
        self.process = self._launch()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _launch(self) -> "subprocess.Popen[str]":
        ports = ["--port", str(self.port), "--udp-port", str(self.udp_port)]
        process = subprocess.Popen(
            [sys.executable, "-m", "rendezvous", *ports, "--data", str(self.data), *self._flags],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("rendezvous on http://127.0.0.1:"), line
        self.port = int(line.rsplit(":", 1)[1])
        return process

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to stop; return its exit status."""
        return self._end(signal.SIGTERM)

    def again(self) -> None:
        """Start it again on the same port and data."""
        self.process = self._launch()

    def _end(self, number: signal.Signals) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status


@contextlib.contextmanager
def running(data: Path, *flags: str) -> Iterator[Rendezvous]:
    """Run a rendezvous for the length of a block."""
    rendezvous = Rendezvous(data, *flags)
    try:
        yield rendezvous
    finally:
        rendezvous.stop()


def free_udp_port() -> int:
    """Return a UDP port that nobody uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def children(pid: int) -> dict[int, str]:
    """Return the processes that a process started: their ids and command lines."""
    text = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=True
    ).stdout
    rows: list[Any] = [line.split(maxsplit=2) for line in text.splitlines()]
    return {int(row[0]): row[2] for row in rows if int(row[1]) == pid}
