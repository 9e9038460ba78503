"""Ask a gateway to open ports by PCP or NAT-PMP, over one UDP socket. Used by `portmaps`.

The socket is connected, so the kernel drops what others send. Questions are repeated sooner than the RFCs have it (they
begin with 3 s and end after half an hour): whoever does not answer within two seconds is asked again later.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from agent.nearby import pcp
from agent.nearby.lines import Gateway
from agent.nearby.pcp import Granted, Refused

WAITS: Final = (0.25, 0.5, 1.0)
"""Seconds before a question is repeated, and at last given up."""
_QUEUED: Final = 32

T = TypeVar("T")


class NotGranted(Exception):
    """No port was opened; the message says why, as the end of a sentence about the router."""


class NoAnswer(NotGranted):
    """Nobody is there who understands."""

    def __init__(self) -> None:
        super().__init__("it does not answer")


class OtherVersion(NotGranted):
    """Somebody is there who speaks another version."""


class PcpMapper:
    """One PCP mapping for each protocol; a nonce of its own, by which alone it can be changed (section 11.2)."""

    name: Final = "PCP"

    def __init__(self, gateway: Gateway, local: str) -> None:
        self._gateway, self._local = gateway, local
        self._nonce = os.urandom(pcp.NONCE_SIZE)

    async def open(self, protocol: int, port: int, external: tuple[str, int], lifetime: int) -> Granted:
        """Open or renew a port; with a lifetime of 0 close it. NotGranted."""
        request = pcp.pcp_map_request(self._local, self._nonce, protocol, port, external, lifetime)
        async with _asking(self._gateway) as ask:
            return _granted(await ask(request, lambda data: pcp.read_pcp_map(data, self._nonce, protocol, port)))


class NatPmpMapper:
    """One NAT-PMP mapping for each protocol."""

    name: Final = "NAT-PMP"

    def __init__(self, gateway: Gateway, _local: str) -> None:
        self._gateway = gateway

    async def open(self, protocol: int, port: int, external: tuple[str, int], lifetime: int) -> Granted:
        """Open or renew a port; with a lifetime of 0 close it. NotGranted."""
        request = pcp.natpmp_map_request(protocol, port, external[1] if lifetime else 0, lifetime)
        async with _asking(self._gateway) as ask:
            got = _granted(await ask(request, lambda data: pcp.read_natpmp_map(data, protocol, port)))
            if not lifetime:
                return got
            seen: str | Refused = await ask(pcp.natpmp_address_request(), pcp.read_natpmp_address)
            if isinstance(seen, Refused):
                raise NotGranted(seen.reason)
            return Granted(seen, got.port, got.lifetime)


def _granted(answer: Granted | Refused) -> Granted:
    if isinstance(answer, Granted):
        return answer
    raise OtherVersion(answer.reason) if answer.other_version else NotGranted(answer.reason)


class _Answers(asyncio.DatagramProtocol):
    """Keeps a few datagrams, or the error that the kernel had instead."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | OSError] = asyncio.Queue(_QUEUED)

    def datagram_received(self, data: bytes, addr: object) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self.queue.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            with contextlib.suppress(asyncio.QueueFull):
                self.queue.put_nowait(exc)


class _Asking:
    """A way to put questions to one gateway."""

    def __init__(self, transport: asyncio.DatagramTransport, answers: _Answers) -> None:
        self._transport, self._queue = transport, answers.queue

    async def __call__(self, request: bytes, read: Callable[[bytes], T | None]) -> T:
        """Ask until `read` makes something of an answer; NoAnswer."""
        for wait in WAITS:
            self._transport.sendto(request)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    return await self._first(read)
        raise NoAnswer

    async def _first(self, read: Callable[[bytes], T | None]) -> T:
        while True:
            data = await self._queue.get()
            if isinstance(data, OSError):  # nobody listens there (ICMP)
                raise NoAnswer
            if (answer := read(data)) is not None:
                return answer


@contextlib.asynccontextmanager
async def _asking(gateway: Gateway) -> AsyncIterator[_Asking]:
    loop = asyncio.get_running_loop()
    try:
        transport, answers = await loop.create_datagram_endpoint(_Answers, remote_addr=(gateway.host, gateway.pcp_port))
    except OSError:
        raise NoAnswer from None
    try:
        yield _Asking(transport, answers)
    finally:
        transport.close()
