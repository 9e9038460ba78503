"""Checks what clients saw of claims against what one register for each name would have answered (linearizability).

A name is a register that is written once: whoever's claim takes effect first owns it. A call takes effect at one moment
between its begin and its end; one whose answer was lost at some moment after its begin, or never. For such a register
the question has a direct answer: a history can be explained if one owner can be named for each name whose own claims
were never refused, to whom alone the name was given, and whose first claim began before the end of each refusal.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby


class Outcome(Enum):
    """What a client was told."""

    NEW = "new"
    RENEWED = "renewed"
    TAKEN = "taken"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Claimed:
    """One call: who claimed what, when it began and ended (on one clock), and how."""

    client: str
    name: str
    begin: float
    end: float
    outcome: Outcome

    @property
    def given(self) -> bool:
        """Say whether the client was told that the name is its own."""
        return self.outcome in (Outcome.NEW, Outcome.RENEWED)


def objections(history: Iterable[Claimed], owners: dict[str, str]) -> Iterator[str]:
    """Say what no register would have answered; `owners` is who has each name in the end."""
    calls = sorted(history, key=lambda call: (call.name, call.begin))
    for name, of_name in groupby(calls, key=lambda call: call.name):
        yield from _objections(name, list(of_name), owners.get(name))
    for name in owners.keys() - {call.name for call in calls}:
        yield f"{name} is {owners[name]}'s, who never claimed it"


def _objections(name: str, calls: list[Claimed], owner: str | None) -> Iterator[str]:
    own = [call for call in calls if call.client == owner]
    effective = [call.begin for call in own if call.outcome is not Outcome.TAKEN]
    if owner is not None and not effective:
        yield f"{name} is {owner}'s, who never got it"
    for call in calls:
        if call.given and call.client != owner:
            yield f"{name} was acknowledged to {call.client}, and is {owner}'s"
        if call.outcome is Outcome.TAKEN and call.client == owner:
            yield f"{name} was refused to {owner}, who has it"
        if call.outcome is Outcome.TAKEN and min(effective, default=call.end) >= call.end:
            yield f"{name} was refused to {call.client} before anybody had claimed it"
    if sum(call.outcome is Outcome.NEW for call in calls) > 1:
        yield f"{name} was new more than once"
    for first in own:
        if first.given and any(call.outcome is Outcome.NEW and call.begin > first.end for call in calls):
            yield f"{name} was new after it had been given"
