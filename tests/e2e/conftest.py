"""Real programs for whole files of tests: one rendezvous each, one browser, and their logs where a test fails."""

from collections.abc import Generator, Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.browser import headless
from tests.support.programs import Programs, Rendezvous


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the programs have said, beside what went wrong."""
    report = yield
    programs = item.funcargs.get("programs")
    if report.failed and isinstance(programs, Programs):
        report.sections += programs.logs()
    return report


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    with Programs(tmp_path_factory.mktemp("programs")) as programs:
        yield programs


@pytest.fixture(scope="module")
def rendezvous(programs: Programs) -> Rendezvous:
    return programs.rendezvous()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with headless(chromium) as browser:
        yield browser
