"""The page's Socket.IO side: who is let in, calls in, events out.

Owns the judgement of arguments and the form of every acknowledgement. What a call does is the
Exchange's business. Assembled by agent.page.create_page.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

import flask
import socketio.packet
from flask_socketio import ConnectionRefusedError, SocketIO, join_room

from agent.page.exchange import CALLS, EVENTS, Arguments, Exchange
from agent.page.guard import CREDENTIAL, unauthorized
from agent.page.token import Access
from agent.protocol.errors import UsageError

MAX_MESSAGE: Final = 256 * 1024
# Only who was let in is in this room: a socket that is still being judged hears nothing.
_ROOM: Final = "page"
_MAX_INTEGER: Final = 2**53
_TYPE_WORDS: Final = {str: "text", int: "a whole number", bool: "true or false"}
_log = logging.getLogger(__name__)


class _Text(socketio.packet.Packet):  # type: ignore[misc]
    """A packet that is JSON alone: nothing of the contract is binary, so nothing is searched for what is."""

    uses_binary_events = False


class Events:
    """Socket.IO for one page; `exchange` is set before the first client comes."""

    exchange: Exchange

    def __init__(self, flask_app: flask.Flask, access: Access, async_mode: str) -> None:
        self._access = access
        self._server = SocketIO(
            flask_app,
            async_mode=async_mode,
            # The guard judges origins; this is not "any", it is "no CORS here".
            cors_allowed_origins=[],
            max_http_buffer_size=MAX_MESSAGE,
            manage_session=False,
            serializer=_Text,
        )
        self._server.on("connect")(self._connect)
        self._server.on("*")(self._call)

    def publish(self, event: str, value: object) -> None:
        """Tell every open page; an unknown event name is a mistake of ours (ValueError)."""
        if event not in EVENTS:
            raise ValueError(f"{event!r} is not an event of the local contract")
        self._server.emit(event, value, to=_ROOM)

    def _connect(self, auth: object = None) -> None:
        """Let in a cookie or a token, and show it where things stand."""
        if CREDENTIAL not in flask.request.environ and not self._has_token(auth):
            raise ConnectionRefusedError(str(unauthorized()), {"code": "unauthorized"})
        # A client may send an event called "connect" later: it has been let in already.
        flask.request.environ[CREDENTIAL] = "token"
        join_room(_ROOM)
        answer = self._carry_out("get_state", {})
        if answer.pop("ok"):
            self._server.emit("state", answer, to=flask.request.sid)  # type: ignore[attr-defined]

    def _has_token(self, auth: object) -> bool:
        token = auth.get("token") if isinstance(auth, Mapping) else None
        return isinstance(token, str) and self._access.is_token(token)

    def _call(self, name: str, *values: object) -> dict[str, Any]:
        """Judge one call and carry it out; the return value is the acknowledgement."""
        try:
            arguments = checked_arguments(name, values)
        except UsageError as problem:
            return _refusal(problem)
        return self._carry_out(name, arguments)

    def _carry_out(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            result = getattr(self.exchange, name)(**arguments)
        except UsageError as problem:
            return _refusal(problem)
        except Exception as problem:
            return _refusal(fault(problem, name))
        return {"ok": True, **(result or {})}


def checked_arguments(name: str, values: tuple[object, ...]) -> dict[str, Any]:
    """Give the arguments of a call that is as CALLS says; else UsageError naming what is wrong."""
    if name not in CALLS:
        raise UsageError("bad_request", f"There is no call {_quoted(name)}.")
    given = values[0] if values else None
    if given is None:
        given = {}
    if len(values) > 1 or not isinstance(given, dict):
        raise UsageError("bad_request", f"{name} takes one object with its arguments.")
    expected = CALLS[name]
    for word in given:
        if word not in expected:
            raise UsageError("bad_request", f"{name} takes no argument {_quoted(word)}.")
    return {word: value for word in expected if (value := _checked(name, word, given.get(word), expected)) is not None}


def _checked(name: str, word: str, value: object, expected: Arguments) -> object:
    kind, required = expected[word]
    if value is None:
        if required:
            raise UsageError("bad_request", f"{name} needs the argument {word!r}.")
        return None
    # bool is an int in Python, and nowhere else.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UsageError("bad_request", f"{name}: {word!r} must be {_TYPE_WORDS[kind]}.")
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise UsageError("bad_request", f"{name}: {word!r} is too large a number.")
    if isinstance(value, str) and not _is_unicode(value):
        raise UsageError("bad_request", f"{name}: {word!r} holds half a character (a surrogate).")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _quoted(text: object) -> str:
    """Show a name from outside within a sentence: short, and without control characters."""
    return json.dumps(str(text)[:40])


def _refusal(problem: UsageError) -> dict[str, Any]:
    return {"ok": False, "error": {"code": problem.code, "message": problem.message}}


def fault(problem: Exception, doing: str) -> UsageError:
    """Log a fault of ours, and make the honest answer: the contract has no code for it."""
    _log.error("A fault in the agent, in %s: %s: %s", doing, type(problem).__name__, problem)
    _log.debug("It was raised here.", exc_info=problem)
    return UsageError("bad_request", "That did not work: a fault in the agent, which its log names.")
