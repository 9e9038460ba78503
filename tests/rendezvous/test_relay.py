"""The relay's rules: who is bound where, what is forwarded to whom, and how much; all without a socket."""

import gc
import random
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from rendezvous.contract import relay
from rendezvous.contract.relay import Refusal
from rendezvous.contract.ticket import Ticket
from rendezvous.relay import Place
from tests.support.relayed import START, Bench, person, said, secret_of, sign

ALICE, BOB = Place("192.0.2.1", 1111), Place("2001:db8::2", 2222, 0, 1)
ELSEWHERE, MALLORY = Place("192.0.2.9", 9999), Place("198.51.100.6", 6666)


def pair(bench: Bench, **about: Any) -> tuple[bytes, bytes]:
    """Bind both sides of a new ticket; return their bindings."""
    ids = []
    for ticket, place in zip(bench.tickets(**about), (ALICE, BOB), strict=True):
        found = bench.bind(ticket, place)
        assert isinstance(found, relay.Bound), found
        ids.append(found.binding)
    return ids[0], ids[1]


def data(binding: bytes, size: int = 100) -> bytes:
    return relay.Data(binding, b"x" * size).encode()


def test_both_sides_bind_and_reach_each_other_and_hear_when_the_other_came() -> None:
    bench = Bench()
    first, second = bench.tickets()
    alone = bench.bind(first, ALICE)
    assert isinstance(alone, relay.Bound)
    assert not alone.peer
    assert bench.send(data(alone.binding), ALICE) == []
    told = bench.send(bench.proof(second, BOB), BOB)
    assert {to for _, to in told} == {ALICE, BOB}
    both = {to: relay.decode(datagram) for datagram, to in told}
    mine, theirs = both[ALICE], both[BOB]
    assert isinstance(mine, relay.Bound)
    assert isinstance(theirs, relay.Bound)
    assert (mine.binding, mine.peer, theirs.peer) == (alone.binding, True, True)
    assert bench.send(data(mine.binding), ALICE) == [(data(theirs.binding), BOB)]
    assert bench.send(data(theirs.binding), BOB) == [(data(mine.binding), ALICE)]
    assert bench.relay.forwarded_bytes == 2 * len(data(mine.binding))


def test_an_expired_ticket_and_one_for_another_relay_are_refused_at_once_in_a_few_bytes() -> None:
    bench = Bench()
    for ticket, code in (
        (bench.tickets(seconds=0)[0], Refusal.EXPIRED),
        (bench.tickets(place="other.example:3478")[0], Refusal.WRONG_RELAY),
        (bench.tickets(place="")[0], Refusal.WRONG_RELAY),
    ):
        bind = relay.Bind(b"transact", ticket).encode()
        assert bench.send(bind, ALICE) == [(relay.Refused(b"transact", code).encode(), ALICE)]
    assert bench.relay.kept == 0


def test_without_a_ticket_there_is_no_answer() -> None:
    bench = Bench()
    ticket = bench.tickets()[0]
    for body in (b"", ticket.body(), ticket.encode()[:-1], ticket.encode() + b"x"):
        assert bench.send(b"\xe8\x01transact" + body, MALLORY) == []
    assert bench.relay.outcomes["malformed"] == 4


def changed(ticket: Ticket) -> list[Ticket]:
    """Return tickets that are not quite this one, under its signature."""
    return [
        replace(ticket, asker=person(66)),
        replace(ticket, other=person(66)),
        replace(ticket, budget=1 << 60),
        replace(ticket, expires=ticket.expires + 9999),
        replace(ticket, id=bytes(16)),
        replace(ticket, signature=bytes(64)),
    ]


def test_a_ticket_that_was_not_signed_as_it_is_is_refused_even_to_who_knows_its_secret() -> None:
    bench = Bench()
    ticket = bench.tickets()[0]
    for forged in changed(ticket):
        assert bench.bind(forged, MALLORY, secret_of(ticket)) is Refusal.BAD_PROOF
        assert bench.bind(forged, MALLORY) is Refusal.BAD_PROOF
    assert bench.relay.kept == 0


def test_a_second_ticket_under_the_same_id_does_not_join_the_first() -> None:
    bench = Bench()
    first, second = bench.tickets()
    assert isinstance(bench.bind(first, ALICE), relay.Bound)
    assert bench.bind(sign(replace(second, other=person(66))), MALLORY) is Refusal.BAD_PROOF
    assert isinstance(bench.bind(second, BOB), relay.Bound)


def test_the_ticket_of_somebody_else_is_worth_nothing_without_its_secret() -> None:
    bench = Bench()
    first, second = bench.tickets()
    assert bench.bind(first, MALLORY, bytes(32)) is Refusal.BAD_PROOF
    assert bench.bind(first, MALLORY, secret_of(second)) is Refusal.BAD_PROOF
    mine, _ = pair(bench)
    assert bench.bind(first, MALLORY, bytes(32)) is Refusal.BAD_PROOF
    assert bench.send(data(mine), ALICE)[0][1] == BOB


def test_a_second_binding_that_fails_the_challenge_is_refused_and_the_first_stays() -> None:
    bench = Bench()
    first, second = bench.tickets()
    mine, theirs = bench.bind(first, ALICE), bench.bind(second, BOB)
    assert isinstance(mine, relay.Bound)
    assert isinstance(theirs, relay.Bound)
    assert bench.bind(first, MALLORY, bytes(32)) is Refusal.BAD_PROOF
    assert bench.send(data(mine.binding), MALLORY) == []
    assert bench.send(data(theirs.binding), BOB) == [(data(mine.binding), ALICE)]


def test_rebinding_with_the_secret_moves_the_side_and_the_old_address_is_nobody() -> None:
    bench = Bench()
    first, second = bench.tickets()
    mine, theirs = bench.bind(first, ALICE), bench.bind(second, BOB)
    assert isinstance(mine, relay.Bound)
    assert isinstance(theirs, relay.Bound)
    bench.now += 1
    moved = bench.bind(first, ELSEWHERE)
    assert isinstance(moved, relay.Bound)
    assert len(bench.relay) == 2
    assert bench.send(data(mine.binding), ALICE) == []
    assert bench.send(data(theirs.binding), BOB) == [(data(moved.binding), ELSEWHERE)]
    assert bench.send(data(moved.binding), ELSEWHERE) == [(data(theirs.binding), BOB)]


def test_a_recorded_proof_moves_nothing_back_and_serves_no_other_address() -> None:
    bench = Bench()
    first, second = bench.tickets()
    recorded = bench.proof(first, ALICE)
    mine = said(bench.send(recorded, ALICE), ALICE)
    assert isinstance(mine, relay.Bound)
    assert said(bench.send(recorded, ALICE), ALICE) == mine  # its answer was lost, say
    assert said(bench.send(recorded, MALLORY), MALLORY) is Refusal.STALE
    bench.now += 1
    assert isinstance(bench.bind(first, ELSEWHERE), relay.Bound)
    assert said(bench.send(recorded, ALICE), ALICE) is Refusal.STALE
    theirs = bench.bind(second, BOB)
    assert isinstance(theirs, relay.Bound)
    assert bench.send(data(theirs.binding), BOB)[0][1] == ELSEWHERE


def test_a_challenge_ends_and_is_for_one_ticket_and_one_side() -> None:
    bench = Bench()
    first, second = bench.tickets()
    late = bench.proof(first, ALICE)
    bench.now += 11
    assert said(bench.send(late, ALICE), ALICE) is Refusal.STALE
    challenge = bench.challenge(first, ALICE)
    for ticket in (second, bench.tickets()[0]):
        proof = relay.Proof(b"transact", challenge, relay.proof_of(secret_of(ticket), challenge, ticket), ticket)
        assert said(bench.send(proof.encode(), ALICE), ALICE) is Refusal.STALE
    other = Bench()
    other._chance.seed(5)  # another process has another key
    other.relay._challenge_key = bytes(32)
    assert said(other.send(bench.proof(first, ALICE), ALICE), ALICE) is Refusal.STALE
    assert bench.relay.kept == other.relay.kept == 0


@pytest.mark.parametrize("changes", [{"host": "192.0.2.2"}, {"port": 1112}, {"scope": 1}, {"door": 1}, {"local": b"x"}])
def test_a_challenge_is_for_one_address_and_so_is_a_binding(changes: dict[str, int]) -> None:
    bench = Bench()
    ticket = bench.tickets()[0]
    place = ALICE._replace(**changes)  # type: ignore[arg-type]
    assert said(bench.send(bench.proof(ticket, ALICE), place), place) is Refusal.STALE
    mine, _ = pair(bench)
    keepalive = relay.Keepalive(mine, b"echoecho").encode()
    assert bench.send(data(mine), place) == bench.send(keepalive, place) == []
    assert bench.relay.outcomes["unbound"] == 2


def test_what_is_sent_goes_to_the_other_side_of_the_ticket_and_to_nobody_else() -> None:
    bench = Bench()
    mine, theirs = pair(bench)
    strangers = [
        bench.bind(ticket, place) for ticket, place in zip(bench.tickets(3, 4), (MALLORY, ELSEWHERE), strict=True)
    ]
    binding = strangers[0]
    assert isinstance(binding, relay.Bound)
    for stolen in (mine, theirs):  # somebody else's binding names no target
        assert bench.send(data(stolen), MALLORY) == []
    assert [to for _, to in bench.send(data(binding.binding), MALLORY)] == [ELSEWHERE]


def test_data_and_keepalives_of_no_binding_are_dropped_silently() -> None:
    bench = Bench()
    assert bench.send(data(b"nobody's"), MALLORY) == []
    assert bench.send(relay.Keepalive(b"nobody's", bytes(8)).encode(), MALLORY) == []
    assert bench.relay.outcomes["unbound"] == 2


def test_what_only_a_relay_says_is_not_answered() -> None:
    bench = Bench()
    mine, _ = pair(bench)
    for datagram in (
        relay.Challenge(bytes(8), bytes(24)),
        relay.Bound(bytes(8), mine, 0, 0, False),
        relay.Refused(mine, Refusal.FULL),
        relay.Alive(mine, bytes(8), 0),
    ):
        assert bench.send(datagram.encode(), ALICE) == []


def test_a_keepalive_tells_the_budget_and_silence_ends_a_binding() -> None:
    bench = Bench()
    mine, _ = pair(bench, budget=1000)
    bench.send(data(mine), ALICE)
    keepalive = relay.Keepalive(mine, b"echoecho").encode()
    for _ in range(5):
        bench.now += 50
        alive = relay.Alive(mine, b"echoecho", 1000 - len(data(mine))).encode()
        assert bench.send(keepalive, ALICE) == [(alive, ALICE)]
        assert len(alive) <= len(keepalive)
    assert bench.send(data(mine), ALICE) == []  # the other side has been silent
    bench.now += 61
    assert bench.send(keepalive, ALICE) == []
    bench.bind(bench.tickets(3, 4)[0], MALLORY)
    assert len(bench.relay) == 1


def test_the_budget_of_a_ticket_is_that_of_both_directions_and_ends_with_a_word() -> None:
    bench = Bench()
    first, second = bench.tickets(budget=1000)
    ids = [bench.bind(first, ALICE), bench.bind(second, BOB)]
    assert all(isinstance(found, relay.Bound) for found in ids)
    mine, theirs = (found.binding for found in ids if isinstance(found, relay.Bound))
    size = len(data(mine))
    sent = 0
    while (sent + 1) * size <= 1000:
        binding, place = ((mine, ALICE), (theirs, BOB))[sent % 2]
        assert len(bench.send(data(binding), place)) == 1
        sent += 1
    refused = relay.Refused(mine, Refusal.TICKET_BUDGET).encode()
    assert bench.send(data(mine), ALICE) == [(refused, ALICE)]
    assert bench.send(data(mine), ALICE) == []  # said once a second
    bench.now += 1
    assert bench.send(data(mine), ALICE) == [(refused, ALICE)]
    bench.send(data(theirs, 1000 - sent * size - relay.HEADER_SIZE), BOB)
    bench.now += 61  # bound anew, it is still used up
    assert bench.bind(first, ALICE) is Refusal.TICKET_BUDGET


def test_a_ticket_ends_with_its_time_also_where_it_is_bound() -> None:
    bench = Bench()
    mine, theirs = pair(bench, seconds=30)
    bench.now += 30
    assert bench.send(data(mine), ALICE) == [(relay.Refused(mine, Refusal.EXPIRED).encode(), ALICE)]
    expired = relay.Refused(theirs, Refusal.EXPIRED).encode()
    assert bench.send(relay.Keepalive(theirs, bytes(8)).encode(), BOB) == [(expired, BOB)]
    assert len(bench.relay) == 0


def forwarded(bench: Bench, binding: bytes, place: Place, count: int) -> int:
    """Send so many and count what was forwarded."""
    return sum(bool(sent) and sent[0][1] != place for sent in (bench.send(data(binding), place) for _ in range(count)))


def test_the_rate_of_a_ticket_is_kept_and_comes_back() -> None:
    bench = Bench(ticket_rate=1090, ticket_burst=2180)
    mine, _ = pair(bench)
    assert forwarded(bench, mine, ALICE, 50) == 20
    assert bench.relay.outcomes["refused_too_fast"] == 1
    bench.now += 1
    assert forwarded(bench, mine, ALICE, 50) == 10


def test_the_budget_of_a_person_counts_over_all_tickets_sent_and_received() -> None:
    bench = Bench(person_bytes=1090, person_seconds=10)
    mine, _ = pair(bench)
    assert forwarded(bench, mine, ALICE, 6) == 6
    third = Place("203.0.113.3", 3333)
    ids = [bench.bind(ticket, place) for ticket, place in zip(bench.tickets(3, 2), (third, BOB), strict=True)]
    binding = ids[0]
    assert isinstance(binding, relay.Bound)
    assert forwarded(bench, binding.binding, third, 10) == 4  # Bob has received six already
    assert bench.relay.outcomes["refused_person_budget"] == 1
    bench.now += 10
    assert forwarded(bench, binding.binding, third, 20) == 10


def test_a_person_has_so_many_bindings() -> None:
    bench = Bench(person_bindings=3)
    for number in range(3):
        assert isinstance(bench.bind(bench.tickets(1, 10 + number)[0], ALICE), relay.Bound)
    assert bench.bind(bench.tickets(1, 20)[0], ALICE) is Refusal.TOO_MANY
    assert isinstance(bench.bind(bench.tickets(2, 1)[0], BOB), relay.Bound)


def test_a_full_relay_lets_the_longest_idle_go_but_none_that_is_in_use() -> None:
    bench = Bench(bindings=4)
    for number in range(4):
        assert isinstance(bench.bind(bench.tickets(number, 50)[0], ALICE), relay.Bound)
    assert bench.bind(bench.tickets(9, 50)[0], BOB) is Refusal.FULL
    bench.now += 31
    assert isinstance(bench.bind(bench.tickets(9, 50)[0], BOB), relay.Bound)
    assert len(bench.relay) == 4


def test_tickets_and_people_that_are_remembered_are_bounded() -> None:
    bench = Bench(tickets=20, people=30, bindings=10)
    for number in range(200):
        bench.now += 61
        assert isinstance(bench.bind(bench.tickets(2 * number, 2 * number + 1)[0], ALICE), relay.Bound)
        assert bench.relay.kept <= 60
    bench.now += 4000
    bench.bind(bench.tickets()[0], ALICE)
    assert bench.relay.kept == 1 + 1 + 30


def held() -> int:
    """Return the bytes that the rendezvous' own code holds on to."""
    gc.collect()
    ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/rendezvous/relay*.py")])
    return sum(trace.size for trace in ours.traces)


def test_random_datagrams_get_no_answer_and_take_no_memory() -> None:
    bench, chance = Bench(), random.Random(5)
    mine, _ = pair(bench)
    ticket = bench.tickets()[0]
    seeds = [relay.Bind(b"transact", ticket).encode(), bench.proof(ticket, MALLORY), data(mine)]

    def storm(count: int) -> int:
        answers = 0
        for number in range(count):
            place = MALLORY._replace(port=number % 65536)
            noise = bytes([chance.choice(relay.FIRST_BYTES)]) + chance.randbytes(chance.randrange(60))
            answers += len(bench.send(noise, place))
            cut = chance.choice(seeds)[: chance.randrange(100)]
            answers += len(bench.send(cut, place))
        return answers

    tracemalloc.start()
    try:
        assert storm(3000) == 0
        before = held()
        assert storm(50_000) == 0
        assert held() - before < 20_000
    finally:
        tracemalloc.stop()
    assert bench.send(data(mine), ALICE)[0][1] == BOB
    assert bench.now == START


def test_a_flood_of_binds_from_forged_addresses_takes_no_memory_and_is_answered_with_less() -> None:
    bench = Bench()
    bind = relay.Bind(b"transact", bench.tickets()[0]).encode()
    for port in range(5000):
        ((reply, _),) = bench.send(bind, MALLORY._replace(port=port))
        assert len(reply) < len(bind)
    assert bench.relay.kept == 0


def batch_of(binding: bytes, *sizes: int) -> memoryview:
    return memoryview(bytearray(b"".join(data(binding, size) for size in sizes)))


def test_a_batch_is_forwarded_as_its_datagrams_would_be() -> None:
    bench = Bench()
    mine, theirs = pair(bench)
    batch = batch_of(mine, 1200, 1200, 700)
    used, to, others = bench.relay.forward(batch, 1209, ALICE, bench.now)
    assert (used, to, others) == (len(batch), BOB, [])
    assert bytes(batch) == bytes(batch_of(theirs, 1200, 1200, 700))
    assert bench.relay.outcomes["forwarded"] == 3
    for wrong in (batch_of(mine, 1200, 0), batch_of(mine, 1453)):
        assert (
            bench.relay.forward(wrong, min(len(wrong), 1209 if len(wrong) < 1462 else 1462), ALICE, bench.now)[1]
            is None
        )
    assert bench.relay.forward(batch_of(mine, 100), 109, MALLORY, bench.now) == (0, None, [])


def test_of_a_batch_as_many_are_forwarded_as_there_is_room_for() -> None:
    bench = Bench()
    mine, theirs = pair(bench, budget=3000)
    batch = batch_of(mine, 1200, 1200, 1200, 50)
    used, to, others = bench.relay.forward(batch, 1209, ALICE, bench.now)
    assert (used, to) == (2 * 1209, BOB)
    assert bytes(batch[:used]) == bytes(batch_of(theirs, 1200, 1200))
    assert others == [(relay.Refused(mine, Refusal.TICKET_BUDGET).encode(), ALICE)]
    assert bench.relay.forward(batch_of(mine, 1200), 1209, ALICE, bench.now) == (0, None, [])
