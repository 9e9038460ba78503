"""The menus of the terminal: what each state offers. Each returns a title and choices; `prompt` asks and writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.commands import described, open_requests, quotation
from agent.local_client import Value
from agent.plain import in_one_line, shown
from agent.prompt import Choice, Terminal
from agent.protocol.errors import UsageError

_PAGE: Final = 20  # lines of a list before the next ones are asked for
_VISIBILITY: Final = {
    "listed": "everybody may find you",
    "contacts": "those you are connected with may find you",
    "hidden": "nobody may find you but whom you ask",
}

Menu = tuple[str, list[Choice]]
Act = Callable[[], None]
WithItem = Callable[[Value], None]


def home(terminal: Terminal) -> Menu:
    """What there is to do: answers first."""
    state = terminal.client.state
    me, reach = state["me"], state["reachability"]
    rendezvous = (
        "" if reach["rendezvous"] == "up" else f" The rendezvous: {in_one_line(reach['message'] or 'connecting')}"
    )
    if not me["signed_up"]:
        title = f"You have no name yet.{rendezvous}"
        return title, [Choice("Choose a name, and be here", lambda: _sign_up(terminal))]
    choices = [Choice(f"Answer  {described(entry)}", _answering(terminal, entry)) for entry in terminal.answering()]
    choices += [
        Choice(f"Stop    {described(entry)}", _cancelling(terminal, entry))
        for entry in open_requests(terminal.client)
        if entry["direction"] == "out" or entry["phase"] != "waiting"
    ]
    choices += [
        Choice(f"{shown(person['name'])}, {_standing(person)}", _with(terminal, person["name"]))
        for person in state["people"]
        if person["connected"]
    ][:_PAGE]
    choices += [
        Choice("Find people", lambda: _find(terminal)),
        Choice(f"Your collection ({len(state['library'])})", lambda: _collection(terminal)),
        Choice("What happened", lambda: _timeline(terminal, None)),
        Choice("Invite somebody", lambda: terminal.say(terminal.client.call("get_invite")["link"])),
        Choice("Open an invitation", lambda: _open_invite(terminal)),
        Choice(f"Who may find you: {_VISIBILITY[state['settings']['visibility']]}", lambda: _visibility(terminal)),
        Choice("Your key in words", lambda: terminal.say(me["words"])),
    ]
    return f"You are {shown(me['name'])}.{rendezvous}", choices


def _stay(terminal: Terminal, *menu: object) -> None:
    """Offer a menu again and again, made anew each time, until the person goes back."""
    make = menu[0]
    assert callable(make)
    while terminal.menu(*make(terminal, *menu[1:])):
        pass


# --- me ---


def _sign_up(terminal: Terminal) -> None:
    name = terminal.ask("A name that others will see: ")
    code = None
    if terminal.client.state["reachability"].get("code_required"):
        code = terminal.ask("The code that this rendezvous wants of newcomers: ")
    if name:
        terminal.client.call("sign_up", name=name, code=code or None)


def _open_invite(terminal: Terminal) -> None:
    link = terminal.ask("The link: ")
    if not link:
        return
    answer = terminal.client.call("open_invite", link=link)
    if "move" in answer:
        move = answer["move"]
        terminal.say(f"{shown(move['name'])} is at {move['to']}; you are at {move['from']}.")
        if terminal.ask("Move there? (yes/no) ") != "yes":
            return
        answer = terminal.client.call("open_invite", link=link, move=True)
    _with(terminal, answer["person"]["name"])()


def _visibility(terminal: Terminal) -> None:
    def choose(value: str) -> Choice:
        return Choice(_VISIBILITY[value], lambda: _said(terminal, "set_visibility", visibility=value))

    terminal.menu("Who may find you:", [choose(value) for value in _VISIBILITY])


def _said(terminal: Terminal, call: str, **arguments: object) -> None:
    terminal.client.call(call, **arguments)
    terminal.say("Done.")


# --- people ---


def _standing(person: Value) -> str:
    return ("online" if person["online"] else "offline") + (", key changed" if person.get("key_changed") else "")


def _find(terminal: Terminal) -> None:
    query = terminal.ask("Part of a name (Enter for all): ")
    after = None
    while True:
        page = terminal.client.call("list_people", query=query or None, after=after)
        people, after = page["people"], page.get("next")
        if not people:
            terminal.say("Nobody is here by that name." if query else "Nobody else is here yet.")
            return
        choices = [Choice(f"{shown(one['name'])}, {_standing(one)}", _with(terminal, one["name"])) for one in people]
        if not terminal.menu("People", choices) or after is None:
            return


def _with(terminal: Terminal, name: str) -> Act:
    return lambda: _stay(terminal, person, name)


def person(terminal: Terminal, name: str) -> Menu:
    """What can be done with one person now."""
    client = terminal.client
    one = next((known for known in client.state["people"] if known["name"] == name), None)
    one = one or client.call("get_person", name=name)["person"]
    title = f"{shown(one['name'])}, {_standing(one)}" + (", key compared" if one.get("verified") else "")
    choices = []
    if one.get("key_changed"):
        return f"{title}. Their key has changed: decide on the page, or not at all.", []
    if not one["connected"]:
        choices.append(Choice("Ask for a connection", lambda: _asking(terminal, "connect_to", name)))
    else:
        choices += [
            Choice("Ask for a quote", lambda: _asking(terminal, "ask_quote", name)),
            Choice("Ask for a picture", lambda: _asking(terminal, "ask_image", name)),
            Choice("Offer a quote that you type", lambda: _offer_text(terminal, name)),
            Choice("Offer something of your collection", lambda: _offer_item(terminal, name)),
            Choice("End the connection", lambda: _said(terminal, "disconnect_from", peer=name)),
        ]
    if one.get("words"):
        choices.append(Choice("Their key in words", lambda: terminal.say(str(one["words"]))))
    if one["connected"]:
        word = "Take back that you compared the keys" if one["verified"] else "Say that you compared the keys"
        mark = not one["verified"]
        choices.append(Choice(word, lambda: _said(terminal, "set_verified", peer=name, verified=mark)))
    choices.append(Choice("What happened with them", lambda: _timeline(terminal, name)))
    return title, choices


def _asking(terminal: Terminal, call: str, name: str) -> None:
    wish = terminal.ask("A wish (Enter for none): ")
    terminal.client.call(call, peer=name, wish=wish or None)
    terminal.say(f"Asked. {shown(name)} decides; you will be told here.")


def _offer_text(terminal: Terminal, name: str) -> None:
    text = terminal.ask("The quote: ")
    if text:
        author = terminal.ask("Who said it (Enter: you): ")
        terminal.client.call("offer_quote", peer=name, text=text, author=author or None)
        terminal.say(f"Offered. {shown(name)} decides; you will be told here.")


def _offer_item(terminal: Terminal, name: str) -> None:
    def offer(item: Value) -> None:
        terminal.client.call(f"offer_{item['kind']}", peer=name, item=item["item"])
        terminal.say(f"Offered. {shown(name)} decides; you will be told here.")

    _choose(terminal, "Offer what?", terminal.client.state["library"], offer)


# --- answers ---


def _answering(terminal: Terminal, entry: Value) -> Act:
    return lambda: _answer(terminal, entry)


def _answer(terminal: Terminal, entry: Value) -> None:
    def say(accept: bool, **more: object) -> Act:
        return lambda: _said(terminal, "answer", request=entry["request"], accept=accept, **more)

    gives = entry["verb"] == "ask" and entry["kind"] != "connection"
    items = [item for item in terminal.client.state["library"] if item["kind"] == entry["kind"]]
    if gives:
        choices = [Choice("Yes, and I choose what leaves", lambda: _choose_gift(terminal, entry, items))]
        choices.append(Choice("Yes, one at random", say(True)))
        choices = choices if items else []
    else:
        choices = [Choice("Yes", say(True))]
    choices += [
        Choice("No", say(False)),
        Choice("Not now", say(False, reply="not_now")),
        Choice("Never: do not ask again", say(False, reply="never")),
    ]
    terminal.menu(described(entry), choices, back="Later")


def _choose_gift(terminal: Terminal, entry: Value, items: list[Value]) -> None:
    def give(item: Value) -> None:
        _said(terminal, "answer", request=entry["request"], accept=True, item=item["item"])

    _choose(terminal, "Give what?", items, give)


def _cancelling(terminal: Terminal, entry: Value) -> Act:
    return lambda: _said(terminal, "cancel", request=entry["request"])


# --- what there is, and what was ---


def _choose(terminal: Terminal, title: str, items: list[Value], act: WithItem) -> None:
    """Have one of a list chosen, a page at a time."""
    for at in range(0, len(items), _PAGE):
        choices = [Choice(_item(item), lambda item=item: act(item)) for item in items[at : at + _PAGE]]  # type: ignore[misc]
        more = at + _PAGE < len(items)
        if not terminal.menu(title, choices, back="More" if more else "Back") and more:
            continue
        return


def _item(item: Value) -> str:
    if item["kind"] == "quote":
        return in_one_line(f"“{item['text']}” — {item['author']}", 100)
    return f"picture, {item['format']}, {item['width']} × {item['height']}, {item['bytes']:,} bytes"


def _collection(terminal: Terminal) -> None:
    _stay(terminal, collection)


def collection(terminal: Terminal) -> Menu:
    """What this person offers, and how to change it."""
    items = terminal.client.state["library"]
    choices = [
        Choice("Add a quote", lambda: _add_quote(terminal)),
        Choice("Add a picture", lambda: _add_picture(terminal)),
    ]
    if items:
        choices.append(Choice("Look, or take something out", lambda: _choose(terminal, "Which?", items, one)))

    def one(item: Value) -> None:
        out = Choice("Take it out of the collection", lambda: _said(terminal, "remove_item", item=item["item"]))
        terminal.menu(quotation(item) if item["kind"] == "quote" else _item(item), [out])

    return f"Your collection: {len(items)} items that others may be given, each with your yes.", choices


def _add_quote(terminal: Terminal) -> None:
    text = terminal.ask("The quote: ")
    if text:
        author = terminal.ask("Who said it: ")
        source = terminal.ask("Where (Enter for nothing): ")
        _said(terminal, "add_quote", text=text, author=author, source=source or None)


def _add_picture(terminal: Terminal) -> None:
    path = terminal.ask("The file: ")
    if not path:
        return
    try:
        item = terminal.client.upload(Path(path).expanduser())
    except OSError as problem:
        raise UsageError("bad_request", f"{path} cannot be read: {problem.strerror}.") from None
    terminal.say(f"Added: {item['width']} × {item['height']}, {item['bytes']:,} bytes.")


def _timeline(terminal: Terminal, peer: str | None) -> None:
    before = None
    while True:
        page = terminal.client.call("get_timeline", peer=peer, before=before, limit=_PAGE)
        for entry in page["entries"]:
            terminal.say(described(entry))
            if "quote" in entry and entry["phase"] == "done":
                terminal.say(quotation(entry["quote"]))
        before = page.get("next")
        if not page["entries"]:
            terminal.say("Nothing yet.")
        if before is None or terminal.ask("Enter for older ones, 0 to go back: ") == "0":
            return
