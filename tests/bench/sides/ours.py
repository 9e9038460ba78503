"""One side of a transfer through the real node: `python -m tests.bench.sides.ours ROLE …`.

The node and the core are the agent's own; files are real. Pictures are announced as what they are not, JPEGs of one
pixel, for the core does not look into them: decoding is the agent's, and no part of a transfer.
"""

import hashlib
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # eventlet announces its age at every start
    import eventlet
    from eventlet import hubs

from agent.node import Node
from agent.protocol.book import ImageGift, QuoteGift
from agent.protocol.card import own_card
from agent.protocol.endpoint import Endpoint
from agent.protocol.events import ImageAccepted, ImageArrived, QuoteAccepted, QuoteArrived, RequestChanged, RequestMade
from agent.protocol.front import Front
from agent.protocol.request import Kind, Phase
from agent.protocol.transfer import CHUNK, Image
from tests.bench.sides.talk import arguments, cpu, say
from tests.support.handshakes import ALICE, BOB

SO_NO_CHECK = 11  # asm-generic/socket.h


class File:
    """A file of a fixed size, read and written as the agent's own are; with `size`, made anew."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        flags = os.O_RDONLY if size is None else os.O_RDWR | os.O_CREAT | os.O_TRUNC
        self._fd = os.open(path, flags, 0o600)
        if size is not None:
            os.ftruncate(self._fd, size)

    def read_into(self, views: Sequence[memoryview], offset: int) -> None:
        """Fill all views from `offset` on."""
        assert os.preadv(self._fd, views, offset) == sum(map(len, views))

    def write_from(self, views: Sequence[memoryview], offset: int) -> None:
        """Write all views from `offset` on."""
        assert os.pwritev(self._fd, views, offset) == sum(map(len, views))

    def mark_verified(self, index: int) -> None:
        """Note a verified chunk: of no use here, where nothing is resumed."""

    def close(self) -> None:
        """Give the file back to the system."""
        os.close(self._fd)


def gift_of(path: Path) -> ImageGift:
    """Announce a file as if it were a picture."""
    data = path.read_bytes()
    digests = b"".join(hashlib.sha256(data[at : at + CHUNK]).digest() for at in range(0, len(data), CHUNK))
    hashes = hashlib.sha256(data).digest(), hashlib.sha256(digests).digest()
    return ImageGift(Image(len(data), "JPEG", 1, 1, *hashes, b""), File(path), digests)


class Side:
    """A node on its core; both people are connected already, so each may ask the other."""

    def __init__(self, role: str, host: str, buffer: int, batches: bool) -> None:
        me, name, other = (BOB, "bob", ALICE) if role == "giver" else (ALICE, "alice", BOB)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((host, 0))
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.udp.setsockopt(socket.SOL_SOCKET, option, buffer)
        self.core = Endpoint(me, name, 1, os.urandom, [other.key])
        front = Front(self.core, os.urandom)
        self.node = Node(front, self.udp, lambda event: self.on_event(event), batches=batches)
        self.on_event: Callable[[Any], None] = lambda event: None


def give(side: Side, path: Path) -> None:
    """Say yes to whatever is asked; for each line, say what was used and when the last transfer began."""
    gift = gift_of(path)
    began = 0.0

    def on_event(event: Any) -> None:
        nonlocal began
        match event:
            case RequestMade(id, kind):
                answer = gift if kind is Kind.IMAGE else QuoteGift("ready", "bob", "")
                side.core.answer(id, True, answer, "", side.node.now())
            case RequestChanged(_, Phase.TRANSFERRING):
                began = time.monotonic()

    side.on_event = on_event
    side.node.start()
    say(port=side.udp.getsockname()[1])
    while next_line():
        say(cpu=cpu(), began=began)


def take(side: Side, folder: Path, address: tuple[str, int]) -> None:
    """Open a session; for each line, fetch the picture once."""
    peer = own_card(BOB, "bob")
    done = eventlet.queue.Queue()
    sinks: list[File] = []
    side.core.meet(BOB.key, [address])

    def on_event(event: Any) -> None:
        now = side.node.now()
        match event:
            case QuoteAccepted(id):
                side.core.quote_inside(id, now)
            case QuoteArrived(id):
                side.core.quote_arrived(id, now)
            case ImageAccepted(id, _, image):
                sinks.append(File(folder / "taken", image.size))
                side.core.fetch_image(id, sinks[-1], (), now)
            case ImageArrived(id):
                side.core.image_kept(id, now)
            case RequestChanged(_, phase, reason) if phase.final:
                done.put((phase, reason))

    def ask(kind: Kind) -> tuple[float, float]:
        asked = time.monotonic()
        side.core.ask(os.urandom(16), kind, peer, 300, "", side.node.now())
        side.node.wake()
        phase, reason = done.get()
        if phase is not Phase.DONE:
            sys.exit(f"The transfer ended: {phase.value}. {reason}")
        return asked, time.monotonic()

    side.on_event = on_event
    side.node.start()
    ask(Kind.QUOTE)  # the session is open from now on
    say(ready=True)
    while next_line():
        before = cpu()
        asked, arrived = ask(Kind.IMAGE)
        say(asked=asked, arrived=arrived, cpu=cpu() - before)
        sinks.pop().close()
        (folder / "taken").unlink()


def next_line() -> str:
    """Return the next line of stdin without stopping the loop; empty at its end."""
    hubs.trampoline(sys.stdin.fileno(), read=True)
    return sys.stdin.readline()


def main() -> None:
    """Be one side until stdin ends."""
    parser = arguments(__doc__)
    parser.add_argument("--buffer", type=int, default=4 << 20, help="bytes of both socket buffers")
    parser.add_argument("--one-by-one", action="store_true", help="without UDP_SEGMENT and UDP_GRO")
    parser.add_argument(
        "--no-checksum", action="store_true", help="which makes UDP_SEGMENT fail once it is used (Linux)"
    )
    given = parser.parse_args()
    side = Side(given.role, given.host if given.role == "giver" else "", given.buffer, not given.one_by_one)
    if given.no_checksum:
        side.udp.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    if given.role == "giver":
        give(side, given.path)
    else:
        take(side, given.path, (given.host, given.port))


if __name__ == "__main__":
    main()
