"""The paths of a session: it moves where the peer has shown to be, to what is better, and away from what is dead."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.candidates import Candidate, Found, Mapping, Nat, PathKind
from agent.protocol.messages import PathReport
from agent.protocol.packet import SMALLEST_DATAGRAM, Address
from agent.protocol.path import AGAIN, CHALLENGE_SIZE, FIRST_ROUND
from agent.protocol.paths import MOST_PATHS, NAMED_MOST, PACE, RELAY_CHECK, Paths
from agent.protocol.ranking import Standing
from agent.protocol.report import Outcome
from tests.support.handshakes import chance

HOME, AWAY, ELSEWHERE = ("198.51.100.1", 1), ("198.51.100.2", 2), ("198.51.100.3", 3)
RELAY, LAN = ("relay-udp", 1), ("192.168.1.2", 4)
RANDOM = chance(1)


class Bench:
    """The paths of one side, its clock, and a peer who answers at the addresses that work."""

    def __init__(self, address: Address = HOME, opened: bool = True, leads: bool = True) -> None:
        self.now = 1.0
        self.paths = Paths(address, RANDOM, 0.0)
        self.paths.opened, self.paths.leads = opened, leads
        self.works: dict[Address, float] = {}  # with the round trips
        self.sent: list[tuple[float, Address]] = []
        self.reports: list[PathReport] = []

    @property
    def at(self) -> Address:
        return self.paths.active.address

    def name(self, *addresses: Address, found: Found = Found.REFLEXIVE) -> None:
        candidates = tuple(Candidate(found, address) for address in addresses)
        self.paths.stand(self.paths.ours, Standing(self.paths.theirs.nat, candidates), False, self.now)

    def run(self, seconds: float) -> None:
        """Let so much time pass: challenges leave when they are due, and are answered where that works."""
        answers: list[tuple[float, Address, bytes]] = []
        end = self.now + seconds
        while True:
            due = self.paths.timeout()
            times = [when for when, _, _ in answers] + ([due] if due is not None else [])
            if not times or min(times) > end:
                break
            self.now = max(self.now, min(times))
            for answer in [answer for answer in answers if answer[0] <= self.now]:
                answers.remove(answer)
                self.paths.responded(answer[1], answer[2], self.now)
            if (report := self.paths.take_report(self.now)) is not None:
                self.reports.append(report)
            while (challenge := self.paths.take_challenge(self.now)) is not None:
                address, data = challenge
                self.sent.append((self.now, address))
                if address in self.works:
                    answers.append((self.now + self.works[address], address, data))
        self.now = end

    def heard(self, address: Address, probe: bool = False) -> None:
        self.paths.heard(address, self.now, probe)

    def tries(self, address: Address) -> list[float]:
        return [when for when, to in self.sent if to == address]


def test_a_new_address_is_challenged_and_nothing_moves() -> None:
    bench = Bench()
    bench.heard(AWAY)
    challenge = bench.paths.take_challenge(bench.now)
    assert challenge is not None
    address, data = challenge
    assert (address, len(data)) == (AWAY, CHALLENGE_SIZE)
    assert bench.at == HOME


def test_the_right_answer_moves_the_path_and_others_do_not() -> None:
    bench = Bench()
    bench.heard(AWAY)
    challenge = bench.paths.take_challenge(bench.now)
    assert challenge is not None
    for address, data in ((AWAY, bytes(8)), (AWAY, challenge[1][:-1]), (ELSEWHERE, challenge[1])):
        bench.paths.responded(address, data, bench.now)
        assert bench.at == HOME
    bench.paths.responded(AWAY, challenge[1], bench.now)
    assert bench.at == AWAY


def test_more_packets_from_one_new_address_are_not_more_challenges() -> None:
    bench = Bench()
    for _ in range(50):
        bench.heard(AWAY)
        bench.run(0.0001)
    assert len(bench.sent) == 1


def test_an_address_that_does_not_answer_is_tried_for_a_while_then_now_and_then_if_it_were_better() -> None:
    bench = Bench()
    bench.name(AWAY, LAN)
    bench.run(4)
    assert len(bench.tries(AWAY)) == len(bench.tries(LAN)) == len(FIRST_ROUND)
    bench.sent.clear()
    bench.run(1000)
    assert bench.tries(LAN)[::3] == sorted(bench.tries(LAN)[::3])
    pauses = [round(b - a) for a, b in zip(bench.tries(LAN)[::3], bench.tries(LAN)[3::3], strict=False)]
    assert pauses[:3] == [round(pause + 1.75) for pause in AGAIN[1:]]
    assert bench.at == HOME


def test_challenges_leave_one_after_the_other() -> None:
    bench = Bench()
    bench.name(*((f"198.51.100.{number}", 5) for number in range(10, 30)))
    bench.run(1)
    times = [when for when, _ in bench.sent]
    assert min(b - a for a, b in pairwise(times)) > PACE * 0.99


def test_a_better_kind_is_taken_as_soon_as_it_answers() -> None:
    bench = Bench(RELAY)
    bench.works = {RELAY: 0.06, AWAY: 0.04, LAN: 0.001}
    bench.name(AWAY)
    bench.run(0.1)
    assert (bench.at, bench.paths.active.kind) == (AWAY, PathKind.PUNCHED)
    bench.name(AWAY, LAN)
    bench.run(0.1)
    assert (bench.at, bench.paths.active.kind) == (LAN, PathKind.LAN)


def test_who_does_not_lead_takes_a_direct_path_by_itself_and_then_goes_where_the_peer_goes() -> None:
    bench = Bench(RELAY, leads=False)
    bench.works = {RELAY: 0.06, AWAY: 0.04, LAN: 0.001}
    bench.name(AWAY)
    bench.run(0.1)
    bench.name(AWAY, LAN)
    bench.run(1)
    assert bench.at == AWAY
    bench.heard(LAN)
    assert bench.at == LAN


def test_a_faster_path_of_the_same_kind_is_taken_only_when_it_stays_faster() -> None:
    bench = Bench(RELAY)
    bench.works = {RELAY: 0.06, HOME: 0.05, AWAY: 0.02}
    bench.name(HOME)
    bench.run(1)
    bench.name(HOME, AWAY)
    bench.run(15)
    assert bench.at == HOME
    bench.run(200)
    assert bench.at == AWAY


def test_a_silent_path_is_left_for_the_best_that_works_and_must_answer_twice_to_be_taken_again() -> None:
    bench = Bench(RELAY)
    bench.works = {RELAY: 0.06, AWAY: 0.04}
    bench.name(AWAY)
    bench.run(1)
    del bench.works[AWAY]
    assert bench.paths.silent(bench.now)
    assert bench.at == RELAY
    bench.run(3)
    bench.works[AWAY] = 0.04
    bench.sent.clear()
    bench.run(5)
    assert bench.at == AWAY
    assert len(bench.tries(AWAY)) >= 2


def test_where_nothing_works_everything_is_tried_and_the_first_answer_counts() -> None:
    bench = Bench(HOME)
    bench.name(AWAY, LAN)
    bench.run(5)
    assert not bench.paths.silent(bench.now)
    bench.works = {AWAY: 0.04}
    for _ in range(5):
        bench.run(0.8)
        if bench.at == HOME:
            bench.paths.silent(bench.now)
    assert bench.at == AWAY


def test_a_route_that_is_dropped_is_not_sent_to_and_the_next_best_is_taken() -> None:
    bench = Bench(RELAY)
    bench.works = {RELAY: 0.06, ("relay-udp", 2): 0.06}
    bench.paths.add(("relay-udp", 2), bench.now)
    bench.run(1)
    bench.paths.drop(RELAY, bench.now)
    assert bench.at == ("relay-udp", 2)
    bench.sent.clear()
    bench.run(300)
    assert bench.tries(RELAY) == []


def test_the_relay_is_asked_now_and_then_while_it_is_not_in_use() -> None:
    bench = Bench(RELAY)
    bench.works = {RELAY: 0.06, LAN: 0.001}
    bench.name(LAN)
    bench.run(1)
    assert bench.at == LAN
    bench.sent.clear()
    bench.run(10 * RELAY_CHECK)
    assert 9 <= len(bench.tries(RELAY)) <= 11


def test_before_the_yes_a_session_over_a_relay_stays_there() -> None:
    bench = Bench(RELAY, opened=False)
    assert not bench.paths.admits(AWAY)
    bench.heard(AWAY)
    bench.paths.challenged(AWAY, bytes(8), SMALLEST_DATAGRAM)
    bench.name(AWAY)
    bench.run(10)
    assert bench.sent == []
    assert bench.paths.take_response() is None


def test_a_peer_cannot_have_us_send_to_ever_new_addresses() -> None:
    bench = Bench()
    for number in range(40):
        bench.name(*((f"198.51.{number}.{host}", 5) for host in range(24)))
    bench.run(5)
    assert len({address for _, address in bench.sent}) <= NAMED_MOST + 6
    assert len(bench.paths.tried()) <= MOST_PATHS


def test_nobody_is_named_who_cannot_be_meant() -> None:
    bench = Bench()
    bench.name(("224.0.0.1", 5), ("255.255.255.255", 5), ("0.0.0.0", 5), (AWAY[0], 0), ("127.0.0.1", 5))
    bench.run(5)
    assert bench.sent == []


def test_this_machine_is_tried_at_its_own_address_where_both_are_on_one() -> None:
    bench = Bench()
    bench.paths.stand(Standing(Nat(), (Candidate(Found.HOST, (LAN[0], 99)),)), Standing(), False, bench.now)
    bench.works = {("127.0.0.1", 4): 0.0001, LAN: 0.0001}
    bench.name(LAN, found=Found.HOST)
    bench.run(1)
    assert bench.paths.active.kind is PathKind.LOOPBACK


def test_the_loopback_of_another_machine_is_not_meant() -> None:
    bench = Bench()
    own = Candidate(Found.HOST, ("127.0.0.1", 99))
    bench.paths.stand(Standing(Nat(), (own, Candidate(Found.HOST, ("192.168.7.7", 99)))), Standing(), False, bench.now)
    bench.name(LAN, ("127.0.0.1", 4), found=Found.HOST)
    bench.run(5)
    assert {address for _, address in bench.sent} == {LAN}


def test_answers_go_back_where_the_challenges_came_from_as_large_as_those_and_not_without_end() -> None:
    paths = Bench().paths
    for number in range(100):
        paths.challenged(AWAY, number.to_bytes(8, "big"), 100 + number)
    answers = []
    while (answer := paths.take_response()) is not None:
        answers.append(answer)
    assert answers == [(AWAY, number.to_bytes(8, "big"), 100 + number) for number in range(len(answers))]
    assert 1 <= len(answers) <= 8


def test_what_was_tried_is_told_once_it_is_known() -> None:
    bench = Bench(RELAY)
    bench.works = {AWAY: 0.04}
    bench.name(AWAY, ELSEWHERE)
    bench.paths.unsendable(ELSEWHERE, Outcome.UNREACHABLE)
    bench.run(1)
    report = bench.reports[-1]
    assert report.tried[report.used].address == AWAY
    outcomes = {tried.address: tried.outcome for tried in bench.paths.tried()}
    assert outcomes == {AWAY: Outcome.ANSWERED, ELSEWHERE: Outcome.UNREACHABLE}


def test_kinds_follow_what_is_known_of_both_sides() -> None:
    bench = Bench(RELAY)
    bench.works = {AWAY: 0.04}
    bench.name(AWAY)
    bench.run(1)
    before = bench.paths.active.kind
    bench.paths.stand(Standing(Nat(Mapping.NONE)), bench.paths.theirs, False, bench.now)
    assert (before, bench.paths.active.kind) == (PathKind.PUNCHED, PathKind.DIRECT)


ADDRESSES = st.sampled_from([HOME, AWAY, ELSEWHERE])
STEPS = st.lists(st.tuples(st.sampled_from(["hear", "challenge", "answer", "guess", "silent"]), ADDRESSES), max_size=40)


@given(STEPS, st.booleans())
def test_a_path_is_only_ever_where_a_challenge_was_answered(steps: list[tuple[str, Address]], leads: bool) -> None:
    bench, proven = Bench(leads=leads), {HOME}
    paths, sent = bench.paths, list[tuple[Address, bytes]]()
    for step, address in steps:
        bench.now += 0.2
        if step == "hear":
            bench.heard(address)
        elif step == "challenge":
            sent += [found] if (found := paths.take_challenge(bench.now)) is not None else []
        elif step == "answer" and sent:
            to, data = sent.pop()
            paths.responded(to, data, bench.now)
            proven.add(to)
        elif step == "silent":
            paths.silent(bench.now)
        else:
            paths.responded(address, b"a guess!", bench.now)
        assert bench.at in proven
