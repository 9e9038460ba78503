"""What tests of the agent share: one running page, because a start costs more than a test."""

from collections.abc import Iterator

import pytest

from tests.support.page_server import RunningAgent, start_agent


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    """An agent whose page runs over an Exchange that decides nothing; it must not say a word."""
    agent = start_agent(tmp_path_factory.mktemp("page") / "data", "--log-level", "warning")
    yield agent
    status, said = agent.stop()
    assert status == 0
    assert "Traceback" not in said
