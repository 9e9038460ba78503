"""An agent without peers: serves the real page and speaks the local contract with scripted data.

Tests of the page use it to bring about any state at once. It decides nothing: requests change when the test says so.
"""

import hashlib
import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import segno
from flask import Flask, Response, render_template, request
from flask_socketio import SocketIO, emit
from PIL import Image, ImageDraw
from werkzeug.serving import WSGIRequestHandler, make_server

from agent.words import digits, key_text, words

Value = dict[str, Any]
WEB = Path(__file__).resolve().parents[2] / "web"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; font-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
INVITE = "http://127.0.0.1:8000/invite#name=Alice&fp=acor-ndoo-rbel-lowa-terf-irez-oneh-edge"
OPEN = frozenset({"waiting", "accepted", "transferring"})


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Keep requests out of the tests' output."""


class Refusal(Exception):
    """What a handler raises to answer `{ok: false, error: {code, message}}`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message}


def fingerprint(name: str) -> str:
    """Make up a fingerprint of the true form for a name."""
    digits = hashlib.sha256(name.encode()).hexdigest()[:32]
    text = digits.translate(str.maketrans("0123456789", "ghijklmnop"))
    return "-".join(text[i : i + 4] for i in range(0, 32, 4))


def written(name: str) -> Value:
    """Make up a key for a name, in the three ways in which people see one."""
    key = name.encode()
    return {"fingerprint": fingerprint(name), "words": words(key), "digits": digits(key)}


def person(name: str, *, online: bool = True, connected: bool = False, **more: Any) -> Value:
    """Describe one person as the agent does."""
    known = {"name": name, **written(name), "verified": False, "key_changed": False}
    return {**known, "online": online, "connected": connected, **more}


def picture(width: int, height: int, seed: int = 0) -> bytes:
    """Paint a small landscape: a sky, a sun and hills in colours that `seed` chooses."""
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    base = (70 + seed * 53 % 120, 110 + seed * 31 % 90, 150 + seed * 17 % 90)
    for y in range(height):
        warmth = y / height
        draw.line([(0, y), (width, y)], fill=tuple(int(c + (250 - c) * warmth * 0.7) for c in base))
    r = height // 8
    x = width * (2 + seed % 5) // 8
    draw.ellipse([x - r, height // 3 - r, x + r, height // 3 + r], fill=(255, 236, 190))
    for hill in range(3):
        top = height * (6 + hill) // 10
        points = [(0, height), (0, top)]
        points += [(width * i // 8, top - (i * (seed + 3 + hill) * 37 % 11) * height // 90) for i in range(9)]
        shade = 90 - hill * 25
        draw.polygon([*points, (width, height)], fill=(shade // 2, shade, shade * 3 // 4))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


class FakeAgent:
    """Serves one page on a free loopback port while the `with` block lasts."""

    def __init__(self, name: str | None = "Alice", port: int = 0) -> None:
        self.me: Value = {"name": name, **written("me"), "qr": "/qr.svg", "signed_up": name is not None}
        self.contacts: list[Value] = []
        self.listed: list[Value] = []
        self.requests: dict[str, Value] = {}
        self.library: list[Value] = []
        self.media: dict[str, bytes] = {}
        self.reachability: Value = {"rendezvous": "up", "message": "", "peer_port": 40123}
        self.settings: Value = {
            "rendezvous": "http://127.0.0.1:8000",
            "data": "~/.local/share/tmge/5050",
            "peer_port": 40123,
            "page_port": 5050,
            "default_lifetime": 300,
            "limits": {"quote_bytes": 65536, "image_bytes": 104857600, "image_pixels": 100000000},
        }
        self.more: Value = {}
        self.doctors: dict[str, Value] = {}
        self.page_size = 20
        self.lets_in = True
        self.calls: list[tuple[str, Value]] = []
        self._called = threading.Condition()
        self._ids = 0
        self._refusals: dict[str, Refusal] = {}
        self._app = Flask(__name__, template_folder=str(WEB / "templates"), static_folder=str(WEB / "static"))
        self._io = SocketIO(self._app, async_mode="threading")
        self._add_routes()
        for event, handler in self._handlers().items():
            self._io.on_event(event, self._acknowledged(event, handler))
        self._io.on_event("connect", self._connect)
        self._server = make_server("127.0.0.1", port, self._app, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.hang_up()

    # What the test does.

    def state(self) -> Value:
        """Give the value of `state` and `get_state`."""
        return {
            "me": self.me,
            "people": self.contacts,
            "requests": list(self.requests.values()),
            "library": self.library,
            "settings": self.settings,
            "reachability": self.reachability,
            **self.more,
        }

    def say(self, event: str, value: Any) -> None:
        """Send one event to every open page."""
        self._io.emit(event, value)

    def say_state(self) -> None:
        """Send `state` again, after the test has changed what it holds."""
        self.say("state", self.state())

    def put(self, kind: str, verb: str, direction: str, peer: str, phase: str = "waiting", **more: Any) -> str:
        """Make a request, tell the page, and give its id. `age` is in seconds."""
        self._ids += 1
        created = time.time() - more.pop("age", 0)
        entry = {"kind": kind, "verb": verb, "direction": direction, "peer": peer, "phase": phase}
        entry |= {"request": f"{self._ids:032x}", "created_at": created, "expires_at": created + 300}
        self.requests[entry["request"]] = entry | more
        self.say("request", self.requests[entry["request"]])
        return str(entry["request"])

    def change(self, request_id: str, **news: Any) -> None:
        """Change a request, and tell the page."""
        self.requests[request_id] |= news
        self.say("request", self.requests[request_id])

    def change_person(self, name: str, **news: Any) -> None:
        """Change what is known of one person, and tell the page; who connects becomes a contact."""
        known = {p["name"]: p for p in [*self.listed, *self.contacts]}.get(name, person(name))
        changed = {**known, **news}
        self.listed = [changed if p["name"] == name else p for p in self.listed]
        was_contact = name in {p["name"] for p in self.contacts}
        self.contacts = [p for p in self.contacts if p["name"] != name]
        if changed["connected"] or was_contact:
            self.contacts.append(changed)
        self.say("people", [changed])

    def change_key(self, name: str) -> None:
        """Have the rendezvous say another key of a contact, and tell the page."""
        new = {f"new_{form}": text for form, text in written(f"another {name}").items()}
        self.change_person(name, key_changed=True, key_kept=False, **new)

    def image(self, data: bytes, width: int, height: int) -> Value:
        """Keep a picture and describe it as an `image` of the contract."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.media[sha256] = data
        known = {"url": f"/media/{sha256}", "width": width, "height": height, "format": "PNG"}
        return {**known, "bytes": len(data), "sha256": sha256}

    def offer_quote(self, text: str, author: str, source: str | None = None) -> str:
        """Add a quote to what is offered, without telling the page; give its item id."""
        item = hashlib.sha256(text.encode()).hexdigest()[:32]
        quote = {"item": item, "kind": "quote", "text": text, "author": author}
        self.library.insert(0, {**quote, "source": source} if source else quote)
        return item

    def offer_picture(self, seed: int, name: str, width: int = 240, height: int = 160) -> str:
        """Add a painted picture to what is offered, without telling the page; give its item id."""
        image = self.image(picture(width, height, seed), width, height)
        item: str = image["sha256"][:32]
        self.library.insert(0, {"item": item, "kind": "image", **image, "name": name})
        return item

    def called(self, event: str) -> Value:
        """Wait up to 20 s for the page's next `event`, and give its arguments. Each call is given once."""
        with self._called:
            if not self._called.wait_for(lambda: any(name == event for name, _ in self.calls), timeout=20):
                raise AssertionError(f"the page did not call {event}; it called {self.calls}")
            index = next(i for i, (name, _) in enumerate(self.calls) if name == event)
            return self.calls.pop(index)[1]

    def refuse(self, event: str, code: str, message: str) -> None:
        """Answer each coming call of `event` with this error."""
        self._refusals[event] = Refusal(code, message)

    def accept(self, event: str) -> None:
        """Answer `event` again as before."""
        del self._refusals[event]

    def hang_up(self) -> None:
        """Close every open page's socket."""
        for client, _ in list(self._io.server.manager.get_participants("/", None)):
            self._io.server.disconnect(client)

    # What the page calls.

    def _connect(self, _auth: object = None) -> bool:
        if not self.lets_in:
            return False
        emit("state", self.state())
        return True

    def _acknowledged(self, event: str, handler: Callable[[Value], Value | None]) -> Callable[..., Value]:
        def handle(value: Value | None = None) -> Value:
            try:
                if event in self._refusals:
                    raise self._refusals[event]
                answer = handler(value or {})
            except Refusal as refusal:
                return {"ok": False, "error": refusal.error}
            finally:
                with self._called:
                    self.calls.append((event, value or {}))
                    self._called.notify_all()
            return {"ok": True, **(answer or {})}

        return handle

    def _handlers(self) -> dict[str, Callable[[Value], Value | None]]:
        return {
            "sign_up": self._sign_up,
            "list_people": self._list_people,
            "get_person": self._get_person,
            "connect_to": lambda v: self._ask("connection", "ask", v),
            "disconnect_from": lambda v: self.change_person(v["peer"], connected=False),
            "set_verified": lambda v: self.change_person(v["peer"], verified=v["verified"]),
            "trust_key": self._trust_key,
            "ask_quote": lambda v: self._ask("quote", "ask", v),
            "ask_image": lambda v: self._ask("image", "ask", v),
            "offer_quote": lambda v: self._ask("quote", "offer", v),
            "offer_image": lambda v: self._ask("image", "offer", v),
            "answer": self._answer,
            "cancel": lambda v: self.change(v["request"], phase="cancelled"),
            "add_quote": self._add_quote,
            "remove_item": self._remove_item,
            "get_timeline": self._get_timeline,
            "get_state": lambda v: self.state(),
            "get_doctor": lambda v: self.doctors[v["peer"]],
            "set_visibility": self._set_visibility,
            "forget_me": self._forget_me,
            "trust_rendezvous": self._trust_rendezvous,
            "get_invite": lambda v: {"link": INVITE, "qr": "/qr.svg"},
            "open_invite": self._open_invite,
        }

    def _sign_up(self, value: Value) -> None:
        if value["name"] == "taken":
            raise Refusal("name_taken", "Somebody else holds the name “taken”. Choose another.")
        self.me = {**self.me, "name": value["name"], "signed_up": True}
        self.say_state()

    def _set_visibility(self, value: Value) -> None:
        self.settings = {**self.settings, "visibility": value["visibility"]}
        self.say_state()

    def _forget_me(self, value: Value) -> None:
        self.me = {**self.me, "name": None, "signed_up": False}
        self.say_state()

    def _trust_rendezvous(self, value: Value) -> None:
        self.reachability = {"rendezvous": "up", "message": "", "peer_port": 40123}
        self.say_state()

    def _open_invite(self, value: Value) -> Value:
        if "elsewhere" in value["link"] and not value.get("move"):
            return {"move": {"from": self.settings["rendezvous"], "to": "http://elsewhere", "name": "Dora"}}
        self.change_person("Dora", verified=True)
        return self._get_person({"name": "Dora"})

    def _list_people(self, value: Value) -> Value:
        query = value.get("query", "").lower()
        found = [p for p in self.listed if query in p["name"].lower() and p["name"] > value.get("after", "")]
        found.sort(key=lambda p: str(p["name"]))
        page = found[: self.page_size]
        return {"people": page, **({"next": page[-1]["name"]} if len(found) > len(page) else {})}

    def _get_person(self, value: Value) -> Value:
        for known in [*self.contacts, *self.listed]:
            if known["name"] == value["name"]:
                return {"person": known}
        raise Refusal("unknown_person", f"Nobody here is called {value['name']}.")

    def _ask(self, kind: str, verb: str, value: Value) -> Value:
        wish = {"wish": value["wish"]} if "wish" in value else {}
        return {"request": self.put(kind, verb, "out", value["peer"], **wish)}

    def _trust_key(self, value: Value) -> None:
        name, known = value["peer"], self._get_person({"name": value["peer"]})["person"]
        if value["fingerprint"] == known["fingerprint"]:
            self.change_person(name, key_kept=True)
        elif value["fingerprint"] == known["new_fingerprint"]:
            new = written(f"another {name}")
            self.change_person(name, connected=False, verified=False, key_changed=False, **new)
        else:
            raise Refusal("key_changed", "This is not the key that the rendezvous gives: look again.")

    def _answer(self, value: Value) -> None:
        entry = self.requests[value["request"]]
        if entry["phase"] != "waiting":
            raise Refusal("already_final", "This request has been answered already.")
        if not value["accept"]:
            self.change(value["request"], phase="rejected")
        elif entry["kind"] == "connection":
            self.change(value["request"], phase="done")
            self.change_person(entry["peer"], connected=True)
        else:
            self.change(value["request"], phase="accepted")

    def _add_quote(self, value: Value) -> Value:
        item = self.offer_quote(value["text"], value["author"], value.get("source"))
        self.say_state()
        return {"item": item}

    def _remove_item(self, value: Value) -> None:
        self.library = [item for item in self.library if item["item"] != value["item"]]
        self.say_state()

    def _get_timeline(self, value: Value) -> Value:
        entries = [e for e in self.requests.values() if e["peer"] == value.get("peer", e["peer"])]
        entries = [e for e in entries if e["created_at"] < value.get("before", float("inf"))]
        entries.sort(key=lambda e: -float(e["created_at"]))
        page = entries[: self.page_size]
        more = {"next": page[-1]["created_at"]} if len(entries) > len(page) else {}
        return {"entries": page, **more}

    def _add_routes(self) -> None:
        app = self._app

        @app.after_request
        def harden(response: Response) -> Response:
            response.headers["Content-Security-Policy"] = CSP
            return response

        @app.get("/")
        def index() -> tuple[str, int]:
            return render_template("index.html", languages=["en", "fa"]), 200 if self.lets_in else 401

        @app.get("/qr.svg")
        def qr() -> Response:
            drawn = io.BytesIO()
            segno.make_qr(key_text("Alice", b"me"), error="m").save(drawn, kind="svg", omitsize=True, light="#fff")
            return Response(drawn.getvalue(), mimetype="image/svg+xml")

        @app.get("/media/<sha256>")
        def media(sha256: str) -> Response:
            return Response(self.media[sha256], mimetype="image/png")

        @app.post("/library/images")
        def upload() -> tuple[Value, int]:
            file = request.files["image"]
            data = file.read()
            try:
                with Image.open(io.BytesIO(data)) as image:
                    width, height = image.size
            except OSError:
                message = "This is not a JPEG, PNG, WebP or GIF picture."
                return {"error": {"code": "unsupported_image", "message": message}}, 415
            kept = self.image(data, width, height)
            item = {"item": kept["sha256"][:32], "kind": "image", **kept, "name": file.filename}
            self.library.insert(0, item)
            self.say_state()
            return item, 201
