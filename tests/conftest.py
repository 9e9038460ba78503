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
