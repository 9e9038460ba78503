"""The text menu, as somebody at a terminal uses it: on a pseudo-terminal, beside a second agent that answers."""

import contextlib
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_client import LocalClient
from tests.support.programs import PATIENCE, ROOT, Programs, environment, free_port, furnished


class Screen:
    """An agent with `--terminal` on a pseudo-terminal, and the hands of a person."""

    def __init__(self, data: Path, rendezvous: str) -> None:
        outside, inside = pty.openpty()
        flags = ["--port", str(free_port()), "--data", str(data), "--rendezvous", rendezvous, "--terminal"]
        environ = environment() | {"PYTHONUTF8": "1", "TERM": "dumb"}
        command = [sys.executable, "-m", "agent", *flags]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=inside, stdout=inside, stderr=inside)
        os.close(inside)
        self._fd = outside
        self._text = ""
        self._read_to = 0
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._fd, 4096):
                with self._news:
                    self._text += data.decode("utf-8", "replace").replace("\r\n", "\n")
                    self._news.notify_all()

    def sees(self, pattern: str) -> re.Match[str]:
        """Wait for something new on the screen."""
        with self._news:
            found = self._news.wait_for(lambda: re.search(pattern, self._text[self._read_to :]), PATIENCE)
            assert found, f"{pattern!r} is not on the screen:\n{self._text}"
            self._read_to += found.end()
        return found

    def types(self, line: str) -> None:
        os.write(self._fd, line.encode() + b"\n")

    def chooses(self, text: str) -> None:
        """Wait for a menu with this choice, and take it."""
        number = self.sees(rf"\n +(\d+)  [^\n]*{text}[^\n]*").group(1)
        self.sees("> ")
        self.types(number)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        os.close(self._fd)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[tuple[Screen, LocalClient]]:
    with Programs(tmp_path) as programs:
        rendezvous = programs.rendezvous()
        (bob,) = programs.agents(rendezvous.url, "bob")
        client = LocalClient(bob.page_url)
        client.until(lambda: client.state["reachability"]["rendezvous"] == "up" and client.me, "a name")
        screen = Screen(furnished(tmp_path / "alice"), rendezvous.url)
        try:
            yield screen, client
        finally:
            screen.close()
            client.close()


def test_a_person_without_a_browser_signs_up_connects_asks_and_answers(room: tuple[Screen, LocalClient]) -> None:
    screen, bob = room
    screen.chooses("Choose a name")
    screen.sees("A name that others will see: ")
    screen.types("alice")
    screen.sees("You are alice")
    screen.chooses("Find people")
    screen.sees("Part of a name")
    screen.types("")
    screen.chooses("bob, online")
    screen.sees("bob, online")
    screen.chooses("Ask for a connection")
    screen.sees("A wish")
    screen.types("hello")
    screen.sees("Asked. bob decides")
    bob.accept(bob.until_asked("alice", "connection"))
    screen.sees("You and bob are connected")

    screen.types("")  # looks again: there is more that can be done now
    screen.chooses("Ask for a quote")
    screen.sees("A wish")
    screen.types("")
    bob.accept(bob.until_asked("alice", "quote"))
    screen.sees(r"From bob:\n[^\n]+")

    asked = bob.ask("ask_quote", "alice", wish="about the sea")
    screen.sees("bob asks for a quote: “about the sea”")
    screen.types("0")
    screen.sees("You are alice")
    screen.chooses("Answer")
    screen.chooses("Yes, one at random")
    assert bob.until_ended(asked)["phase"] == "done"

    screen.types("9999")
    screen.sees("There is no '9999'")
    screen.types("0")
    screen.sees("Stopping")
    assert screen.process.wait(PATIENCE) == 0
