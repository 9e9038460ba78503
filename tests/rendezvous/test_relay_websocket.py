"""The relay over a WebSocket, at the real program: of one process and of several, beside UDP, and against those who
mean no good.
"""

import base64
import itertools
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import websocket

from rendezvous.contract import relay
from rendezvous.contract.ticket import Ticket
from rendezvous.relay_check import WebSocketLine, ask, bind
from tests.bench.support.crowd import frame
from tests.rendezvous.test_relay_sockets import side, tickets
from tests.support.live_rendezvous import PATIENCE, Rendezvous, running
from tests.support.relayed import sign

TURNS = itertools.count()


@pytest.fixture(scope="module", params=[(), ("--processes", "2")], ids=["one", "workers"])
def rendezvous(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendezvous]:
    with running(tmp_path_factory.mktemp("data"), *request.param) as rendezvous:
        yield rendezvous


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rendezvous]:
    with running(tmp_path_factory.mktemp("data"), "--relay-rate", "1G") as rendezvous:
        yield rendezvous


def line(rendezvous: Rendezvous) -> WebSocketLine:
    return WebSocketLine(rendezvous.url, PATIENCE)


def address(rendezvous: Rendezvous) -> str:
    return f"ws://127.0.0.1:{rendezvous.port}/relay"


def data(bound: relay.Bound, inner: bytes) -> bytes:
    return relay.Data(bound.binding, inner).encode()


def until(one: Any, wanted: bytes) -> None:
    """Receive until this comes."""
    while one.recv(2048) != wanted:
        pass


def test_two_sides_reach_each_other_over_websockets(rendezvous: Rendezvous) -> None:
    lines = [line(rendezvous), line(rendezvous)]
    mine, theirs = (bind(one, *made) for one, made in zip(lines, tickets(rendezvous), strict=True))
    many = [number.to_bytes(2, "big") * 600 for number in range(40)]
    lines[0].send(*(data(mine, inner) for inner in many))
    assert [lines[1].recv() for _ in many] == [data(theirs, inner) for inner in many]
    lines[1].send(data(theirs, b"back"))
    until(lines[0], data(mine, b"back"))
    for one in lines:
        one.close()


def test_one_side_is_at_a_websocket_and_the_other_at_udp_and_each_may_go_to_the_other(rendezvous: Rendezvous) -> None:
    first, second = tickets(rendezvous)
    over = line(rendezvous)
    with side(rendezvous) as below, side(rendezvous) as moved:
        mine, theirs = bind(over, *first), bind(below, *second)
        over.send(data(mine, b"there"))
        until(below, data(theirs, b"there"))
        below.send(data(theirs, b"and back"))
        until(over, data(mine, b"and back"))
        again = bind(moved, *first)
        below.send(data(theirs, b"at udp now"))
        until(moved, data(again, b"at udp now"))
        assert bind(over, *first).binding == again.binding
        below.send(data(theirs, b"at the websocket again"))
        until(over, data(mine, b"at the websocket again"))
    over.close()


def test_one_connection_carries_several_tickets(alone: Rendezvous) -> None:
    one = line(alone)
    first, second = tickets(alone), tickets(alone)
    with side(alone) as other:
        for mine, theirs in (first, second):
            bound, at = bind(one, *mine), bind(other, *theirs)
            other.send(data(at, b"for " + bound.binding))
            until(one, data(bound, b"for " + bound.binding))
    one.close()


def test_what_is_not_of_a_ticket_of_ours_ends_the_connection_and_is_told_why(alone: Rendezvous) -> None:
    (ticket, _), _ = tickets(alone)
    forged = sign(Ticket(ticket.id, ticket.side, ticket.asker, ticket.other, ticket.relay, ticket.expires, 1 << 60))
    for wrong, said in (
        (relay.Bind(b"transact", forged).encode(), relay.Refusal.BAD_PROOF),
        (relay.Data(b"bindings", b"inner").encode(), None),
        (b"\x00\x01 this is STUN's", None),
    ):
        opened = websocket.create_connection(address(alone), timeout=PATIENCE, suppress_origin=True)
        opened.send_binary(relay.join([wrong]))
        if said is not None:
            assert relay.split(opened.recv_data()[1]) == [relay.Refused(b"transact", said).encode()]
        assert ended(opened) == 1008


def ended(opened: Any) -> int:
    """Return the code with which a WebSocket is closed."""
    while True:
        opcode, content = opened.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return int.from_bytes(content[:2], "big")


def begun(rendezvous: Rendezvous) -> tuple[Any, relay.Bound]:
    """Return a WebSocket with a binding."""
    one = line(rendezvous)
    bound = bind(one, *tickets(rendezvous)[0])
    return one._socket, bound


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(b"\x00\x05shor", 2), 1007),
        (frame(b"", 2), 1007),
        (frame(b"a text", 1), 1003),
        (frame(b"\xff\xfe", 1), 1007),
        (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"mask" + bytes(66_000), 1009),
        (frame(bytes(30_000), 2).replace(b"\x82", b"\x02", 1) + frame(bytes(40_000), 0), 1009),
        (b"\x82\x01a", 1002),  # not masked
        (b"\xf2\x81maska", 1002),  # reserved bits
        (frame(b"x", 0), 1002),  # nothing to be continued
        (frame(bytes(2), 8), 1002),
    ],
)
def test_what_is_no_message_ends_that_connection_alone(alone: Rendezvous, bad: bytes, code: int) -> None:
    opened, _ = begun(alone)
    opened.sock.sendall(bad)
    assert ended(opened) == code
    again, bound = begun(alone)
    alive = relay.Keepalive(bound.binding, b"echoecho").encode()
    again.send_binary(relay.join([alive]))
    assert relay.split(bytes(again.recv()))[0][:1] == b"\xef"
    again.close()


def test_frames_byte_by_byte_and_in_pieces_are_understood_and_pings_answered(alone: Rendezvous) -> None:
    opened, bound = begun(alone)
    alive = relay.join([relay.Keepalive(bound.binding, b"echoecho").encode()])
    for byte in frame(alive, 2):
        opened.sock.sendall(bytes([byte]))
    assert relay.split(bytes(opened.recv()))[0][:17] == b"\xef" + bound.binding + b"echoecho"
    opened.sock.sendall(frame(alive[:9], 2).replace(b"\x82", b"\x02", 1) + frame(b"hello", 9) + frame(alive[9:], 0))
    opcodes = {opened.recv_data(control_frame=True)[0] for _ in range(2)}
    assert opcodes == {websocket.ABNF.OPCODE_PONG, websocket.ABNF.OPCODE_BINARY}
    opened.close()


def test_somebody_who_reads_nothing_loses_packets_and_holds_up_nobody(alone: Rendezvous) -> None:
    deaf = line(alone)
    mine, theirs = tickets(alone)
    with side(alone) as sender:
        bind(deaf, *mine)
        at = bind(sender, *theirs)
        others, bound = begun(alone)
        for _ in range(40):
            for _ in range(200):
                sender.send(data(at, bytes(1200)))
            others.send_binary(relay.join([relay.Keepalive(bound.binding, b"echoecho").encode()]))
            assert others.recv()
        alive = ask(sender, relay.Keepalive(at.binding, b"echoecho").encode(), relay.Alive)
        assert alive.left < at.left
    deaf.close()
    others.close()


def upgrade(rendezvous: Rendezvous, **changes: str) -> requests.Response:
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return requests.get(f"{rendezvous.url}/relay", headers=headers, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"Upgrade": "no"}, 426, "upgrade_required"),
        ({"Origin": "https://evil.test"}, 403, "forbidden"),
        ({"Origin": "null"}, 403, "forbidden"),
        ({"Sec_WebSocket_Version": "8"}, 400, "bad_request"),
        ({"Sec_WebSocket_Key": "short"}, 400, "bad_request"),
        ({"Sec_WebSocket_Key": ""}, 400, "bad_request"),
    ],
)
def test_who_may_not_open_one_is_told_so_in_json(
    alone: Rendezvous, changes: dict[str, str], status: int, code: str
) -> None:
    answer = upgrade(alone, **changes)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"].endswith(".")


def test_our_own_origin_may(alone: Rendezvous) -> None:
    websocket.create_connection(address(alone), timeout=PATIENCE, origin=alone.url).close()


def test_how_often_an_address_may_come_is_limited_as_for_live_connections(tmp_path: Any) -> None:
    with running(tmp_path, "--limit", "connect=3/hour") as rendezvous:
        # one or two were opened by the rendezvous itself, to see whether its relay works
        statuses = set()
        for _ in range(4):
            try:
                websocket.create_connection(address(rendezvous), timeout=PATIENCE, suppress_origin=True).close()
            except websocket.WebSocketBadStatusException as refused:
                statuses.add(refused.status_code)
        assert statuses == {429}


def test_a_relay_that_stops_sends_its_agents_away(tmp_path: Any) -> None:
    with running(tmp_path) as rendezvous:
        opened, _ = begun(rendezvous)
        rendezvous.process.terminate()
        assert ended(opened) == 1001
    assert isinstance(opened.sock, socket.socket | None)
