"""One person of docker/lab, inside that person's container, speaking the agent's local contract.

    exchange.py owner         offers a quote and a picture, says yes to everything, ends after both
    exchange.py refuser       says no to the first request, ends
    exchange.py asker A B     connects with A, asks for a quote and a picture; is turned down by B
    exchange.py visitor A …   connects with each, waits until the path to them is direct, asks for a quote and a picture

Knows the agent only by its page's address and token. Exit status 0 if all went as it should.
"""

import contextlib
import hashlib
import io
import queue
import random
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import socketio
from PIL import Image

DEADLINE = 60.0
DIRECT = 5.0
FINAL = {"done", "rejected", "expired", "cancelled", "unreachable", "failed"}
QUOTE = {"text": "هر سخن وقتی و هر نکته مکانی دارد", "author": "Hafez"}


class Page:
    """What a browser tab would be: one Socket.IO connection to the agent of this container."""

    def __init__(self) -> None:
        url = urlsplit(Path("/data/page-url").read_text().strip())
        self._token = parse_qs(url.query)["token"][0]
        self._base = f"http://127.0.0.1:{url.port}"
        self._events: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self._began = time.monotonic()
        self.paths: dict[str, str] = {}
        self._client = socketio.Client()
        self._client.on("*", self._take)
        self._client.connect(self._base, auth={"token": self._token}, transports=["websocket"])

    def call(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Make one call of the local contract; RuntimeError carries the agent's sentence."""
        answer: dict[str, Any] = self._client.call(verb, arguments, timeout=DEADLINE)
        if not answer["ok"]:
            raise RuntimeError(f"{verb}: {answer['error']['message']}")
        return answer

    def _take(self, event: str, value: Any) -> None:
        for person in value if event == "people" else []:
            path = person.get("path") or {}
            kind = path if isinstance(path, str) else path.get("kind")
            if kind and self.paths.get(person["name"]) != kind:
                self.paths[person["name"]] = kind
                say(f"the path to {person['name']}: {kind}", time.monotonic() - self._began)
        self._events.put((event, value))

    def requests(self) -> Any:
        """Yield requests as they change, the first state's too; TimeoutError if none comes."""
        while True:
            try:
                event, value = self._events.get(timeout=DEADLINE)
            except queue.Empty:
                raise TimeoutError("nothing happened for a minute") from None
            yield from value["requests"] if event == "state" else ()
            if event == "request":
                yield value

    def settle(self, request: str) -> dict[str, Any]:
        """Follow one request to its last phase and print the way."""
        began, shown = time.monotonic(), ""
        for value in self.requests():
            if value["request"] != request or value["phase"] == shown:
                continue
            shown = value["phase"]
            say(f"{value['kind']} asked of {value['peer']}: {shown}", time.monotonic() - began)
            if shown in FINAL:
                return dict(value)
        raise AssertionError("requests() never ends")

    def http(self, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        """Make one HTTP request with the token; POST where there is a body."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        request = urllib.request.Request(self._base + path, body, headers)
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return bytes(answer.read())

    def wait_for(self, what: str, ready: Callable[[], bool], seconds: float = 60.0) -> None:
        """Ask again until it is so; TimeoutError."""
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                raise TimeoutError(f"waited in vain for {what}")
            self._client.sleep(0.2)

    def close(self) -> None:
        """Leave, as closing the tab would."""
        self._client.disconnect()


def say(line: str, seconds: float | None = None) -> None:
    """Print at once, with a duration if there is one."""
    print(line if seconds is None else f"{line} ({seconds:.2f} s)", flush=True)


def picture() -> bytes:
    """Make a PNG of about 3 MB that no compression makes smaller; the same one each time."""
    image = Image.frombytes("RGB", (1200, 900), random.Random(7).randbytes(1200 * 900 * 3))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def upload(page: Page, data: bytes) -> str:
    """Offer a picture; return its item."""
    head = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="noise.png"\r\n\r\n'
    body = head + data + b"\r\n--edge--\r\n"
    page.http("/library/images", body, "multipart/form-data; boundary=edge")
    state = page.call("get_state")
    digest = hashlib.sha256(data).hexdigest()
    items = state.get("library") or state["state"]["library"]
    return next(str(item["item"]) for item in items if item.get("sha256") == digest)


def be_owner(page: Page) -> None:
    """Offer a quote and a picture, and say yes until both have gone."""
    data = picture()
    items = {"quote": page.call("add_quote", **QUOTE)["item"], "image": upload(page, data)}
    say(f"offers a quote of {QUOTE['author']} and a picture of {len(data)} bytes")
    answered, given = set(), set()
    for value in page.requests():
        if value["direction"] == "in" and value["phase"] == "waiting":
            if value["request"] not in answered:
                answered.add(value["request"])
                chosen = {"item": items[value["kind"]]} if value["kind"] in items else {}
                page.call("answer", request=value["request"], accept=True, **chosen)
                say(f"says yes to {value['peer']}: {value['kind']}")
        elif value["phase"] in FINAL:
            given.add(value["kind"])
        if given >= {"quote", "image"}:
            return


def be_refuser(page: Page) -> None:
    """Say no once."""
    for value in page.requests():
        if value["direction"] == "in" and value["phase"] == "waiting":
            page.call("answer", request=value["request"], accept=False)
            say(f"says no to {value['peer']}: {value['kind']}")
            return


def be_asker(page: Page, owner: str, refuser: str) -> None:
    """Connect, ask for a quote and a picture, and check what came."""
    for name in (owner, refuser):
        page.wait_for(f"{name} to be online", lambda name=name: is_online(page, name))  # type: ignore[misc]
    expect(page.settle(page.call("connect_to", peer=refuser)["request"]), "rejected")
    expect(page.settle(page.call("connect_to", peer=owner, wish="Hello")["request"]), "done")
    take_both(page, owner)


def be_visitor(page: Page, *owners: str) -> None:
    """Connect with each, and wait a little for the better path; then ask for a quote and a picture."""
    for name in owners:
        page.wait_for(f"{name} to be online", lambda name=name: is_online(page, name))  # type: ignore[misc]
        try:
            forecast = page.call("get_doctor", peer=name)["forecast"]
            say(f"the doctor on {name}: {forecast['path']}. {forecast['because']}")
        except RuntimeError as error:
            say(f"no doctor: {error}")
        expect(page.settle(page.call("connect_to", peer=name, wish="Hello")["request"]), "done")
        with contextlib.suppress(TimeoutError):
            page.wait_for("a direct path", lambda name=name: is_direct(page, name), DIRECT)  # type: ignore[misc]
        take_both(page, name)
        say(f"in the end, the path to {name}: {page.paths.get(name)}")


def is_direct(page: Page, name: str) -> bool:
    """Tell whether packets for somebody go without the relay."""
    return not page.paths.get(name, "relay").startswith("relay")


def take_both(page: Page, owner: str) -> None:
    """Ask for a quote and a picture, and check what came."""
    quote = page.settle(page.call("ask_quote", peer=owner)["request"])
    expect(quote, "done")
    got = {key: quote["quote"][key] for key in QUOTE}
    assert got == QUOTE, f"another quote came: {got}"
    say(f"reads: {got['text']} ({got['author']})")
    image = page.settle(page.call("ask_image", peer=owner)["request"])
    expect(image, "done")
    digest = hashlib.sha256(page.http(image["image"]["url"])).hexdigest()
    assert digest == hashlib.sha256(picture()).hexdigest(), "another picture came"
    say(f"has the owner's picture, SHA-256 {digest}")


def is_online(page: Page, name: str) -> bool:
    """Tell whether the rendezvous knows somebody, and that they are here."""
    people = page.call("list_people", query=name)["people"]
    return any(person["name"] == name and person["online"] for person in people)


def expect(value: dict[str, Any], phase: str) -> None:
    """Fail unless a request ended as it should."""
    assert value["phase"] == phase, f"{value['kind']}: {value['phase']}, {value.get('reason')}"


def main() -> int:
    """Play the part that the command line names; return the exit status."""
    role, *names = sys.argv[1:]
    page = Page()
    try:
        {"owner": be_owner, "refuser": be_refuser, "asker": be_asker, "visitor": be_visitor}[role](page, *names)  # type: ignore[operator]
    except (AssertionError, RuntimeError, TimeoutError, OSError) as error:
        say(f"failed: {error}")
        return 1
    finally:
        page.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
