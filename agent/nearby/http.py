"""One HTTP exchange with a router that may be hostile: bounded in time and bytes, never led elsewhere.

Used by `upnp`.
"""

import asyncio
import contextlib
import http.client
import io
import socket
from typing import Final, cast
from urllib.parse import SplitResult, urljoin, urlsplit

LARGEST: Final = 128 * 1024
_SECONDS: Final = 3.0


def same_host(url: str, host: str, base: str = "") -> SplitResult:
    """Read a URL, relative to `base` where it is; ValueError unless it is plain HTTP and leads to that very host."""
    parts = urlsplit(urljoin(base, url))
    if parts.scheme != "http" or parts.hostname != host or parts.username is not None or not url.isprintable():
        raise ValueError("it points elsewhere")
    if not url.isascii() or " " in url or parts.port == 0:
        raise ValueError("it gives no address")
    return parts


async def exchange(url: SplitResult, headers: dict[str, str], body: bytes | None = None) -> tuple[int, bytes]:
    """Send a request; return the status and the body. OSError, ValueError for what is no answer or too much of one."""
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    lines = [f"{'GET' if body is None else 'POST'} {target} HTTP/1.1", f"Host: {url.netloc}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    request = "\r\n".join([*lines, "", ""]).encode("ascii") + (body or b"")
    try:
        return _read(await _whole(url.hostname or "", url.port or 80, request))
    except (http.client.HTTPException, TimeoutError) as problem:
        raise ValueError("it gives no answer that makes sense") from problem


async def _whole(host: str, port: int, request: bytes) -> bytes:
    """Return all that comes until the other side closes, or the time is over."""
    received = bytearray()
    async with asyncio.timeout(_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        with contextlib.suppress(TimeoutError):  # some do not close: what has come may be all
            async with asyncio.timeout(_SECONDS):
                while data := await reader.read(16384):
                    received += data
                    if len(received) > LARGEST:
                        raise ValueError("it says too much")
    finally:
        writer.transport.abort()
    return bytes(received)


class _Received:
    """Bytes in the place of a socket, for the standard library's parser."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def _read(data: bytes) -> tuple[int, bytes]:
    answer = http.client.HTTPResponse(cast(socket.socket, _Received(data)))
    answer.begin()
    return answer.status, answer.read(LARGEST)
