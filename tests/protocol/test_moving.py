"""Paths that go dark and come back, and addresses that change under a session: what a moving laptop and its NAT do."""

import pytest

from agent.protocol.events import SessionOpened
from agent.protocol.request import Kind, Phase
from tests.support.pair import ADDRESSES, Memory, Pair, picture

RATE = 1_250_000  # bytes a second: 10 Mbit/s
DARK, LIGHT = 5.0, 2.0  # seconds


def on_its_way(size: int) -> tuple[Pair, bytes, bytes]:
    """Let Bob give Alice a picture over 10 Mbit/s and 50 ms; return its request and its bytes as well."""
    pair = Pair(rate=RATE, queue=250_000, delay=0.025)
    gift = picture(size)
    assert isinstance(gift.source, Memory)
    pair.bob.says = lambda asked: gift
    return pair, pair.alice.ask(Kind.IMAGE, pair.bob), bytes(gift.source.data)


def handshakes(pair: Pair) -> int:
    return sum(isinstance(event, SessionOpened) for event in pair.bob.events)


def test_a_picture_goes_on_within_a_second_of_each_return_of_a_path_that_is_mostly_dark() -> None:
    pair, id, data = on_its_way(10_000_000)
    for round in range(8):
        for link in pair.links:
            link.blackout(1.0 + round * (DARK + LIGHT), DARK)
    for round in range(8):
        back = 1.0 + round * (DARK + LIGHT) + DARK
        if pair.network.run_until(lambda: pair.alice.phase(id) is Phase.DONE, back):
            break
        before = len(pair.alice.sinks[id].verified)
        pair.network.run_for(1.0)
        assert len(pair.alice.sinks[id].verified) > before, f"a second after return {round} it still stands"
    assert pair.until(id, Phase.DONE, 30)
    assert pair.alice.sinks[id].data == data
    assert handshakes(pair) == 1


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_nat_that_gives_a_new_port_every_five_seconds_costs_no_handshake(who: str) -> None:
    pair, id, data = on_its_way(20_000_000)
    for port in range(5001, 5004):
        pair.network.run_for(5)
        assert pair.alice.phase(id) is Phase.TRANSFERRING
        pair.network.rebind(ADDRESSES[who], (ADDRESSES[who][0], port))
    assert pair.until(id, Phase.DONE, 30)
    assert pair.alice.sinks[id].data == data
    assert handshakes(pair) == 1
    assert pair.network.now < 1.25 * len(data) / RATE
