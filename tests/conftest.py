"""What all tests share: hypothesis without chance or deadlines, and where the browser is."""

import chromium as chromium_finder
import pytest
from hypothesis import settings

# The same examples in every run, and no examples kept from earlier ones.
settings.register_profile("tmge", deadline=None, derandomize=True, database=None)
settings.load_profile("tmge")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; ./run test puts it into TMGE_CHROMIUM."""
    found = chromium_finder.find()
    assert found is not None, chromium_finder.CURE
    return found


# Whole files go to whichever worker is free: those that start programs first, so that nobody waits for one at the end.
SLOW_FIRST = ("e2e", "lab", "rendezvous", "web", "bench")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take long in front; within a room everything stays as it is."""

    def rank(item: pytest.Item) -> int:
        room = item.path.parent.name
        return SLOW_FIRST.index(room) if room in SLOW_FIRST else len(SLOW_FIRST)

    items.sort(key=rank)
