"""The congestion controller on simulated paths: how fast, how fair, how short a queue."""

from statistics import median

import pytest

from agent.protocol.congestion import Controller, Phase
from tests.support.cubic import Cubic
from tests.support.flow import DATAGRAM, Receiver, Sender, ideal_seconds, share, transfer
from tests.support.network import Link, Network

MBIT = 125_000
MB = 1_000_000


def running(seed: int = 1, **path: object) -> tuple[Network, Link, Sender]:
    """Start a sender without end."""
    network = Network(seed)
    link, _ = network.join("sender", "receiver", **path)
    receiver = Receiver(network, ("receiver", 1))
    return network, link, Sender(network, ("sender", 1), receiver, Controller)


def goodput(network: Network, sender: Sender, seconds: float) -> float:
    """Return the bytes a second that arrive, headers counted, in the next seconds."""
    before = sender.receiver.bytes
    network.run_for(seconds)
    return (sender.receiver.bytes - before) / seconds


@pytest.mark.parametrize(
    ("mbit", "rtt", "loss", "bar"),
    [
        (20, 0.05, 0.0, 1.05),
        (100, 0.05, 0.0, 1.05),
        (20, 0.05, 0.01, 1.10),
        (100, 0.05, 0.01, 1.10),
        (20, 0.05, 0.05, 1.25),
        (100, 0.05, 0.05, 1.25),
        (20, 0.3, 0.0, 1.20),
        (100, 0.3, 0.0, 1.20),
    ],
)
def test_four_megabytes_take_little_longer_than_an_ideal_sender_needs(
    mbit: int, rtt: float, loss: float, bar: float
) -> None:
    path = {"rate": mbit * MBIT, "delay": rtt / 2, "loss": loss}
    took = [transfer(Controller, 4 * MB, seed, **path) for seed in range(5 if loss else 1)]
    assert median(took) <= bar * ideal_seconds(4 * MB, mbit * MBIT, rtt, loss)


@pytest.mark.parametrize(("mbit", "rtt"), [(20, 0.05), (100, 0.05), (2, 0.3)])
def test_the_link_stays_full_and_the_queue_under_half_of_the_buffer(mbit: int, rtt: float) -> None:
    network, link, sender = running(rate=mbit * MBIT, delay=rtt / 2, queue=250_000)
    network.run_for(2 if rtt < 0.1 else 5)
    link.counters.queue_bytes_max = 0
    assert goodput(network, sender, 2) > 0.96 * mbit * MBIT
    assert link.counters.queue_bytes_max < 125_000
    assert link.counters.dropped == 0


def test_startup_fills_the_path_without_overflowing_the_buffer() -> None:
    network, link, _ = running(rate=100 * MBIT, delay=0.025, queue=250_000)
    network.run_for(1)
    assert link.counters.dropped == 0


def test_startup_finds_the_rate_of_a_long_path_with_a_short_buffer_although_it_overflows() -> None:
    network, link, sender = running(rate=100 * MBIT, delay=0.15, queue=250_000)
    network.run_for(3.6)
    link.counters.queue_bytes_max = 0
    dropped = link.counters.dropped
    assert goodput(network, sender, 3) > 0.96 * 100 * MBIT
    assert link.counters.queue_bytes_max < 125_000
    assert link.counters.dropped == dropped


@pytest.mark.parametrize("late", [0.0, 3.0])
def test_two_transfers_share_a_bottleneck(late: float) -> None:
    shares = share(Controller, Controller, 20, late, rate=20 * MBIT, delay=0.025, queue=250_000)
    assert 0.25 < shares.first < 0.75
    assert shares.used > 0.95


def test_a_transfer_shares_a_bottleneck_with_tcp_cubic() -> None:
    shares = share(Controller, Cubic, 30, rate=20 * MBIT, delay=0.025, queue=250_000)
    assert 0.25 < shares.first < 0.75
    assert shares.used > 0.95


def test_tcp_cubic_that_was_there_first_leaves_a_share() -> None:
    shares = share(Cubic, Controller, 20, 3, rate=20 * MBIT, delay=0.025, queue=250_000)
    assert 0.25 < shares.first < 0.75


@pytest.mark.parametrize(("loss", "least"), [(0.01, 0.93), (0.05, 0.88), (0.2, 0.5)])
def test_random_loss_does_not_slow_it_down(loss: float, least: float) -> None:
    found = []
    for seed in range(1, 6 if loss > 0.1 else 2):
        network, _, sender = running(seed, rate=20 * MBIT, delay=0.025, loss=loss)
        network.run_for(1)
        found.append(goodput(network, sender, 4))
    assert median(found) > least * 20 * MBIT


def test_bursts_of_loss_do_not_slow_it_down() -> None:
    network, _, sender = running(rate=20 * MBIT, delay=0.025, burst=(0.01, 0.2, 0.8))
    network.run_for(1)
    assert goodput(network, sender, 4) > 0.85 * 20 * MBIT


def test_jitter_is_not_taken_for_a_queue_for_long() -> None:
    network, _, sender = running(rate=20 * MBIT, delay=0.025, jitter=0.02)
    network.run_for(2)
    assert goodput(network, sender, 2) > 0.9 * 20 * MBIT


def test_a_buffer_of_a_few_packets_is_enough() -> None:
    network, link, sender = running(rate=20 * MBIT, delay=0.025, queue=20_000)
    network.run_for(2)
    link.counters.packets = link.counters.dropped = 0
    assert goodput(network, sender, 3) > 0.9 * 20 * MBIT
    assert link.counters.dropped < 0.08 * link.counters.packets


def test_a_link_that_gets_slower_is_not_flooded() -> None:
    network, link, sender = running(rate=20 * MBIT, delay=0.025, queue=250_000)
    network.run_for(3)
    link.path.rate = 5 * MBIT
    assert goodput(network, sender, 10) > 0.9 * 5 * MBIT
    assert link.counters.dropped < 100
    link.counters.queue_bytes_max = 0
    network.run_for(3)
    assert link.counters.queue_bytes_max < 125_000


def test_a_link_that_gets_faster_is_filled_within_a_second() -> None:
    network, link, sender = running(rate=5 * MBIT, delay=0.025, queue=250_000)
    network.run_for(3)
    link.path.rate = 50 * MBIT
    network.run_for(1)
    assert goodput(network, sender, 1) > 0.9 * 50 * MBIT


def test_after_a_blackout_the_rate_is_back_within_two_seconds() -> None:
    network = Network(1)
    links = network.join("sender", "receiver", rate=20 * MBIT, delay=0.025)
    sender = Sender(network, ("sender", 1), Receiver(network, ("receiver", 1)), Controller)
    for link in links:
        link.blackout(2.0, 2.0)
    network.run_for(6.0)
    assert goodput(network, sender, 1) > 0.9 * 20 * MBIT


def test_a_gigabyte_a_second_over_fifty_microseconds_is_not_throttled() -> None:
    network = Network(1)
    network.join("sender", "receiver", rate=1e9, delay=25e-6, queue=4_000_000)
    receiver = Receiver(network, ("receiver", 1), ack_every=45, ack_delay=100e-6)
    sender = Sender(network, ("sender", 1), receiver, Controller)
    network.run_for(0.02)
    assert goodput(network, sender, 0.03) > 0.9e9


def test_a_window_of_ten_packets_is_the_beginning() -> None:
    assert Controller(DATAGRAM, 0.0).window == 10 * DATAGRAM


def test_what_is_acknowledged_doubles_the_window_at_first() -> None:
    control = Controller(DATAGRAM, 0.0)
    sent = control.on_sent(0.0, 10 * DATAGRAM, 0)
    control.on_ack(0.05, [(sent, 10 * DATAGRAM)], 0, 0, 0.05, 0.05)
    assert control.window == 20 * DATAGRAM


def test_a_sender_without_enough_data_does_not_grow_its_window() -> None:
    control = Controller(DATAGRAM, 0.0)
    for second in range(20):
        sent = control.on_sent(second, DATAGRAM, 0)
        control.on_app_limited(DATAGRAM)
        control.on_ack(second + 0.05, [(sent, DATAGRAM)], 0, 0, 0.05, 0.05)
    assert control.window <= 11 * DATAGRAM


def test_persistent_congestion_and_a_new_path_begin_again() -> None:
    control = Controller(DATAGRAM, 0.0)
    sent = [control.on_sent(0.0, 10 * DATAGRAM, 0) for _ in range(2)]
    control.on_ack(0.05, [(sent[0], 10 * DATAGRAM)], 0, 10 * DATAGRAM, 0.05, 0.05)
    control.on_persistent_congestion(1.0)
    assert control.window == 4 * DATAGRAM
    control.on_path_change(2.0)
    assert control.window == 10 * DATAGRAM
    control.on_ack(3.0, [(sent[1], 10 * DATAGRAM)], 0, 0, 3.0, 0.05)
    assert control.window == 10 * DATAGRAM, "an answer to what left before says nothing"
    assert control.phase is Phase.STARTUP
    assert control.bandwidth == 0


def test_an_acknowledgement_without_a_round_trip_sample_or_any_time_is_survived() -> None:
    control = Controller(DATAGRAM, 0.0)
    for number in range(200):
        sent = control.on_sent(0.0, DATAGRAM, number % 3 * DATAGRAM)
        rtt = 0.0 if number % 2 else None
        control.on_ack(0.0, [(sent, DATAGRAM)], 20 * DATAGRAM, 0, rtt, 0.0)
        control.on_lost(0.0, DATAGRAM, 0)
        assert control.window >= 4 * DATAGRAM
        assert control.rate > 0
