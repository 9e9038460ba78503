"""Live connections as the rendezvous keeps them, on real sockets: pings, slow readers, bad frames, many who leave."""

import itertools
import socket
import threading
from collections.abc import Iterator

import pytest

from rendezvous.batches import MOST, Batches
from tests.bench.support.crowd import Crowd, frame
from tests.support.live_agent import sign_up
from tests.support.live_rendezvous import PATIENCE, Heard, Rendezvous, Someone, running

numbers = itertools.count(1)
UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@pytest.fixture(scope="module")
def rendezvous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendezvous]:
    with running(tmp_path_factory.mktemp("data"), "--limit", "all=off") as rendezvous:
        yield rendezvous


def crowd_of(rendezvous: Rendezvous, names: list[str]) -> Crowd:
    crowd = Crowd([rendezvous.port])
    people = [(next(numbers), name) for name in names]
    crowd.attach([(one, name, sign_up(rendezvous, Someone(one), name)) for one, name in people], PATIENCE)
    return crowd


def upgraded(rendezvous: Rendezvous, headers: bytes = b"") -> tuple[socket.socket, bytes]:
    """Open a live connection; return it and what the server said up to its first frame."""
    opened = socket.create_connection(("127.0.0.1", rendezvous.port), PATIENCE)
    opened.sendall(UPGRADE + headers + b"\r\n")
    said = b""
    while b'"sid"' not in said:
        said += opened.recv(65536)
    return opened, said


def say_for_ever(opened: socket.socket, words: bytes) -> None:
    while True:
        opened.sendall(words)


def until_closed(opened: socket.socket) -> None:
    with opened:
        while opened.recv(65536):
            pass


def test_frames_in_pieces_and_many_at_once_are_all_answered(rendezvous: Rendezvous) -> None:
    crowd = crowd_of(rendezvous, ["piecemeal"])
    (agent,) = crowd.agents
    beat = frame(b'421["heartbeat",{}]')
    for byte in beat:
        agent.socket.send(bytes([byte]))
        crowd.run(0.0)
    agent.socket.send(beat * 20)
    crowd.run(PATIENCE, lambda: len(crowd.beat_seconds) == 21)
    assert len(crowd.beat_seconds) == 21
    crowd.close()


def test_a_connection_is_never_compressed_even_where_it_is_offered(rendezvous: Rendezvous) -> None:
    opened, said = upgraded(rendezvous, b"Sec-WebSocket-Extensions: permessage-deflate\r\n")
    assert b"deflate" not in said
    opened.close()


@pytest.mark.parametrize(
    "bad",
    [
        b"\xff\xff\xff\xff",
        frame(b"9nonsense"),
        frame(b"42not json"),
        b"\x81\xff" + (1 << 40).to_bytes(8, "big"),
        b"\x81\x01a",  # not masked
        frame(b"", opcode=8),
    ],
)
def test_what_is_no_message_ends_that_connection_alone(rendezvous: Rendezvous, bad: bytes) -> None:
    crowd = crowd_of(rendezvous, [f"bystander {next(numbers)}"])
    opened, _ = upgraded(rendezvous)
    opened.sendall(bad)
    opened.shutdown(socket.SHUT_WR)
    until_closed(opened)
    crowd.beat(crowd.agents[0])
    crowd.run(PATIENCE, lambda: len(crowd.beat_seconds) == 1)
    assert len(crowd.beat_seconds) == 1
    crowd.close()


def test_somebody_who_reads_nothing_is_cut_off_and_holds_up_nobody(rendezvous: Rendezvous) -> None:
    crowd = crowd_of(rendezvous, ["reader", "deaf"])
    reader, deaf = crowd.agents
    crowd._selector.unregister(deaf.socket)
    question = frame(
        b'422["watch",{"names":' + str([f"{'x' * 90}{n}" for n in range(9)]).replace("'", '"').encode() + b"}]"
    )
    deaf.socket.setblocking(True)
    deaf.socket.settimeout(PATIENCE)
    with pytest.raises(OSError, match=r"."):
        say_for_ever(deaf.socket, question)
    crowd.beat(reader)
    crowd.run(PATIENCE, lambda: bool(crowd.beat_seconds))
    assert len(crowd.beat_seconds) == 1
    crowd.close()


def test_of_many_who_leave_at_once_every_watcher_hears(rendezvous: Rendezvous) -> None:
    names = [f"leaver {number}" for number in range(40)]
    crowd = crowd_of(rendezvous, ["stayer", *names])
    crowd.watch(lambda number: names if number == crowd.agents[0].number else [], PATIENCE)
    for agent in crowd.agents[1:]:
        crowd.leave(agent)
    crowd.run(PATIENCE, lambda: {told["username"] for _, _, told in crowd.told if not told["online"]} >= set(names))
    assert {told["username"] for _, _, told in crowd.told if not told["online"]} >= set(names)
    crowd.close()


def test_things_are_done_in_order_each_once_and_in_batches_that_end() -> None:
    done = Heard[list[int]]()
    batches = Batches[int](done)
    for number in [*range(2 * MOST), 0, 1, 2]:
        batches.add(number)
    threading.Thread(target=batches.run, daemon=True).start()
    assert done.until(lambda _: True) == list(range(MOST))
    assert done.until(lambda _: True) == list(range(MOST, 2 * MOST))
    batches.add(7)
    assert done.until(lambda _: True) == [7]
