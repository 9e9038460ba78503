"""The path of a session: it moves where the peer has shown to be, and nowhere else."""

from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.packet import Address
from agent.protocol.path import CHALLENGE_INTERVAL, CHALLENGE_SIZE, CHALLENGE_TRIES, Path
from tests.support.handshakes import chance

HOME, AWAY, ELSEWHERE = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)
RANDOM = chance(1)


def heard_from(*addresses: Address, now: float = 0.0) -> Path:
    path = Path(HOME, 0.0)
    for address in addresses:
        path.heard_from(address, now, RANDOM)
    return path


def challenge(path: Path, now: float = 0.0) -> tuple[Address, bytes]:
    taken = path.take_challenge(now)
    assert taken is not None
    return taken


def test_a_new_address_is_challenged_and_nothing_moves() -> None:
    path = heard_from(AWAY)
    assert path.timeout() == 0.0
    address, data = challenge(path)
    assert address == AWAY
    assert len(data) == CHALLENGE_SIZE
    assert path.address == HOME


def test_the_right_answer_moves_the_path() -> None:
    path = heard_from(AWAY)
    assert path.responded(challenge(path)[1], 0.1)
    assert path.address == AWAY
    assert path.timeout() is None


def test_a_new_port_alone_is_the_same_path() -> None:
    path = heard_from((HOME[0], HOME[1] + 1))
    mtu = path.mtu
    assert not path.responded(challenge(path)[1], 0.1)
    assert path.address == (HOME[0], HOME[1] + 1)
    assert path.mtu is mtu


def test_a_wrong_answer_moves_nothing() -> None:
    path = heard_from(AWAY)
    _, data = challenge(path)
    assert not path.responded(bytes(CHALLENGE_SIZE), 0.1)
    assert not path.responded(data[:-1], 0.1)
    assert path.address == HOME


def test_an_answer_counts_once_and_only_while_it_is_wanted() -> None:
    path = heard_from(AWAY)
    _, data = challenge(path)
    assert path.responded(data, 0.1)
    path.heard_from(HOME, 0.2, RANDOM)
    assert not path.responded(data, 0.3)
    assert path.address == AWAY


def test_an_answer_to_the_challenge_of_one_address_does_not_speak_for_another() -> None:
    path = heard_from(AWAY)
    _, data = challenge(path)
    path.heard_from(ELSEWHERE, 0.1, RANDOM)
    assert not path.responded(data, 0.2)
    assert path.address == HOME


def test_the_address_that_was_always_there_takes_the_challenge_back() -> None:
    path = heard_from(AWAY)
    _, data = challenge(path)
    path.heard_from(HOME, 0.1, RANDOM)
    assert path.take_challenge(10.0) is None
    assert not path.responded(data, 10.0)


def test_more_packets_from_one_new_address_are_no_new_challenge() -> None:
    path = heard_from(AWAY)
    first = challenge(path)
    path.heard_from(AWAY, 0.1, RANDOM)
    assert path.take_challenge(0.1) is None
    assert challenge(path, CHALLENGE_INTERVAL) == first


def test_a_challenge_is_tried_a_few_times_and_then_given_up() -> None:
    path = heard_from(AWAY)
    sent = []
    while (at := path.timeout()) is not None:
        sent.append(path.take_challenge(at))
    assert len([one for one in sent if one is not None]) == CHALLENGE_TRIES
    assert path.address == HOME


def test_answers_go_back_where_the_challenges_came_from_and_not_without_end() -> None:
    path = Path(HOME, 0.0)
    for number in range(100):
        path.challenged(AWAY, number.to_bytes(8, "big"))
    answers = []
    while (answer := path.take_response()) is not None:
        answers.append(answer)
    assert answers == [(AWAY, number.to_bytes(8, "big")) for number in range(len(answers))]
    assert 1 <= len(answers) <= 8


def test_the_search_for_the_largest_datagram_starts_again_on_a_new_path() -> None:
    path = heard_from(AWAY)
    before = path.mtu
    path.responded(challenge(path)[1], 0.1)
    assert path.mtu is not before


ADDRESSES = st.sampled_from([HOME, AWAY, ELSEWHERE])
STEPS = st.lists(st.tuples(st.sampled_from(["hear", "challenge", "answer", "guess"]), ADDRESSES), max_size=40)


@given(STEPS)
def test_a_path_is_only_ever_where_a_challenge_was_answered(steps: list[tuple[str, Address]]) -> None:
    path, proven, latest = Path(HOME, 0.0), HOME, None
    for now, (step, address) in enumerate(steps):
        if step == "hear":
            path.heard_from(address, now, RANDOM)
        elif step == "challenge":
            latest = path.take_challenge(now) or latest
        elif step == "answer" and latest is not None:
            if path.responded(latest[1], now):
                proven, latest = latest[0], None
        else:
            assert not path.responded(b"a guess!", now)
        assert path.address == proven
