"""One browser for each file of page tests, and an agent without peers for each test."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.browser import headless
from tests.support.fake_agent import FakeAgent, person


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with headless(chromium) as browser:
        yield browser


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    """Alice's agent: she is connected with Bob, knows Dora, and Carol is here too."""
    with FakeAgent("Alice") as agent:
        agent.contacts = [person("Bob", connected=True), person("Dora", online=False)]
        agent.listed = [*agent.contacts, person("Carol")]
        yield agent
