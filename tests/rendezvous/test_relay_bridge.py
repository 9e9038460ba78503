"""Where the datagrams of an agent go that come over a WebSocket: by its tickets alone; all without a socket."""

from dataclasses import replace

import pytest

from rendezvous.contract import relay
from rendezvous.contract.relay import Refusal
from rendezvous.contract.ticket import Ticket
from rendezvous.relay_bridge import BACK, BINDS, MOST_RELAYS, MOST_TICKETS, Bridge, Passed
from tests.support.relayed import HERE, SERVER_KEY, START, Bench, person


def bind(ticket: Ticket) -> bytes:
    return relay.Bind(b"transact", ticket).encode()


def bound(binding: bytes) -> bytes:
    return relay.Bound(b"transact", binding, 1000, 60, True).encode()


def refused(code: Refusal) -> Passed:
    return Passed(BACK, relay.Refused(b"transact", code).encode())


def test_what_belongs_to_a_ticket_goes_to_the_relay_that_it_names() -> None:
    bench, bridge = Bench(), Bridge(SERVER_KEY, START)
    far = bench.tickets(place="far.example:3478")[1]
    for ticket in (*bench.tickets(), far):
        assert bridge.take(bind(ticket), START) == Passed(ticket.relay, bind(ticket))
        proof = relay.Proof(b"transact", bytes(24), bytes(32), ticket).encode()
        assert bridge.take(proof, START) == Passed(ticket.relay, proof)
    assert bridge.welcome
    bridge.heard(bound(b"binding1"), HERE)
    bridge.heard(bound(b"binding2"), far.relay)
    for binding, name in ((b"binding1", HERE), (b"binding2", far.relay)):
        for datagram in (relay.Data(binding, b"inner").encode(), relay.Keepalive(binding, b"echoecho").encode()):
            assert bridge.take(datagram, START) == Passed(name, datagram)


def test_what_has_no_ticket_of_ours_goes_nowhere() -> None:
    bench, bridge = Bench(), Bridge(SERVER_KEY, START)
    ticket = bench.tickets()[0]
    victim = replace(ticket, relay="127.0.0.1:22")
    assert bridge.take(bind(victim), START) == refused(Refusal.BAD_PROOF)
    assert bridge.take(bind(replace(ticket, other=person(66))), START) == refused(Refusal.BAD_PROOF)
    assert bridge.take(bind(bench.tickets(seconds=0)[0]), START) == refused(Refusal.EXPIRED)
    assert bridge.take(relay.Data(b"binding1", b"inner").encode(), START) is None
    assert bridge.take(bound(b"binding1"), START) is None
    assert not bridge.welcome


def test_a_ticket_that_was_good_is_not_good_for_ever() -> None:
    bench, bridge = Bench(), Bridge(SERVER_KEY, START)
    ticket = bench.tickets(seconds=10)[0]
    assert bridge.take(bind(ticket), START) == Passed(HERE, bind(ticket))
    assert bridge.take(bind(ticket), START + 10) == refused(Refusal.EXPIRED)


@pytest.mark.parametrize("datagram", [b"\x00", b"\xe8", b"\xe8\x01transact", b"\xed", b"\xee", b"\xef" + bytes(24)])
def test_what_is_no_datagram_of_an_agent_goes_nowhere(datagram: bytes) -> None:
    assert Bridge(SERVER_KEY, START).take(datagram, START) is None


def test_one_connection_has_so_many_relays_and_binds_so_often() -> None:
    bench, bridge = Bench(), Bridge(SERVER_KEY, START)
    relays = [bench.tickets(place=f"relay{number}.example:3478")[0] for number in range(MOST_RELAYS + 1)]
    *good, over = (bridge.take(bind(ticket), START) for ticket in relays)
    assert [passed and passed.to for passed in good] == [ticket.relay for ticket in relays[:-1]]
    assert over == refused(Refusal.TOO_MANY)
    again = bind(relays[0])
    assert sum(bridge.take(again, START) is not None for _ in range(200)) == BINDS - len(relays)
    assert bridge.take(again, START + 1) is not None


def test_what_one_connection_has_shown_is_bounded() -> None:
    bench, bridge = Bench(), Bridge(SERVER_KEY, START)
    for number in range(2 * MOST_TICKETS):
        now = START + number
        assert bridge.take(bind(bench.tickets()[0]), now) is not None
        bridge.heard(bound(number.to_bytes(8, "big")), HERE)
    assert len(bridge._tickets) == len(bridge._bindings) == MOST_TICKETS
    assert bridge.take(relay.Data(bytes(8), b"inner").encode(), START) is None


@pytest.mark.parametrize("bad", [b"", b"\x00", b"\x00\x00", b"\x00\x02x", b"\x00\x01x\x00", b"\xff\xff" + bytes(99)])
def test_a_message_holds_whole_datagrams(bad: bytes) -> None:
    with pytest.raises(ValueError, match="a message"):
        relay.split(bad)
    assert relay.split(relay.join([b"one", b"x" * 1461])) == [b"one", b"x" * 1461]


def test_an_address_that_has_bound_too_often_over_all_its_connections_is_not_passed_on() -> None:
    bench = Bench()
    ticket, may = bench.tickets()[0], [True]
    bridge = Bridge(SERVER_KEY, START, lambda: may[0])
    assert bridge.take(bind(ticket), START) is not None
    may[0] = False
    assert bridge.take(bind(ticket), START) is None
    bridge.heard(bound(b"binding1"), HERE)
    assert bridge.take(relay.Data(b"binding1", b"inner").encode(), START) is not None
