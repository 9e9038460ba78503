"""Menus on a terminal: asks the person, and writes what happens meanwhile. Which menus there are is `menus`'."""

import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.commands import described, open_requests, quotation, waits_for_me
from agent.local_client import FINAL, LocalClient, Value
from agent.plain import in_one_line, shown
from agent.protocol.errors import UsageError

_ENDED: Final = {
    "rejected": "{peer} said no to",
    "expired": "nobody answered in time:",
    "cancelled": "cancelled:",
    "unreachable": "{peer} could not be reached for",
    "failed": "it did not work:",
}
_WHAT: Final = {"connection": "the connection", "quote": "the quote", "image": "the picture"}


class Leave(Exception):
    """The person, or the end of the input, ends the menu."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A line of a menu, and what it does."""

    text: str
    act: Callable[[], None]


class Terminal:
    """Reads choices and writes what happens; both may come from different threads."""

    def __init__(
        self, client: LocalClient, read: Callable[[], str] = input, write: Callable[[str], object] = sys.stdout.write
    ) -> None:
        self.client = client
        self._read, self._write = read, write
        self._question = ""
        self._writing = threading.Lock()
        self._told = {id for id, entry in client.requests.items() if entry["phase"] in FINAL}
        client.listen(self._heard)

    # --- asking the person ---

    def menu(self, title: str, choices: Sequence[Choice], back: str = "Back") -> bool:
        """Offer choices once and carry one out; False when the person wants to go back. What fails is said."""
        self.say(
            "", title, *(f"{number:>3}  {choice.text}" for number, choice in enumerate(choices, 1)), f"  0  {back}"
        )
        answer = self.ask("> ")
        if answer in ("", "?"):
            return True
        if answer in ("0", "q"):
            return False
        if not (answer.isascii() and answer.isdigit() and int(answer[:4]) <= len(choices)):
            self.say(f"There is no {answer[:20]!r}: type a number from 0 to {len(choices)}, or Enter to look again.")
            return True
        try:
            choices[int(answer) - 1].act()
        except UsageError as error:
            self.say(in_one_line(error.message))
        return True

    def ask(self, question: str) -> str:
        """Return a line that the person types; Leave where there is no more input."""
        if self.client.closed:
            raise Leave
        with self._writing:
            self._question = question
            self._show(question)
        try:
            return self._read().strip()
        except (EOFError, KeyboardInterrupt):
            raise Leave from None
        finally:
            self._question = ""

    def say(self, *lines: str) -> None:
        """Write lines, whole."""
        with self._writing:
            self._show("".join(f"{line}\n" for line in lines))

    # --- what happens meanwhile ---

    def _heard(self, event: str, value: Any) -> None:
        if event == "notice":
            self._interrupt(in_one_line(value["message"]))
        elif event == "request":
            self._tell(value)

    def _interrupt(self, text: str) -> None:
        """Write what happened below a question that stands there, and the question anew."""
        with self._writing:
            self._show(("\n" if self._question else "") + f"* {text}\n{self._question}")

    def _show(self, text: str) -> None:
        self._write(text)
        sys.stdout.flush()

    def _tell(self, entry: Value) -> None:
        id, phase = entry["request"], entry["phase"]
        if phase == "waiting" and entry["direction"] == "in":
            self._interrupt(described(entry))
        elif phase in FINAL and id not in self._told:
            self._told.add(id)
            self._interrupt(_end_of(entry))

    def answering(self) -> list[Value]:
        """Return what waits for this person's answer."""
        return [entry for entry in open_requests(self.client) if waits_for_me(entry)]


def _end_of(entry: Value) -> str:
    """Say how a request has ended."""
    peer, what = shown(entry["peer"]), _WHAT[entry["kind"]]
    if entry["phase"] != "done":
        reason = f" {in_one_line(entry['reason'])}" if entry.get("reason") else ""
        return _ENDED[entry["phase"]].format(peer=peer) + f" {what} with {peer}.{reason}"
    if entry["kind"] == "connection":
        return f"You and {peer} are connected."
    came = (entry["direction"] == "out") == (entry["verb"] == "ask")
    if not came:
        return f"{peer} has {what}."
    if "quote" in entry:
        return f"From {peer}:\n{quotation(entry['quote'])}"
    image = entry["image"]
    return (
        f"From {peer}: a picture, {image['width']} × {image['height']}, {image['bytes']:,} bytes, in your collection."
    )
