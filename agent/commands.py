"""Commands for scripts, over the local contract of an agent that runs: who is here, ask, answer.

    agent users [QUERY]            agent requests
    agent connect NAME             agent accept REQUEST [--item ITEM]
    agent ask-quote NAME           agent reject REQUEST [--not-now | --never]
    agent ask-image NAME [--save FILE]

A REQUEST is the beginning of its number, or the name of whoever waits. Exit status: 0 done, 1 not done (one sentence on
stderr), 2 wrong usage. `--json` prints the values of the contract. Used by the entry point.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from agent.local_client import LocalClient, Value, folder_of
from agent.plain import in_one_line, shown
from agent.protocol.errors import UsageError
from agent.settings import DEFAULT_PAGE_PORT, Parser, StartError, port_number

NAMES: Final = ("users", "connect", "ask-quote", "ask-image", "requests", "accept", "reject")
_SHORTEST: Final = 4  # digits of a request's number
_WAITING: Final = "Waiting for {peer} … (Ctrl-C leaves the request open; `agent requests` shows it.)"
_ENDS: Final = {
    "rejected": "{peer} said no.",
    "expired": "{peer} did not answer in time.",
    "cancelled": "It was cancelled.",
    "unreachable": "{peer} cannot be reached.",
    "failed": "It did not work.",
}


def main(arguments: Sequence[str]) -> int:
    """Carry out one command; return the exit status."""
    given = _parser().parse_args(arguments)
    try:
        with LocalClient(folder_of(given.port, given.data)) as client:
            value, text = given.carry_out(client, given)
    except (StartError, UsageError) as error:
        print(in_one_line(str(error)), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if value is not None or text:
        print(json.dumps(value, ensure_ascii=False) if given.json else text)
    return 0


Said = tuple[Any, str]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="agent", allow_abbrev=False, description="Use the agent that runs on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, carry_out: Callable[[LocalClient, argparse.Namespace], Said], help: str) -> Any:
        command = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        command.add_argument(
            "--port", type=port_number, default=DEFAULT_PAGE_PORT, metavar="N", help="its page's port (5050)"
        )
        command.add_argument("--data", type=Path, metavar="DIR", help="its data folder (one for each page port)")
        command.add_argument("--json", action="store_true", help="print the values of the local contract")
        command.set_defaults(carry_out=carry_out)
        return command

    add("users", _users, "List who is here.").add_argument("query", nargs="?", help="part of a name")
    for name, help in (
        ("connect", "Ask someone for a connection."),
        ("ask-quote", "Ask a contact for a quote."),
        ("ask-image", "Ask a contact for a picture."),
    ):
        asking = add(name, _ask, help)
        asking.add_argument("peer", metavar="NAME")
        asking.add_argument("--wish", metavar="TEXT", help="what you would like")
        asking.add_argument("--lifetime", type=int, metavar="SECONDS", help="how long it may be answered (300)")
        asking.add_argument("--no-wait", action="store_true", help="print the request's number at once")
        if name == "ask-image":
            asking.add_argument(
                "--save", type=Path, metavar="FILE", help="write the picture to a file that is not there"
            )
    add("requests", _requests, "List the requests that are open.")
    accept = add("accept", _answer, "Say yes to what someone asks.")
    accept.add_argument("request", metavar="REQUEST")
    accept.add_argument("--item", metavar="ITEM", help="what leaves (otherwise one picked at random)")
    reject = add("reject", _answer, "Say no to what someone asks.")
    reject.add_argument("request", metavar="REQUEST")
    reply = reject.add_mutually_exclusive_group()
    reply.add_argument("--not-now", dest="reply", action="store_const", const="not_now", help="perhaps later")
    reply.add_argument("--never", dest="reply", action="store_const", const="never", help="and never ask again")
    return parser


# --- the commands ---


def _users(client: LocalClient, given: argparse.Namespace) -> Said:
    people: list[Value] = []
    after = None
    while True:
        page = client.call("list_people", query=given.query, after=after)
        people += page["people"]
        if (after := page.get("next")) is None:
            break
    lines = [f"{shown(one['name']):<24} {_standing(one)}" for one in people]
    return people, "\n".join(lines) or "Nobody is here."


def _standing(person: Value) -> str:
    return ("online" if person["online"] else "offline") + (", connected" if person["connected"] else "")


def _ask(client: LocalClient, given: argparse.Namespace) -> Said:
    save: Path | None = getattr(given, "save", None)
    if save is not None and save.exists():
        raise UsageError("bad_request", f"{save} is there already: nothing was asked for, and nothing overwritten.")
    call = {"connect": "connect_to"}.get(given.command, given.command.replace("-", "_"))
    request = client.call(call, peer=given.peer, wish=given.wish, lifetime=given.lifetime)["request"]
    if given.no_wait:
        return {"request": request}, request
    print(shown(_WAITING.format(peer=given.peer)), file=sys.stderr)
    entry = client.until_ended(request)
    if entry is None:
        raise UsageError("unreachable", "The agent stopped before there was an answer.")
    if entry["phase"] != "done":
        raise UsageError("unreachable", entry.get("reason") or _ENDS[entry["phase"]].format(peer=entry["peer"]))
    if save is not None:
        data = client.media(entry["image"]["url"])
        with save.open("xb") as file:
            file.write(data)
    return entry, _got(entry, save)


def _got(entry: Value, save: Path | None) -> str:
    """Say what a request that is done has brought."""
    if "quote" in entry:
        return quotation(entry["quote"])
    if "image" in entry:
        image = entry["image"]
        where = f"saved as {save}" if save else "kept in the collection"
        return f"{image['format']}, {image['width']} × {image['height']}, {image['bytes']:,} bytes, {where}."
    return f"You and {shown(entry['peer'])} are connected."


def quotation(quote: Value) -> str:
    """Set a quote as a quotation, with its author and source below."""
    source = f", {quote['source']}" if quote.get("source") else ""
    return shown(f"{quote['text']}\n    — {quote['author']}{source}", lines=True)


def _requests(client: LocalClient, given: argparse.Namespace) -> Said:
    entries = open_requests(client)
    return entries, "\n".join(described(entry) for entry in entries) or "No request is open."


def open_requests(client: LocalClient) -> list[Value]:
    """Return the open requests, those that wait for this person first."""
    entries = [entry for entry in client.requests.values() if entry["phase"] in ("waiting", "accepted", "transferring")]
    return sorted(entries, key=lambda entry: (not waits_for_me(entry), entry["created_at"]))


def waits_for_me(entry: Value) -> bool:
    """Tell whether a request is this person's to answer."""
    return bool(entry["direction"] == "in" and entry["phase"] == "waiting")


def described(entry: Value) -> str:
    """Say in a line what a request is."""
    what = {"connection": "a connection", "quote": "a quote", "image": "a picture"}[entry["kind"]]
    incoming, asks = entry["direction"] == "in", entry["verb"] == "ask"
    peer = shown(entry["peer"])
    if incoming:
        who = f"{peer} asks for {what}" if asks else f"{peer} offers {what}"
    else:
        who = f"you asked {peer} for {what}" if asks else f"you offered {peer} {what}"
    wish = f": “{shown(entry['wish'])}”" if entry.get("wish") else ""
    return f"{entry['request'][:8]}  {who}{wish}  ({entry['phase']})"


def _answer(client: LocalClient, given: argparse.Namespace) -> Said:
    accept = given.command == "accept"
    entry = find_waiting(client, given.request)
    more = {"item": given.item} if accept else {"reply": given.reply}
    client.call("answer", request=entry["request"], accept=accept, **more)
    word = "accepted" if accept else "rejected"
    return {"request": entry["request"]}, f"{word}: {described(entry)}"


def find_waiting(client: LocalClient, wanted: str) -> Value:
    """Return the one request that waits for an answer, by the beginning of its number or its peer; UsageError."""
    waiting = [entry for entry in client.requests.values() if waits_for_me(entry)]
    by_number = len(wanted) >= _SHORTEST
    found = [entry for entry in waiting if by_number and entry["request"].startswith(wanted.lower())]
    found = found or [entry for entry in waiting if entry["peer"].casefold() == wanted.casefold()]
    if len(found) > 1:
        raise UsageError("bad_request", f"{wanted} may be {len(found)} requests: say its number (`agent requests`).")
    if not found:
        known = [
            entry for entry in client.requests.values() if by_number and entry["request"].startswith(wanted.lower())
        ]
        if known and known[0]["direction"] == "in":
            raise UsageError("already_final", f"This request does not wait any more: it is {known[0]['phase']}.")
        raise UsageError("unknown_request", f"No request of {wanted!r} waits for an answer.")
    return found[0]
