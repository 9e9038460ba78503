"""The agent's real entry point and page over an Exchange that decides nothing, for tests.

Run as a script, it is the agent with the composition root replaced; `start_agent` runs it so, as a
process of its own with real sockets. What the page calls is recorded, answered or refused by name.
"""

import contextlib
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 1024
START_SECONDS = 30.0
STOP_SECONDS = 20.0


class FakeExchange:
    """Answers every call; some words in an argument bring about what else can happen."""

    def __init__(self, folder: Path, publish: Any) -> None:
        self._folder = folder
        self._publish = publish
        self.failing = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda **arguments: self._call(name, arguments)

    def _call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        from agent.protocol.errors import UsageError

        if arguments.get("name") == "taken":
            raise UsageError("name_taken", "Someone else has this name.")
        if arguments.get("name") == "fault":
            raise RuntimeError("a secret detail")
        if arguments.get("text") == "tell":
            self._publish("notice", {"level": "info", "code": "told", "message": "Told."})
        return {"call": name, "arguments": arguments}

    def get_state(self) -> dict[str, Any]:
        return {"me": {"name": None}, "people": []}

    def key_text(self) -> str:
        return "Zoë\nacorn actor"

    def add_image(self, stream: IO[bytes], filename: str | None) -> dict[str, Any]:
        from agent.protocol.errors import UsageError

        digest = hashlib.sha256()
        size = 0
        while block := stream.read(1 << 16):
            size += len(block)
            digest.update(block)
        if filename == "picture.svg":
            raise UsageError("unsupported_image", "This is not a picture.")
        return {"item": "0" * 32, "sha256": digest.hexdigest(), "bytes": size, "name": filename}

    def add_quotes(self, stream: IO[bytes]) -> dict[str, Any]:
        from agent.quote_file import QuoteFile

        file = QuoteFile(stream.read())
        return {"added": len(file.quotes), "known": 0, "refused": file.as_json(), "left_out": file.left_out}

    def preview(self, request: str) -> bytes | None:
        return b"RIFF" if request.startswith("e") else None

    def media(self, sha256: str) -> tuple[Path, str] | None:
        path = self._folder / "pictures" / sha256
        return (path, "image/png") if path.is_file() else None

    def partial(self, request: str) -> Iterator[bytes] | None:
        if request.startswith("0"):
            return None
        if request.startswith("d"):
            return arriving(self._folder, request)
        return self._growing(request)

    def _growing(self, request: str) -> Iterator[bytes]:
        yield PNG[:4096]
        if request.startswith("b"):
            raise RuntimeError("the picture will never be whole")
        if request.startswith("c"):
            self._wait_for(self._folder / f"go-{request}")
        yield PNG[4096:]

    def _wait_for(self, path: Path) -> None:
        turn = threading.Event()
        while not path.exists():
            turn.wait(0.02)


def arriving(folder: Path, request: str) -> Iterator[bytes]:
    """Follow a real picture into a real library; files `REQUEST-MOVE` say what happens, each once the other is gone.

    A move is the number of a chunk that arrives, `keep`, `discard` or `close`; the picture is in the file `picture`.
    """
    from agent.library import Library
    from tests.support.disk import receiving, write

    data = (folder / "picture").read_bytes()
    library = Library(folder / f"library-{request}")
    sink = receiving(library, data, request, **json.loads((folder / "announced").read_text()))
    moves = {"keep": sink.finish, "discard": sink.discard, "close": sink.close}

    def move() -> None:
        turn = threading.Event()
        while library is not None:
            for path in folder.glob(f"{request}-*"):
                word = path.name.partition("-")[2]
                path.unlink()
                if word.isdigit():
                    write(sink, int(word), data)
                else:
                    with contextlib.suppress(Exception):
                        moves[word]()
                    return
            turn.wait(0.01)

    threading.Thread(target=move, daemon=True).start()
    return sink.follow()


class FakeApplication:
    """What agent.app.build returns."""

    def __init__(self, folder: Path, publish: Any, name: str | None) -> None:
        self.exchange = FakeExchange(folder, publish)
        self._folder = folder
        self._name = name

    def start(self) -> None:
        if self._name == "fault":
            raise RuntimeError("it cannot start")

    def stop(self) -> None:
        (self._folder / "stopped").write_text("yes")


def build(settings: Any, folder: Any, identity: Any, peers: Any, publish: Any) -> FakeApplication:
    """Stand in for the composition root."""
    assert peers.udp.getsockname()[1] == peers.tcp.getsockname()[1] == peers.port
    assert len(identity.key) == 32
    return FakeApplication(folder.path, publish, settings.name)


def main() -> int:
    """Run the agent's own main on the fake composition root."""
    import agent

    fake = ModuleType("agent.app")
    fake.build = build  # type: ignore[attr-defined]
    sys.modules["agent.app"] = agent.app = fake
    from agent.__main__ import main as agent_main

    return agent_main()


@dataclass(slots=True)
class RunningAgent:
    """An agent process, its page's port, its folder and its token."""

    process: subprocess.Popen[str]
    port: int
    data: Path
    link: str

    @property
    def url(self) -> str:
        """Give the address of the page, without the last slash."""
        return f"http://localhost:{self.port}"

    @property
    def bearer(self) -> str:
        """Give the Authorization header of a script."""
        return f"Bearer {self.token}"

    @property
    def cookie(self) -> str:
        """Give the Cookie header of a browser that followed the link."""
        return ask(self, f"/?token={self.token}").headers["set-cookie"].partition(";")[0]

    @property
    def token(self) -> str:
        """Give the token that the printed line holds."""
        return self.link.partition("?token=")[2]

    def stop(self) -> tuple[int, str]:
        """Ask it to stop; its exit status and what it wrote on stderr."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=STOP_SECONDS)
        return self.process.returncode, said


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back over HTTP; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, str]:
        """Give the `error` of a JSON answer."""
        error: dict[str, str] = json.loads(self.body)["error"]
        assert set(error) == {"code", "message"}
        assert error["message"].endswith(".")
        assert "Traceback" not in error["message"]
        return error


def ask(agent: RunningAgent, path: str, method: str = "GET", body: bytes | None = None, /, **headers: str) -> Answered:
    """Make one request with exactly these headers (`_` stands for `-`), and a right Host if none."""
    connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=STOP_SECONDS)
    said = {"Host": f"localhost:{agent.port}"}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(connection):
        connection.request(method, path, body, said)
        answer = connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return Answered(answer.status, fields, answer.read())


@contextlib.contextmanager
def growing(agent: RunningAgent, request: str) -> Iterator[http.client.HTTPResponse]:
    """Ask for a picture that arrives; what is read of it is what has arrived."""
    connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=STOP_SECONDS)
    headers = {"Host": f"localhost:{agent.port}", "Authorization": agent.bearer}
    with contextlib.closing(connection):
        connection.request("GET", f"/media/partial/{request}", headers=headers)
        yield connection.getresponse()


def form(data: bytes, filename: str | None = "picture.png", field: str = "image") -> tuple[bytes, str]:
    """Make the body of an upload, and its Content-Type."""
    name = f'; filename="{filename}"' if filename is not None else ""
    head = f'--sea\r\nContent-Disposition: form-data; name="{field}"{name}\r\n\r\n'
    return head.encode() + data + b"\r\n--sea--\r\n", "multipart/form-data; boundary=sea"


def command(*flags: str) -> list[str]:
    """Give the command that runs this file as an agent."""
    return [sys.executable, "-m", "tests.support.page_server", "--no-browser", *flags]


def environment() -> dict[str, str]:
    """Give an environment in which the rooms are found, and no screen."""
    kept = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    kept.pop("TMGE_RENDEZVOUS", None)
    return {**kept, "PYTHONPATH": str(ROOT)}


def free_port() -> int:
    """Find a TCP port that is free on both loopback addresses, outside the ephemeral range."""
    for port in range(20000 + os.getpid() % 5000, 32000):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                probe = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                probe.bind((address, port))
            return port
    raise AssertionError("no free port")


def start_agent(data: Path, *flags: str, port: int | None = None) -> RunningAgent:
    """Start an agent and wait for the line that it prints."""
    port = port or free_port()
    process = subprocess.Popen(
        command("--port", str(port), "--data", str(data), *flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    late = threading.Timer(START_SECONDS, process.kill)
    late.start()
    assert process.stdout is not None
    link = process.stdout.readline().strip()
    late.cancel()
    if not link:
        _, said = process.communicate(timeout=STOP_SECONDS)
        raise AssertionError(f"the agent did not start: {said}")
    return RunningAgent(process, port, data, link)


def run_agent(*flags: str, **more: str) -> tuple[int, str]:
    """Run an agent that is to end by itself; its exit status and what it wrote on stderr."""
    done = subprocess.run(
        command(*flags),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        env={**environment(), **more},
        check=False,
    )
    return done.returncode, done.stderr


if __name__ == "__main__":
    sys.exit(main())
