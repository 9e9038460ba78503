"""The client of the rendezvous, as tests use it: with a ledger of its own, and all that it tells kept."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.directory import Directory
from agent.directory_servers import RelayTicket
from agent.ledger import Evidence, Ledger
from agent.person import Person
from agent.protocol.errors import UsageError
from tests.support.live_rendezvous import Heard, Someone

RETURN = 10.0
"""Seconds within which everyone is back after a rendezvous has returned."""


@dataclass
class Client:
    """A directory client, and what it told."""

    url: str
    who: Someone
    visibility: str = "listed"
    direct: bool = False
    presence: Heard[Person] = field(default_factory=Heard)
    status: Heard[tuple[str, str]] = field(default_factory=Heard)
    evidence: Heard[Evidence] = field(default_factory=Heard)
    tickets: Heard[RelayTicket] = field(default_factory=Heard)
    folder: "tempfile.TemporaryDirectory[str]" = field(default_factory=tempfile.TemporaryDirectory)
    ledger: Ledger = field(init=False)
    directory: Directory = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(Path(self.folder.name) / "directory.db")
        self.directory = Directory(
            self.url,
            self.who,
            self.ledger,
            next_seq=self.who.next_seq,
            on_presence=self.presence,
            on_status=lambda status, sentence: self.status((status, sentence)),
            on_evidence=self.evidence,
            on_ticket=self.tickets,
            visibility=self.visibility,
            direct=self.direct,
        )

    def close(self) -> None:
        """Give back what was opened."""
        self.ledger.close()
        self.folder.cleanup()

    def until(self, status: str, words: str = "", seconds: float = RETURN) -> None:
        """Wait for a status whose sentence has these words."""
        sentence = self.status.until(lambda told: told[0] == status and words in told[1], seconds)[1]
        assert sentence.endswith(".")

    def until_online(self, name: str, online: bool) -> Person:
        """Wait for the news that someone is here, or is not."""
        return self.presence.until(lambda person: (person.name, person.online) == (name, online), RETURN)


@contextlib.contextmanager
def client(url: str, who: Someone, visibility: str = "listed", *, direct: bool = False) -> Iterator[Client]:
    started = Client(url, who, visibility, direct)
    started.directory.start()
    yield started
    started.directory.stop()
    started.close()


def refusal(call: Callable[[], object]) -> str:
    """Return the code of the error that a call ends with; its message must be one sentence."""
    with pytest.raises(UsageError) as caught:
        call()
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    return caught.value.code
