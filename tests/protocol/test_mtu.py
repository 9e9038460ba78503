"""The search for the path's size, on paths that take anything from 1200 bytes up."""

import pytest

from agent.protocol.mtu import CLOSE_ENOUGH, RAISE_SECONDS, PathMtu
from agent.protocol.packet import LARGEST_DATAGRAM, SMALLEST_DATAGRAM


def search(limit: int) -> tuple[PathMtu, int]:
    """Search a path that carries datagrams up to `limit`; return what was found and how many probes it took."""
    mtu, probes = PathMtu(0.0), 0
    while (size := mtu.take_probe(0.0)) is not None:
        probes += 1
        assert mtu.take_probe(0.0) is None, "one probe at a time"
        if size <= limit:
            mtu.arrived(size)
        else:
            mtu.lost(size)
    return mtu, probes


def test_a_path_that_takes_the_most_is_found_with_one_probe() -> None:
    mtu, probes = search(9000)
    assert (mtu.size, probes) == (LARGEST_DATAGRAM, 1)


@pytest.mark.parametrize("limit", range(SMALLEST_DATAGRAM, LARGEST_DATAGRAM, 7))
def test_any_path_is_found_closely_enough_and_never_exceeded(limit: int) -> None:
    mtu, probes = search(limit)
    assert limit - CLOSE_ENOUGH < mtu.size <= limit
    assert probes < 20


def test_a_black_hole_brings_back_the_smallest_size_until_the_path_is_searched_again() -> None:
    mtu, _ = search(9000)
    mtu.black_hole(100.0)
    assert mtu.size == SMALLEST_DATAGRAM
    assert mtu.take_probe(100.0 + RAISE_SECONDS - 1) is None
    assert mtu.take_probe(100.0 + RAISE_SECONDS) == LARGEST_DATAGRAM


def test_one_loss_of_a_probe_proves_nothing() -> None:
    mtu = PathMtu(0.0)
    assert mtu.take_probe(0.0) == LARGEST_DATAGRAM
    mtu.lost(LARGEST_DATAGRAM)
    assert mtu.take_probe(0.0) == LARGEST_DATAGRAM
    mtu.arrived(LARGEST_DATAGRAM)
    assert mtu.size == LARGEST_DATAGRAM
