"""The command `agent doctor [NAME]`: how this machine stands in the network, or how its person and NAME are connected.

Asks the agent that runs, over the local contract, and prints what the page shows; compares clocks with the rendezvous
by itself. Exit status: 0 all is well, 1 something does not work (or no agent is there), 2 wrong usage. Used by the
entry point.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from agent.directory_wire import Refused, Wire
from agent.local_client import LocalClient, folder_of
from agent.plain import in_one_line, shown
from agent.protocol.errors import UsageError
from agent.settings import DEFAULT_PAGE_PORT, Parser, StartError, port_number

CLOCK_NOTED: Final = 60.0
CLOCK_REFUSED: Final = 600.0
"""Seconds by which a clock may be wrong until a rendezvous refuses who signs up."""
_LEFT: Final = 16  # columns of what stands before each value
_MARKS: Final = {"answered": "+", "trying": "…"}
_FOUND: Final = {"host": "of this machine", "reflexive": "as seen from outside", "mapped": "opened by the router"}
_UDP: Final = {True: "comes through", False: "does not come through"}
_PATHS: Final = {
    "loopback": "on this computer",
    "lan": "in the local network",
    "direct": "directly",
    "mapped": "directly, through a port that a router has opened",
    "punched": "directly, through holes punched in both networks",
    "relay-udp": "through the relay",
    "relay-ws": "through the relay, over the web",
}
_WILL: Final = {"direct": "will be direct", "relayed": "will be relayed", "unreachable": "out of reach now"}
_CONNECTION: Final = {"none": "not connected now", "opening": "being connected", "open": "connected"}

Value = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Ask and print; return the exit status."""
    parser = Parser(
        prog="agent doctor",
        allow_abbrev=False,
        description="Say how this machine stands in the network, or how you and NAME are connected.",
    )
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="somebody you are connected with, or want to be")
    add("--port", type=port_number, default=DEFAULT_PAGE_PORT, metavar="N", help="its page's port (5050)")
    add("--data", type=Path, metavar="DIR", help="its data folder (one for each page port)")
    add("--json", action="store_true", help="print the values of the local contract")
    given = parser.parse_args(arguments)
    try:
        with LocalClient(folder_of(given.port, given.data)) as client:
            if given.name is None:
                clock = clock_ahead(client.state["settings"]["rendezvous"])
                lines, well = own_lines(client.state, clock), is_well(client.state, clock)
                value = {name: client.state[name] for name in ("me", "reachability")} | {"clock": clock}
            else:
                value = client.call("get_doctor", peer=given.name)
                value.pop("ok")
                lines, well = lines_about(given.name, value), value["forecast"]["path"] != "unreachable"
    except (StartError, UsageError) as error:
        print(in_one_line(str(error)), file=sys.stderr)
        return 1
    print(json.dumps(value, ensure_ascii=False) if given.json else "\n".join(shown(line) for line in lines))
    return 0 if well else 1


# --- this machine ---


def clock_ahead(rendezvous: str) -> float | None:
    """Return the seconds by which our clock is ahead of the rendezvous', to about one; None if it does not answer."""
    try:
        wire = Wire(rendezvous)
        wire.get("/identity")
    except (UsageError, Refused):
        return None
    return wire.clock


def is_well(state: Value, clock: float | None) -> bool:
    """Tell whether others can reach this person, as far as the agent knows."""
    up = state["reachability"]["rendezvous"] == "up"
    return bool(state["me"]["name"]) and up and abs(clock or 0.0) < CLOCK_REFUSED


def own_lines(state: Value, clock: float | None) -> Iterator[str]:
    """Yield what there is to say of this machine."""
    reach, me = state["reachability"], state["me"]
    nat = reach.get("nat", {})
    yield from _lines("You", [me["name"] or "not signed up: choose a name on the page first"])
    yield from _lines("Rendezvous", [_rendezvous(state)])
    yield from _lines("UDP", [f"{_UDP.get(nat.get('udp'), 'not known yet')} (port {reach['peer_port']})"])
    yield from _lines("Network", [nat.get("sentence", "not known yet")])
    candidates = reach.get("candidates", [])
    addresses = [f"{one['address']:<28} {_FOUND[one['found']]}" for one in candidates]
    yield from _lines("Addresses", addresses or ["none told"])
    opened = [one["address"] for one in candidates if one["found"] == "mapped"]
    yield from _lines("Router port", opened or reach.get("notes") or ["none opened"])
    seen = [f"{one['server']} saw {one['address'] or 'nothing'}" for one in reach.get("stun", [])]
    yield from _lines("STUN", seen or ["no server known"])
    yield from _lines("Relays", [relay_text(one) for one in reach.get("relays", [])] or ["none needed now"])
    yield from _lines("Clock", [clock_text(clock)])
    ways = [f"{one['name']} {_PATHS.get(one['path'], one['path'])}" for one in state["people"] if one.get("path")]
    yield from _lines("Connected", ways or ["with nobody now"])


def _rendezvous(state: Value) -> str:
    reach, url = state["reachability"], state["settings"]["rendezvous"]
    return f"{url}, reached" if reach["rendezvous"] == "up" else reach["message"] or f"{url}, not reached yet"


def clock_text(ahead: float | None) -> str:
    """Say how far this machine's clock is from that of the rendezvous; `ahead` in seconds."""
    if ahead is None:
        return "not compared yet"
    if abs(ahead) < CLOCK_NOTED:
        return "agrees with that of the rendezvous"
    wrong = f"{abs(ahead) / 60:.0f} min {'ahead of' if ahead > 0 else 'behind'} that of the rendezvous: set it right"
    return wrong + (", or it refuses you" if abs(ahead) >= CLOCK_REFUSED else "")


# --- somebody ---


def lines_about(name: str, value: Value) -> Iterator[str]:
    """Yield what there is to say of the way to somebody."""
    path, forecast = value["path"], value["forecast"]
    will = f"{_CONNECTION[value['connection']]}; {_WILL[forecast['path']]}"
    yield from _lines(name, [_PATHS.get(path["kind"], path["kind"]) if path else will])
    if path is None or path["kind"].startswith("relay"):
        hopeful = path is not None and forecast["path"] == "direct"
        yield from _lines("Why", [f"It should be direct: {forecast['because']}" if hopeful else forecast["because"]])
    yield from _lines("Advice", [value["advice"]])
    if path:
        rtt = "" if path["rtt"] is None else f"{path['rtt']:g} ms round trip, "
        yield from _lines("Path", [f"{rtt}{path['loss']:.1%} lost, for {_age(path['since'])}"])
        yield from _lines("Their address", [path["address"]] if "address" in path else [])
    yield from _lines("Relay", [relay_text(value["relay"])] if value["relay"] else [])
    yield from _lines("Your network", [value["mine"]["sentence"]])
    theirs = value["theirs"]
    yield from _lines("Their network", [theirs["sentence"] if theirs else "Their agent has not told."])
    for side, title in (("here", "Tried from here"), ("there", f"Tried by {name}")):
        tried = [one for one in value["tried"] if one["side"] == side]
        if tried:
            yield ""
            yield title
            yield from (f"  {_MARKS.get(one['outcome'], '-')} {one['sentence']}" for one in tried)


def relay_text(relay: Value) -> str:
    """Say how a relay is used."""
    where = relay["server"] or "the rendezvous"
    how = "the web" if relay["kind"] == "relay-ws" else "UDP"
    if not relay.get("bound", True):
        return f"{where} over {how}: {relay.get('trouble') or 'no answer yet'}"
    facts = [f"{where} over {how}"]
    if relay["rtt"] is not None:
        facts.append(f"{relay['rtt']:g} ms")
    if relay["left"] is not None:
        facts.append(f"{relay['left'] / 1e6:,.1f} MB left")
    return ", ".join(facts)


def _age(since: float | None) -> str:
    seconds = max(0.0, time.time() - (since or time.time()))
    for size, word in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{seconds:.0f} s"


def _lines(title: str, values: Sequence[str]) -> Iterator[str]:
    """Yield a title and its values below each other; nothing where there are none."""
    width = max(_LEFT, len(title) + 2)
    for index, value in enumerate(values):
        yield f"{'' if index else title:<{width}}{value}"
