"""How fast the relay forwards: packets and bytes a second through one process on loopback, beside a process that does
nothing but receive and send.

Each is flooded for a while by one sender with a receiver beside it; rounds alternate. What counts is what arrives. The
relay checks binding, address and five budgets for each packet, and its budgets are lifted out of the way.
"""

import argparse
import multiprocessing
import secrets
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Final

from rendezvous import udp
from rendezvous.contract import relay
from rendezvous.contract.ticket import Side, Ticket
from rendezvous.relay import Relay
from rendezvous.relay_budget import Rules
from rendezvous.relay_check import bind
from rendezvous.relay_socket import RelaySockets
from tests.bench.support.contest import BenchError
from tests.bench.support.report import Report, machine, parser, progress, ratio, run
from tests.support.relayed import HERE, SERVER_KEY, person, secret_of, sign

LEAST: Final = 0.15
LEAST_IN_BATCHES: Final = 1.5
BATCH: Final = 32
_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
INNER: Final = 1200
FREE: Final = replace(
    Rules(), ticket_rate=1e12, ticket_burst=1e12, person_rate=1e12, person_burst=1e12, person_bytes=1e15
)


def relayed(told: Connection) -> None:
    """Run the relay and tell its port."""
    (sock,) = udp.bind("127.0.0.1", 0)
    made = RelaySockets(Relay(HERE, SERVER_KEY, secret_of, secrets.token_bytes, FREE), [sock])
    told.send(sock.getsockname()[1])
    udp.serve(sock, None, lambda *_: None, made.take)


def bare(told: Connection) -> None:
    """Send what comes to whoever spoke first, and tell the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        told.send(sock.getsockname()[1])
        _, receiver = sock.recvfrom(2048)
        while True:
            sock.sendto(sock.recvfrom(2048)[0], receiver)


@contextmanager
def process(main: Callable[[Connection], None]) -> Iterator[int]:
    """Run one forwarder and yield its port."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    forwarder = context.Process(target=main, args=(theirs,), daemon=True)
    forwarder.start()
    try:
        if not ours.poll(20):
            raise BenchError("A forwarder does not start.")
        yield ours.recv()
    finally:
        forwarder.terminate()
        forwarder.join()


def flood(sender: socket.socket, receiver: socket.socket, datagram: bytes, seconds: float, batch: int = 1) -> float:
    """Send with a window of 64 packets, so that nothing is sent in vain; return packets a second that arrived. A batch
    leaves in one call, as an agent's does.
    """
    sent = arrived = 0
    size = len(datagram)
    segments = [(_UDP, _UDP_SEGMENT, struct.pack("=H", size))] if batch > 1 else []
    began = time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        while sent - arrived < 64:
            sender.sendmsg([datagram * batch], segments)
            sent += batch
        if not select.select([receiver], [], [], 0.2)[0]:
            sent = arrived  # some were lost
        try:
            while True:
                arrived += len(receiver.recv(65536)) // size
        except BlockingIOError:
            pass
    return arrived / (now - began)


def ends(port: int) -> tuple[socket.socket, socket.socket]:
    """Return a sender and a receiver, connected."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for sock in made:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(5.0)
    return made


def through_relay(port: int, seconds: float, batch: int = 1) -> float:
    """Bind both sides of a ticket and flood."""
    id, expires = secrets.token_bytes(16), int(time.time()) + 3600
    sender, receiver = ends(port)
    with sender, receiver:
        ids = []
        for sock, side in zip((receiver, sender), Side, strict=True):
            ticket = sign(Ticket(id, side, person(1), person(2), HERE, expires, 1 << 50))
            ids.append(bind(sock, ticket, secret_of(ticket)).binding)
        receiver.setblocking(False)
        if batch > 1:
            receiver.setsockopt(_UDP, _UDP_GRO, 1)
        return flood(sender, receiver, relay.Data(ids[1], bytes(INNER)).encode(), seconds, batch)


def through_bare(port: int, seconds: float, ready: list[tuple[socket.socket, socket.socket]]) -> float:
    """Flood; the first word says who receives."""
    if not ready:
        ready.append(ends(port))
        ready[0][1].send(b"I receive")
        ready[0][1].setblocking(False)
    sender, receiver = ready[0]
    return flood(sender, receiver, bytes(INNER + relay.HEADER_SIZE), seconds)


def measure(given: argparse.Namespace) -> Report:
    """Run the rounds."""
    if given.rounds < 1 or given.seconds <= 0:
        raise BenchError("There must be at least one round, and some time for it.")
    report = Report("relay", {"rounds": given.rounds, "seconds": given.seconds, "inner": INNER, **machine()})
    ready: list[tuple[socket.socket, socket.socket]] = []
    with process(relayed) as ours, process(bare) as theirs:
        for round in range(1, given.rounds + 1):
            progress(f"round {round}")
            for name, rate in (
                ("relay", through_relay(ours, given.seconds)),
                ("relay, in batches", through_relay(ours, given.seconds, BATCH)),
                ("bare forwarder", through_bare(theirs, given.seconds, ready)),
            ):
                report.add(name, round, rate, "packets/s")
                report.add(name, round, rate * INNER / 1e6, "MB/s")
    for sock in (sock for pair in ready for sock in pair):
        sock.close()
    found = ratio(report.values("relay", "packets/s"), report.values("bare forwarder", "packets/s"))
    report.judge("relay / bare forwarder", found, least=LEAST)
    found = ratio(report.values("relay, in batches", "packets/s"), report.values("bare forwarder", "packets/s"))
    report.judge("relay, in batches as agents send / bare forwarder", found, least=LEAST_IN_BATCHES)
    return report


def main() -> int:
    """Read the flags and measure."""
    flags = parser(__doc__)
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--seconds", type=float, default=2.0, help="of each round and forwarder")
    return run(measure, flags.parse_args())


if __name__ == "__main__":
    sys.exit(main())
