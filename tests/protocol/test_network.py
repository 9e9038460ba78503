"""The simulated network does to datagrams what its paths say, and the same again for a seed."""

from collections import deque
from itertools import pairwise

import pytest

from tests.support.network import (
    IP_AND_UDP_HEADERS,
    LONGEST_HOLD,
    Address,
    Datagrams,
    Host,
    Network,
)

A, B = ("a", 1), ("b", 2)
SIZE = 1000 - IP_AND_UDP_HEADERS


class Log:
    """Notes what arrives."""

    def __init__(self, network: Network, address: Address) -> None:
        self.at: list[float] = []
        self.data: list[bytes] = []
        self.sources: list[Address] = []
        network.attach(address, self.receive)

    def receive(self, now: float, source: Address, data: bytes) -> None:
        self.at.append(now)
        self.sources.append(source)
        self.data.append(data)

    def numbers(self) -> list[int]:
        return [int.from_bytes(data[:4], "big") for data in self.data]


def send(network: Network, count: int, every: float = 0.0) -> None:
    for number in range(count):
        data = number.to_bytes(4, "big").ljust(SIZE, b"\0")
        network.call_at(number * every, network.send, A, B, data)


def sent_over(count: int, every: float = 0.0, seed: int = 1, **path: object) -> Log:
    """Send numbered datagrams from A to B over such a path; return what arrived."""
    network = Network(seed)
    network.join("a", "b", **path)
    log = Log(network, B)
    send(network, count, every)
    network.run_for(count * every + 10)
    return log


def test_calls_happen_in_order_of_time_and_then_of_asking() -> None:
    network = Network()
    happened: list[str] = []
    for when, name in [(2.0, "c"), (1.0, "a"), (1.0, "b"), (3.0, "never")]:
        network.call_at(when, happened.append, name)
    assert not network.run_until(lambda: False, deadline=2.5)
    assert happened == ["a", "b", "c"]
    assert network.now == 2.5


def test_running_ends_as_soon_as_what_is_waited_for_is_there() -> None:
    network = Network()
    happened: list[int] = []
    network.call_at(1.0, happened.append, 1)
    network.call_at(2.0, happened.append, 2)
    assert network.run_until(lambda: bool(happened), deadline=9.0)
    assert network.now == 1.0


def test_a_datagram_takes_its_time_on_the_line_and_then_the_delay() -> None:
    log = sent_over(3, rate=10_000, delay=0.5)
    assert log.at == pytest.approx([0.6, 0.7, 0.8])


def test_a_full_queue_drops_the_tail() -> None:
    log = sent_over(10, rate=10_000, queue=4_500)
    assert log.numbers() == [0, 1, 2, 3]


def test_loss_is_as_frequent_as_asked_and_the_same_for_the_same_seed() -> None:
    log = sent_over(10_000, loss=0.05)
    assert 9_400 < len(log.data) < 9_600
    assert log.numbers() == sent_over(10_000, loss=0.05).numbers()
    assert log.numbers() != sent_over(10_000, loss=0.05, seed=2).numbers()


def test_bursts_lose_several_in_a_row() -> None:
    numbers = sent_over(10_000, burst=(0.01, 0.25, 1.0)).numbers()
    gaps = [b - a - 1 for a, b in pairwise(numbers) if b - a > 1]
    assert 3 < sum(gaps) / len(gaps) < 5


def test_duplicates_arrive_twice() -> None:
    numbers = sent_over(1_000, duplicate=0.1).numbers()
    assert 1_070 < len(numbers) < 1_130
    assert set(numbers) == set(range(1_000))


def test_a_reordered_datagram_is_overtaken_by_so_many_at_most() -> None:
    numbers = sent_over(2_000, every=0.0001, reorder=0.1, reorder_depth=50).numbers()
    assert sorted(numbers) == list(range(2_000))
    late = [place - number for place, number in enumerate(numbers)]
    assert 30 < max(late) <= 50


def test_a_reordered_datagram_that_nothing_follows_arrives_all_the_same() -> None:
    log = sent_over(1, delay=0.1, reorder=1.0, reorder_depth=50)
    assert log.at == pytest.approx([0.1 + LONGEST_HOLD])


def test_jitter_keeps_the_order() -> None:
    log = sent_over(1_000, every=0.001, delay=0.01, jitter=0.02)
    assert log.numbers() == list(range(1_000))
    assert max(log.at[i] - i * 0.001 for i in range(1_000)) > 0.028


def test_corruption_flips_one_bit() -> None:
    log = sent_over(100, corrupt=1.0)
    for number, data in enumerate(log.data):
        whole = number.to_bytes(4, "big").ljust(SIZE, b"\0")
        difference = int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")
        assert difference.bit_count() == 1


def test_a_blackout_loses_what_is_sent_in_it() -> None:
    network = Network()
    link, _ = network.join("a", "b")
    log = Log(network, B)
    link.blackout(2.0, 3.0)
    send(network, 10, every=1.0)
    network.run_for(20)
    assert log.numbers() == [0, 1, 5, 6, 7, 8, 9]


def test_a_rebound_address_is_seen_as_the_new_one_and_the_old_one_is_dead() -> None:
    network = Network()
    network.join("a", "b")
    inside, outside = Log(network, A), Log(network, B)
    network.rebind(A, ("a", 7))
    network.send(A, B, b"from a")
    network.rebind(A, ("a", 8))
    network.send(A, B, b"again")
    for address in (A, ("a", 7), ("a", 8)):
        network.send(B, address, repr(address).encode())
    network.run_for(1)
    assert outside.sources == [("a", 7), ("a", 8)]
    assert inside.data == [b"('a', 8)"]


def test_nothing_arrives_where_no_link_or_no_node_is() -> None:
    network = Network()
    network.join("a", "b")
    network.send(A, B, b"nobody")
    network.send(A, ("c", 3), b"no link")
    network.run_for(1)
    assert network.unreachable == 2


class Echo:
    """A core with five doors: sends back what it receives, after a second, and says so."""

    def __init__(self) -> None:
        self.received: list[Datagrams] = []
        self.out: deque[Datagrams] = deque()
        self.events: deque[str] = deque()
        self.timeout: float | None = None

    def receive(self, datagrams: list[Datagrams], now: float) -> None:
        self.received += datagrams
        self.timeout = now + 1.0

    def datagrams_to_send(self, now: float) -> list[Datagrams]:
        return [self.out.popleft()] if self.out else []

    def next_event(self) -> str | None:
        return self.events.popleft() if self.events else None

    def next_timeout(self) -> float | None:
        return self.timeout

    def handle_timeout(self, now: float) -> None:
        self.timeout = None
        self.events.append(f"answered at {now}")
        self.out += self.received


def test_a_host_hands_over_what_arrives_at_once_as_one_value_and_sends_it_in_datagrams() -> None:
    network = Network()
    network.join("a", "b", delay=0.25)
    log, core = Log(network, A), Echo()
    host = Host(network, B, core)
    for data in (b"one", b"two", b"3", b"four"):
        network.send(A, B, data)
    network.run_for(2)
    assert core.received == [Datagrams(A, b"onetwo3", 3), Datagrams(A, b"four", 4)]
    assert list(host.events) == ["answered at 1.25"]
    assert log.data == [b"one", b"two", b"3", b"four"]
    assert log.at == [1.5] * 4


def test_a_host_with_a_slow_loop_gathers_what_arrives_meanwhile() -> None:
    network = Network()
    network.join("a", "b")
    core = Echo()
    Host(network, B, core, turn=0.001)
    for number in range(4):
        network.call_at(number * 0.0004, network.send, A, B, b"%d" % number)
    network.run_for(0.5)
    assert [bytes(datagrams.data) for datagrams in core.received] == [b"012", b"3"]


def test_a_host_that_was_stopped_does_nothing_more() -> None:
    network = Network()
    network.join("a", "b")
    core = Echo()
    host = Host(network, B, core)
    network.send(A, B, b"one")
    network.run_for(0.5)
    host.stop()
    network.send(A, B, b"two")
    network.run_for(5)
    assert len(core.received) == 1
    assert not host.events


def test_a_core_that_spins_fails_the_test_and_does_not_hang_it() -> None:
    class Spinning(Echo):
        def handle_timeout(self, now: float) -> None:
            self.timeout = now

    network, core = Network(), Spinning()
    core.timeout = 0.0
    Host(network, B, core)
    with pytest.raises(AssertionError, match="stays in the past"):
        network.run_for(1)
