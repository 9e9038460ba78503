"""One side of a transfer over TCP, plain or in TLS 1.3: `python -m tests.bench.sides.tcp ROLE …`.

As fast as sockets and `ssl` of the standard library go, one thread on each side. A byte from the taker asks for the
file; its size, its SHA-256 (computed beforehand, as a library has it) and its bytes answer.
"""

import hashlib
import socket
import ssl
import struct
import sys
import threading
import time
from pathlib import Path

from tests.bench.sides.talk import BLOCK, arguments, cpu, say

CIPHER = "TLS_AES_256_GCM_SHA384"
ASK = b"?"
ANNOUNCEMENT = struct.Struct(">Q32s")


class Giver:
    """Gives one file to one taker, as often as it asks."""

    def __init__(self, path: Path) -> None:
        self.began = 0.0
        self._path = path
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        self._announcement = ANNOUNCEMENT.pack(path.stat().st_size, digest)

    def serve(self, connection: socket.socket) -> None:
        """Answer until the taker leaves."""
        block = memoryview(bytearray(BLOCK))
        while connection.recv(1):
            self.began = time.monotonic()
            connection.sendall(self._announcement)
            with self._path.open("rb", buffering=0) as file:
                while read := file.readinto(block):
                    connection.sendall(block[:read])


def give(listener: socket.socket, path: Path, tls: ssl.SSLContext | None) -> None:
    """Serve one taker in a thread; for each line, say what was used and when the last transfer began."""
    giver = Giver(path)

    def serve() -> None:
        accepted, _ = listener.accept()
        giver.serve(tls.wrap_socket(accepted, server_side=True) if tls else accepted)

    threading.Thread(target=serve, daemon=True).start()
    say(port=listener.getsockname()[1])
    while sys.stdin.readline():
        say(cpu=cpu(), began=giver.began)


def receive_exactly(connection: socket.socket, view: memoryview) -> None:
    """Fill `view`."""
    while view:
        count = connection.recv_into(view)
        if not count:
            sys.exit("The giver has left.")
        view = view[count:]


def take(connection: socket.socket, folder: Path) -> None:
    """Fetch the file once for each line."""
    say(ready=True)
    path = folder / "taken"
    block = memoryview(bytearray(BLOCK))
    while sys.stdin.readline():
        before, asked = cpu(), time.monotonic()
        connection.sendall(ASK)
        receive_exactly(connection, block[: ANNOUNCEMENT.size])
        left, expected = ANNOUNCEMENT.unpack_from(block)
        digest = hashlib.sha256()
        with path.open("wb", buffering=0) as file:
            while left:
                piece = block[: min(left, BLOCK)]
                receive_exactly(connection, piece)
                digest.update(piece)
                file.write(piece)
                left -= len(piece)
        if digest.digest() != expected:
            sys.exit("The file arrived changed.")
        say(asked=asked, arrived=time.monotonic(), cpu=cpu() - before)
        path.unlink()


def main() -> None:
    """Be one side until stdin ends."""
    parser = arguments(__doc__)
    parser.add_argument("--tls", type=Path, metavar="FOLDER", help="with the certificate of this folder")
    parser.add_argument("--congestion", help="the congestion control, by the kernel's name for it")
    given = parser.parse_args()
    connection = socket.socket()
    if given.congestion:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, given.congestion.encode())
    if given.role == "giver":
        tls = None
        if given.tls:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(given.tls / "certificate.pem", given.tls / "key.pem")
        connection.bind((given.host, 0))
        connection.listen(1)
        give(connection, given.path, tls)
        return
    connection.connect((given.host, given.port))
    if given.tls:
        tls = ssl.create_default_context(cafile=str(given.tls / "certificate.pem"))
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        connection = tls.wrap_socket(connection, server_hostname="localhost")
        agreed = connection.cipher()
        if agreed is None or agreed[0] != CIPHER:
            sys.exit(f"TLS agreed on {agreed}, not on {CIPHER}.")
    take(connection, given.path)


if __name__ == "__main__":
    main()
