"""A router that opens ports by PCP and NAT-PMP, on a real socket of the loopback interface: good or hostile.

Written from the RFCs and not from the agent's codec, so that the two are compared with each other.
"""

import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Lie = Callable[[bytes], list[bytes]]
"""Makes of the right answer what is sent instead of it."""


class FakeGateway:
    """Serves at `host` until it is left. Its fields may be changed at any time.

    `open` has the lifetime for each protocol and external port.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.pcp = self.natpmp = True
        self.external = "8.8.4.4"
        self.lifetime = 3600
        self.taken: set[int] = set()
        self.result = 0
        self.lie: Lie = lambda answer: [answer]
        self.open: dict[tuple[int, int], int] = {}
        self.heard: list[bytes] = []
        self.last_sender = ("", 0)
        self.changed = threading.Condition()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._ended = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            self._ended = True
            waker.sendto(b"", (self.host, self.port))
        self._thread.join(5)
        self._socket.close()

    def wait_for(self, happened: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait until something is so; it is looked at after each request."""
        with self.changed:
            assert self.changed.wait_for(happened, seconds), f"it did not happen; open: {self.open}"

    def _serve(self) -> None:
        while True:
            data, sender = self._socket.recvfrom(2048)
            if self._ended:
                return
            with self.changed:
                self.heard.append(data)
                self.last_sender = sender
                answer = self._answer(data, sender[0])
                self.changed.notify_all()
            for one in [] if answer is None else self.lie(answer):
                self._socket.sendto(one, sender)

    def _answer(self, data: bytes, client: str) -> bytes | None:
        if data[0] == 2:
            if self.pcp:
                return self._pcp(data, client)
            return struct.pack("!BBHI", 0, 0x80 | data[1], 1, 7) if self.natpmp else None
        if data[0] == 0 and self.natpmp:
            return self._natpmp(data)
        return struct.pack("!BBBBII12x", 2, 0x80 | data[1], 0, 1, 0, 7) if self.pcp else None

    def _pcp(self, data: bytes, client: str) -> bytes:
        """RFC 6887 section 11.1."""
        assert len(data) == 60
        opcode, lifetime, own = data[1], int.from_bytes(data[4:8], "big"), data[8:24]
        assert opcode == 1
        assert own == bytes(10) + b"\xff\xff" + socket.inet_aton(client)
        nonce, protocol, port, suggested = data[24:36], data[36], data[40:42], int.from_bytes(data[42:44], "big")
        external, granted = self._grant(protocol, suggested, lifetime)
        head = struct.pack("!BBBBII12x", 2, 0x81, 0, self.result, granted, 7)
        address = bytes(10) + b"\xff\xff" + socket.inet_aton(self.external)
        return head + nonce + bytes([protocol, 0, 0, 0]) + port + external.to_bytes(2, "big") + address

    def _natpmp(self, data: bytes) -> bytes:
        """RFC 6886 sections 3.2 and 3.3."""
        if data[1] == 0:
            assert len(data) == 2
            return struct.pack("!BBHI4s", 0, 128, self.result, 7, socket.inet_aton(self.external))
        assert len(data) == 12
        _, opcode, _, port, suggested, lifetime = struct.unpack("!BBHHHI", data)
        protocol = {1: 17, 2: 6}[opcode]
        if lifetime == 0:
            assert suggested == 0
            suggested = next((external for kind, external in self.open if kind == protocol), 0)
        external, granted = self._grant(protocol, suggested, lifetime)
        return struct.pack("!BBHIHHI", 0, 128 + opcode, self.result, 7, port, external, granted)

    def _grant(self, protocol: int, external: int, lifetime: int) -> tuple[int, int]:
        if self.result:
            return external, 30
        if lifetime == 0:
            self.open.pop((protocol, external), None)
            return external, 0
        while external in self.taken:
            external += 1
        granted = min(lifetime, self.lifetime)
        self.open[protocol, external] = granted
        return external, granted
