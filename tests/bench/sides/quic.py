"""One side of a transfer over QUIC by aioquic: `python -m tests.bench.sides.quic ROLE … --tls FOLDER`.

A stream for each round: a byte asks for the file; its SHA-256 and its bytes answer. Datagrams are as large as ours.
"""

import asyncio
import hashlib
import sys
import time
from pathlib import Path
from typing import Final

from aioquic.asyncio.client import connect
from aioquic.asyncio.server import QuicServer
from aioquic.quic.configuration import QuicConfiguration

from agent.protocol.packet import LARGEST_DATAGRAM
from tests.bench.sides.talk import BLOCK, arguments, cpu, say

ALPN: Final = ["tmge-bench"]
CREDIT: Final = 16 << 20  # bytes of flow control, so that it is no limit
IDLE: Final = 3600.0  # seconds: the others have their turns meanwhile


def configuration(is_client: bool) -> QuicConfiguration:
    """Return what both sides agree on."""
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=ALPN,
        idle_timeout=IDLE,
        max_data=CREDIT,
        max_stream_data=CREDIT,
        max_datagram_size=LARGEST_DATAGRAM,
    )


async def next_line() -> str:
    """Return the next line of stdin without stopping the loop; empty at its end."""
    return await asyncio.to_thread(sys.stdin.readline)


async def give(host: str, path: Path, tls: Path) -> None:
    """Answer every stream; for each line, say what was used and when the last transfer began."""
    began = 0.0
    digest = hashlib.sha256(path.read_bytes()).digest()
    tasks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal began
        await reader.readexactly(1)
        began = time.monotonic()
        writer.write(digest + path.read_bytes())
        writer.write_eof()

    def on_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    settings = configuration(is_client=False)
    settings.load_cert_chain(tls / "certificate.pem", tls / "key.pem")
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: QuicServer(configuration=settings, stream_handler=on_stream), local_addr=(host, 0)
    )
    say(port=transport.get_extra_info("sockname")[1])
    while await next_line():
        say(cpu=cpu(), began=began)


async def take(host: str, port: int, folder: Path, tls: Path) -> None:
    """Connect; fetch the file once for each line."""
    settings = configuration(is_client=True)
    settings.server_name = "localhost"
    settings.load_verify_locations(str(tls / "certificate.pem"))
    path = folder / "taken"
    async with connect(host, port, configuration=settings) as connection:
        say(ready=True)
        while await next_line():
            before, asked = cpu(), time.monotonic()
            reader, writer = await connection.create_stream()
            writer.write(b"?")
            writer.write_eof()
            expected = await reader.readexactly(hashlib.sha256().digest_size)
            digest = hashlib.sha256()
            with path.open("wb", buffering=0) as file:
                while piece := await reader.read(BLOCK):
                    digest.update(piece)
                    file.write(piece)
            if digest.digest() != expected:
                sys.exit("The file arrived changed.")
            say(asked=asked, arrived=time.monotonic(), cpu=cpu() - before)
            path.unlink()


def main() -> None:
    """Be one side until stdin ends."""
    parser = arguments(__doc__)
    parser.add_argument("--tls", type=Path, required=True, metavar="FOLDER", help="with the certificate of this folder")
    given = parser.parse_args()
    if given.role == "giver":
        asyncio.run(give(given.host, given.path, given.tls))
    else:
        asyncio.run(take(given.host, given.port, given.path, given.tls))


if __name__ == "__main__":
    main()
