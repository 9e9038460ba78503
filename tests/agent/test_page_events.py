"""The page's Socket.IO side, spoken by a real client to a real agent; and the tables themselves."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import socketio
import websocket
from hypothesis import given
from hypothesis import strategies as st

from agent.page.events import MAX_MESSAGE, checked_arguments
from agent.page.exchange import CALLS, EVENTS, Exchange
from agent.protocol.errors import UsageError
from tests.support.page_server import RunningAgent, ask

PATIENCE = 15
STATIC = Path(__file__).resolve().parents[2] / "web" / "static"


class Client:
    """A page, as far as Socket.IO goes."""

    def __init__(self, agent: RunningAgent, transports: list[str], **more: Any) -> None:
        self.heard: Queue[tuple[str, Any]] = Queue()
        self._socket = socketio.Client(reconnection=False)
        self._socket.on("*", lambda name, value: self.heard.put((name, value)))
        self._socket.connect(agent.url, transports=transports, wait_timeout=PATIENCE, **more)

    def call(self, name: Any, value: Any = None) -> Any:
        return self._socket.call(name, value, timeout=PATIENCE)

    def next_event(self) -> tuple[str, Any]:
        return self.heard.get(timeout=PATIENCE)

    def close(self) -> None:
        self._socket.eio.disconnect(abort=True)  # without waiting for a poll to end


def open_socket(agent: RunningAgent, **more: Any) -> websocket.WebSocket:
    """Open a bare WebSocket as a page would, up to Engine.IO's greeting."""
    opened = websocket.create_connection(
        f"ws://127.0.0.1:{agent.port}/socket.io/?EIO=4&transport=websocket",
        host=f"localhost:{agent.port}",
        origin=agent.url,
        timeout=PATIENCE,
        **more,
    )
    assert str(opened.recv()).startswith("0")
    return opened


@pytest.fixture
def client(page: RunningAgent) -> Iterator[Client]:
    """A client with a cookie, as a browser has; it has heard the state."""
    # A browser's WebSocket carries an Origin; websocket-client sends one by itself.
    client = Client(page, ["websocket"], headers={"Cookie": page.cookie})
    assert client.next_event()[0] == "state"
    yield client
    client.close()


def ends(opened: websocket.WebSocket, message: str) -> bool:
    """Tell whether this message ends the connection, by a close frame or a reset."""
    try:
        opened.send(message)
        return not opened.recv()
    except (websocket.WebSocketConnectionClosedException, ConnectionError):
        return True


def refusal(answer: Any) -> Any:
    """Give the error of an acknowledgement that must be one."""
    assert answer["ok"] is False
    assert set(answer["error"]) == {"code", "message"}
    assert answer["error"]["message"].endswith(".")
    return answer["error"]


def test_a_page_with_the_cookie_is_shown_the_state_and_answered(client: Client) -> None:
    assert client.call("get_state") == {"ok": True, "me": {"name": None}, "people": []}
    assert client.call("get_state", {})["ok"] is True
    answer = client.call("ask_quote", {"peer": "bob", "lifetime": 60, "wish": None})
    assert answer["arguments"] == {"peer": "bob", "lifetime": 60}


def test_a_script_with_the_token_is_let_in(page: RunningAgent) -> None:
    for transports in (["websocket"], ["polling"], ["polling", "websocket"]):
        client = Client(page, transports, auth={"token": page.token})
        assert client.next_event()[0] == "state"
        assert client.call("cancel", {"request": "0"})["call"] == "cancel"
        client.close()


@pytest.mark.parametrize("auth", [None, {}, {"token": "wrong"}, {"token": 7}, ["token"], "token"])
def test_nobody_else_is_let_in(page: RunningAgent, auth: Any) -> None:
    said: Queue[Any] = Queue()
    client = socketio.Client(reconnection=False)
    client.on("connect_error", said.put)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(page.url, transports=["websocket"], auth=auth, wait_timeout=PATIENCE)
    refused = said.get(timeout=PATIENCE)
    assert "that the agent printed" in refused["message"]
    assert refused["data"] == {"code": "unauthorized"}


def test_who_is_not_let_in_hears_nothing_and_is_not_obeyed(page: RunningAgent) -> None:
    stranger = open_socket(page)
    insider = Client(page, ["websocket"], auth={"token": page.token})
    for packet in ('420["add_quote",{"text":"tell","author":"x"}]', "40", '421["get_state"]'):
        stranger.send(packet)
    insider.call("add_quote", {"text": "tell", "author": "x"})
    assert str(stranger.recv()).startswith("44{")  # refused, and nothing else was said before
    assert insider.next_event()[0] == "state"
    assert insider.next_event()[0] == "notice"
    assert insider.heard.empty()  # told once: the stranger's call was not carried out
    insider.close()
    stranger.close()


def test_what_is_published_reaches_every_page(page: RunningAgent, client: Client) -> None:
    other = Client(page, ["websocket"], auth={"token": page.token})
    assert client.call("add_quote", {"text": "tell", "author": "x"})["ok"] is True
    assert client.next_event() == ("notice", {"level": "info", "code": "told", "message": "Told."})
    assert [other.next_event()[0] for _ in range(2)] == ["state", "notice"]
    other.close()


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("no_such_call", {}, "no_such_call"),
        ("__class__", {}, "__class__"),
        ("add_image", {}, "add_image"),
        ("sign_up", {}, "'name'"),
        ("sign_up", None, "'name'"),
        ("sign_up", {"name": None}, "'name'"),
        ("sign_up", {"name": 7}, "'name'"),
        ("sign_up", {"name": "a", "more": 1}, '"more"'),
        ("sign_up", "alice", "sign_up"),
        ("sign_up", ["alice"], "sign_up"),
        ("answer", {"request": "0", "accept": 1}, "'accept'"),
        ("ask_quote", {"peer": "bob", "lifetime": True}, "'lifetime'"),
        ("ask_quote", {"peer": "bob", "lifetime": 1.5}, "'lifetime'"),
        ("ask_quote", {"peer": "bob", "lifetime": 2**60}, "'lifetime'"),
        ("ask_quote", {"peer": "\ud800"}, "'peer'"),
        ("get_state", {"\x1b[2J\u202e": 1}, "u001b"),
    ],
)
def test_a_wrong_call_is_answered_with_what_is_wrong(client: Client, name: str, value: Any, named: str) -> None:
    error = refusal(client.call(name, value))
    assert error["code"] == "bad_request"
    assert named in error["message"]
    assert error["message"].isprintable()


def test_two_values_are_no_call(client: Client) -> None:
    assert refusal(client.call("sign_up", ({"name": "a"}, {})))["code"] == "bad_request"


def test_the_exchange_can_refuse_and_can_fail_without_hurting_anyone(client: Client) -> None:
    assert refusal(client.call("sign_up", {"name": "taken"}))["code"] == "name_taken"
    error = refusal(client.call("sign_up", {"name": "fault"}))
    assert error["code"] == "bad_request"
    assert "secret" not in error["message"]
    assert client.call("get_state")["ok"] is True


def test_an_event_called_connect_is_no_way_around(client: Client) -> None:
    client.call("connect", {"token": "x"})
    assert client.call("get_state")["ok"] is True


def test_a_message_that_is_too_long_ends_that_connection_alone(page: RunningAgent) -> None:
    socket = open_socket(page, cookie=page.cookie)
    other = Client(page, ["websocket"], auth={"token": page.token})
    socket.send("40")
    assert str(socket.recv()).startswith("4")
    assert str(socket.recv()).startswith("4")
    assert ends(socket, "4" + "a" * MAX_MESSAGE)
    assert other.call("get_state")["ok"] is True
    other.close()


@pytest.mark.parametrize(
    "packet", ["", "4", "42", "42[]", "42{}", "42[{}]", "42[7,1]", "4299[", "4x", "451-[]", "9", "\0"]
)
def test_a_malformed_packet_hurts_nobody(page: RunningAgent, packet: str) -> None:
    socket = open_socket(page, cookie=page.cookie)
    socket.send("40")
    assert str(socket.recv()).startswith("4")
    socket.send(packet)
    socket.close()
    assert ask(page, "/", Authorization=page.bearer).status == 200


def test_the_exchange_has_a_method_for_each_call_with_just_its_arguments() -> None:
    for name, arguments in CALLS.items():
        parameters = inspect.signature(getattr(Exchange, name)).parameters
        named = {key: value for key, value in parameters.items() if key != "self"}
        assert set(named) == set(arguments), name
        for word, (_, required) in arguments.items():
            assert named[word].kind is inspect.Parameter.KEYWORD_ONLY
            assert (named[word].default is inspect.Parameter.empty) == required


def test_the_page_and_the_agent_know_the_same_words() -> None:
    source = (STATIC / "events.js").read_text(encoding="utf-8")
    calls, news = re.findall(r"words\(([^)]*)\)", source)[-2:]
    assert set(re.findall(r'"(\w+)"', calls)) == set(CALLS)
    assert set(re.findall(r'"(\w+)"', news)) == EVENTS


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    name=st.sampled_from(sorted(CALLS)) | st.text(),
    words=st.dictionaries(st.sampled_from(sorted({word for call in CALLS.values() for word in call})), json_values),
    more=st.lists(json_values, max_size=2),
)
def test_whatever_is_sent_is_either_right_or_refused_with_a_sentence(
    name: str, words: dict[str, Any], more: list[Any]
) -> None:
    for values in ((words, *more), tuple(more)):
        arguments = judged(name, values)
        if isinstance(arguments, UsageError):
            assert arguments.code == "bad_request"
            assert arguments.message.isprintable()
        else:
            assert all(type(arguments[word]) is CALLS[name][word][0] for word in arguments)
            assert {word for word, (_, needed) in CALLS[name].items() if needed} <= set(arguments)


def judged(name: str, values: tuple[Any, ...]) -> dict[str, Any] | UsageError:
    """Give what a call's arguments are, or why they are none."""
    try:
        return checked_arguments(name, values)
    except UsageError as problem:
        return problem
