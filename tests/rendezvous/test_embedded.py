"""The embedded server: it keeps what it acknowledged, whoever is killed, and never runs twice on
one folder.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from rendezvous.embedded import EmbeddedError, EmbeddedServer
from tests.support.live_rendezvous import Heard

KEEPER = """
import sys
from pathlib import Path
from rendezvous import embedded
if sys.argv[2] == "orphan":
    embedded._die_with_parent = lambda: None
server = embedded.EmbeddedServer(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tmge-test-"))
    yield folder
    shutil.rmtree(folder)


def client_of(server: EmbeddedServer) -> "redis.Redis":
    client: redis.Redis = redis.Redis.from_url(server.url)
    return client


class Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines = Heard[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines(record.getMessage())


@pytest.fixture
def log() -> Iterator[Heard[str]]:
    handler = Log()
    logger = logging.getLogger("rendezvous.embedded")
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)


def test_what_was_written_is_there_after_a_restart(folder: Path) -> None:
    for run in range(2):
        server = EmbeddedServer(folder / "with a space")
        server.start()
        assert client_of(server).incr("runs") == run + 1
        server.stop()
    assert not (folder / "with a space" / "valkey" / "valkey.sock").exists()


def test_a_server_that_is_killed_comes_back_by_itself_with_everything(folder: Path, log: Heard[str]) -> None:
    server = EmbeddedServer(folder)
    server.start()
    client = client_of(server)
    for number in range(500):
        client.set(str(number), number)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    log.until(lambda line: "ended by itself" in line)
    log.until(lambda line: "is back" in line)
    assert client.dbsize() == 500
    server.stop()


def test_a_second_server_on_one_folder_is_refused(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.start()
    with pytest.raises(EmbeddedError, match="Another rendezvous already uses"):
        EmbeddedServer(folder).start()
    assert client_of(server).ping()
    server.stop()


@pytest.mark.parametrize("kind", ["child", "orphan"])
def test_a_new_start_takes_over_what_a_killed_one_left(folder: Path, kind: str) -> None:
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(folder), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert keeper.stdout is not None
    left = int(keeper.stdout.readline())
    server = EmbeddedServer(folder)
    assert client_of(server).set("kept", 1)
    keeper.kill()
    keeper.communicate()
    if kind == "orphan":
        os.kill(left, 0)
    server.start()
    assert server.pid != left
    assert client_of(server).get("kept") == b"1"
    server.stop()


def test_nobody_else_can_reach_the_data(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.start()
    assert (folder / "valkey").stat().st_mode & 0o777 == 0o700
    assert client_of(server).config_get("port") == {"port": "0"}
    server.stop()


def test_a_folder_that_others_can_reach_is_refused(folder: Path) -> None:
    (folder / "valkey").mkdir(mode=0o755)
    with pytest.raises(EmbeddedError, match="not private"):
        EmbeddedServer(folder).start()


def test_a_path_too_long_for_a_socket_works_all_the_same(folder: Path) -> None:
    server = EmbeddedServer(folder / ("long" * 30))
    server.start()
    assert client_of(server).ping()
    server.stop()
    socket_folder = Path(server.url.removeprefix("unix://")).parent
    assert socket_folder.parent == Path(tempfile.gettempdir())
    socket_folder.rmdir()


@pytest.mark.parametrize("path", ["/proc/nowhere", "/dev/null/data"])
def test_a_folder_that_cannot_be_is_one_sentence(path: str) -> None:
    with pytest.raises(EmbeddedError, match=r"^The data folder .* cannot be used: .*\.$"):
        EmbeddedServer(Path(path)).start()
