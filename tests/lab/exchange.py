"""What the people of a cell do, and what came of it: connect, a quote, a picture; one `Row` a cell.

Measures from outside, at the local contract. Whether a row is as it should be is expectations.py's to say.
"""

import contextlib
import hashlib
import threading
import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Final

from tests.lab.crew import Crew, Person, kind_of_path
from tests.lab.topology import Cell, Topology
from tests.support.local_client import Refused, Value
from tests.support.pictures import picture

QUOTE: Final = {"text": "The hole is dug from both sides.", "author": "A. Nonymous"}
GOES_DIRECT: Final = 3.0
"""Seconds that a cell is given to find a direct path before its picture is asked for."""
ENDS: Final = 30.0
LONGEST: Final = 300
"""Characters of a problem: what an agent has said at last can be its whole library."""
RELAYED: Final = ("relay-udp", "relay-ws")


@dataclass(slots=True)
class Row:
    """What came of one cell; None where it did not come to it. Times in ms."""

    cell: str
    round_trip: float
    """Between any two machines of the wide network; over the relay it is twice that."""
    forecast: str | None = None
    ended: str | None = None
    """The last word on the connection."""
    reason: str | None = None
    ended_after: float | None = None
    connect: float | None = None
    """From the question to the connection, with an answer at once."""
    path_first: str | None = None
    path_a: str | None = None
    path_b: str | None = None
    quote: float | None = None
    """From the yes to the quote on the asker's page."""
    quote_path: str | None = None
    quote_via: str | None = None
    direct: float | None = None
    """From the yes to a path at both ends that is not relayed."""
    picture: float | None = None
    picture_equal: bool | None = None
    seconds: float = 0.0
    problem: str | None = None
    log: str = ""

    @property
    def quote_round_trips(self) -> float | None:
        """How many round trips of its path the quote took."""
        if self.quote is None or self.quote_path == "lan":
            return None
        return round(self.quote / (self.round_trip * (2 if self.quote_path in RELAYED else 1)), 1)

    def value(self) -> Value:
        """Return what `--json` prints."""
        kept = {name: value for name, value in asdict(self).items() if name != "log"}
        return kept | {"quote_round_trips": self.quote_round_trips}


@cache
def a_picture(side: int = 600) -> bytes:
    """Return a picture that no compression makes smaller: 600 pixels a side are 1.08 MB."""
    return picture("PNG", (side, side), seed=side)


class Clock:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, until: float | None = None) -> float:
        return round(((until or time.monotonic()) - self._began) * 1000, 1)


def try_cell(cell: Cell, *, round_trip: float, rate: float) -> Row:
    """Build a cell, let its people exchange what they can, and take it down."""
    row = Row(str(cell), round_trip)
    clock = Clock()
    try:
        with Topology(cell, round_trip=round_trip, rate=rate) as topology, Crew(topology) as crew:
            try:
                _exchange(topology, crew, row)
            finally:
                row.path_a, row.path_b = crew.a.path_to("bob"), crew.b.path_to("alice")
                row.log = crew.logs()
    except Exception as problem:  # one cell's fault is told, and ends no other
        row.problem = f"{type(problem).__name__}: {problem}"[:LONGEST]
    row.seconds = round(clock() / 1000, 1)
    return row


def _exchange(topology: Topology, crew: Crew, row: Row) -> None:
    a, b = crew.a, crew.b
    quote = b.client.call("add_quote", **QUOTE)["item"]
    image = b.upload(a_picture())
    crew.settle()
    for who in topology.cell.cut:
        topology.cut(who)
    row.forecast = forecast(a, b)
    watch = Watch(crew)
    if not _connect(crew, row, watch):
        return
    _quote(crew, row, quote)
    watch.wait_until_direct(GOES_DIRECT)
    row.direct = watch.direct()
    _picture(crew, row, image)


def _connect(crew: Crew, row: Row, watch: "Watch") -> bool:
    """Have the one ask and the other say yes at once; tell whether they are connected."""
    asking = Clock()
    try:
        request = crew.a.client.ask("connect_to", crew.b.name)
    except Refused as refused:
        row.ended, row.reason, row.ended_after = refused.code, refused.message, asking()
        return False
    yes = threading.Thread(target=_say_yes, args=(crew.b, request, watch), daemon=True)
    yes.start()
    ended = crew.a.client.until_ended(request, ENDS)
    row.ended, row.reason, row.ended_after = ended["phase"], ended.get("reason"), asking()
    if ended["phase"] != "done":
        return False
    row.connect = row.ended_after
    crew.b.client.until_phase(request, "done")
    row.path_first = crew.a.path_to(crew.b.name)
    return True


def connect_people(crew: Crew) -> None:
    """Have two people say yes to a connection."""
    request = crew.a.client.ask("connect_to", crew.b.name)
    crew.b.client.accept(request)
    for person in (crew.a, crew.b):
        person.client.until_phase(request, "done", ENDS)


def _say_yes(person: Person, request: str, watch: "Watch") -> None:
    with contextlib.suppress(AssertionError, Refused):  # whoever asked says how it ended
        person.client.until_phase(request, "waiting", ENDS)
        watch.yes = time.monotonic()
        person.client.call("answer", request=request, accept=True)


def _quote(crew: Crew, row: Row, item: str) -> None:
    request = crew.a.client.ask("ask_quote", crew.b.name)
    crew.b.client.until_phase(request, "waiting")
    yes = Clock()
    row.quote_path = crew.a.path_to(crew.b.name)
    crew.b.client.accept(request, item=item)
    ended = crew.a.client.until_phase(request, "done")
    shown = crew.a.client.until(lambda: crew.a.client.times("quote", request), "the quote")
    row.quote = yes(shown[0])
    row.quote_via = ended.get("via")
    assert ended["quote"]["text"] == QUOTE["text"], f"another quote came: {ended['quote']}"


def _picture(crew: Crew, row: Row, item: str) -> None:
    asked = Clock()
    entry = fetch_picture(crew, item)
    row.picture = asked()
    data = crew.a.fetch(entry["image"]["url"])
    row.picture_equal = hashlib.sha256(data).digest() == hashlib.sha256(a_picture()).digest()


def fetch_picture(crew: Crew, item: str, seconds: float = ENDS) -> Value:
    """Have the one ask for a picture and the other give it; return the finished request."""
    request = crew.a.client.ask("ask_image", crew.b.name)
    crew.b.client.accept(request, item=item)
    return crew.a.client.until_phase(request, "done", seconds)


def forecast(person: Person, other: Person) -> str | None:
    """Return what the doctor says beforehand: `direct`, `relayed`, `unreachable`; None where there is no doctor."""
    try:
        said: Any = person.client.call("get_doctor", peer=other.name)
    except Refused:
        return None
    path: str = said["forecast"]["path"]
    return path


class Watch:
    """When both ends were first on a path that is not relayed, since the yes."""

    def __init__(self, crew: Crew) -> None:
        self._sides = ((crew.a, crew.b.name), (crew.b, crew.a.name))
        self.yes = 0.0

    def wait_until_direct(self, seconds: float) -> None:
        """Wait until both are, at most so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not all(_is_direct(side.path_to(name)) for side, name in self._sides):
            threading.Event().wait(0.02)

    def direct(self) -> float | None:
        """Return the ms from the yes to the later of both; None if one is relayed still."""
        times = [self._since(side, name) for side, name in self._sides]
        known = [time for time in times if time is not None]
        return round((max(known) - self.yes) * 1000, 1) if len(known) == len(times) else None

    def _since(self, person: Person, name: str) -> float | None:
        """Return when the path to somebody was first direct."""
        if not _is_direct(person.path_to(name)):
            return None
        for when, event, value in list(person.client.events):
            entries = value if event == "people" else value["people"] if event == "state" else []
            for entry in entries:
                if entry["name"] == name and _is_direct(kind_of_path(entry)):
                    return when
        return None


def _is_direct(kind: str | None) -> bool:
    return kind is not None and kind not in RELAYED
