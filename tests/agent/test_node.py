"""The pump on real sockets: the same transfer with and without what a kernel may have."""

import pytest

from tests.bench.support.contest import Pair, file_of


@pytest.mark.parametrize(
    "options",
    [[], ["--one-by-one"], ["--no-checksum"], ["--buffer", "16384"]],
    ids=["in batches", "one by one", "batches that fail at run time", "a buffer that overflows"],
)
def test_a_file_arrives_as_it_was(options: list[str]) -> None:
    with file_of(3_000_000) as file, Pair("ours", file, options) as pair:
        for _ in range(2):
            took = pair.fetch()  # ends only when the taker has verified the SHA-256 of the whole
            assert took.arrived > took.began
