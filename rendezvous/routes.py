"""The HTTP API: signup, forget, users, user, identity. Everything it answers is JSON, errors included; `/invite` alone
is for people.

Owns paths, statuses and limits of a request; what a sign-up must hold is `signup.py`, what is kept
is `store.py`. Used by `app.py`.
"""

import logging
import time
from dataclasses import replace
from typing import Final

from flask import Blueprint, Flask, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from rendezvous import answers, codes, signup
from rendezvous.answers import Refused
from rendezvous.authority import Authority
from rendezvous.contract.encoding import from_text, to_text
from rendezvous.contract.identity import fingerprint
from rendezvous.contract.names import MAX_NAME_LENGTH
from rendezvous.contract.presence import LOOK_SIZE
from rendezvous.contract.statement import Statement
from rendezvous.people import Claimed
from rendezvous.proxies import plain
from rendezvous.store import Store, Unavailable

MAX_BODY: Final = 16 * 1024
"""Bytes that the body of a request may have."""
PAGE: Final = 100
MAX_PAGE: Final = 500
_MAX_QUERY: Final = 4 * MAX_NAME_LENGTH
_INVITE_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>An invitation to TMGE</title>
<style>body{font:1.1rem/1.5 system-ui;max-width:36rem;margin:10vh auto;padding:0 1rem;color-scheme:light dark}</style>
<h1>You are invited to TMGE</h1>
<p>Somebody would like to exchange quotes and pictures with you. Copy the whole address of this page, and paste it into
the page of your own agent, under <b>Open an invitation</b>; or start the agent with it:
<code>agent --invite LINK</code>.</p>
"""

log = logging.getLogger(__name__)
api = Blueprint("api", __name__)


def register(app: Flask, store: Store, authority: Authority) -> None:
    """Give the application its paths and its errors."""
    app.extensions["store"] = store
    app.extensions["authority"] = authority
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.register_blueprint(api)
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(Unavailable, _unavailable)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _defect)


@api.get("/identity")
def identity() -> ResponseReturnValue:
    """Say which key this server has: the audience of every sign-up here."""
    key = _authority().key
    return jsonify(key=to_text(key), fingerprint=fingerprint(key), **current_app.config["TMGE_ABOUT"])


@api.post("/signup")
def sign_up() -> ResponseReturnValue:
    """Claim a name (201) or renew it (200)."""
    authority = _authority()
    body = _json_body()
    claim = signup.read(body, observed_host(), authority.key, time.time())
    codes.check(body, claim)
    current_app.extensions["limits"].hit("identity", to_text(claim.key))
    signed: list[Statement] = []

    def prove(claimed: int, at: int) -> bytes:
        signed.append(authority.statement(claim, claimed, at))
        return signed[-1].signature

    outcome, detail = _store().claim(claim, prove)
    if outcome is Claimed.TAKEN:
        raise Refused(409, "name_taken", f"Someone else already has the name {claim.name}, or one that looks like it.")
    if outcome is Claimed.SPELLING:
        raise Refused(409, "name_taken", f"That name is already written {detail} here.")
    if outcome is Claimed.OLD_SEQ:
        raise Refused(400, "old_seq", f"seq must be above {detail}: this sign-up is an old one.")
    answer = {"username": claim.name, "token": detail, "host": claim.host, "statement": signed[-1].as_json()}
    return jsonify(answer), 201 if outcome is Claimed.NEW else 200


@api.post("/forget")
def forget() -> ResponseReturnValue:
    """Remove everything about a person who wishes it, and state so."""
    authority = _authority()
    farewell = signup.read_farewell(_json_body(), authority.key, time.time())
    released = _store().forget(farewell.name, farewell.key, farewell.seq)
    if released is None:
        raise _nobody()
    if isinstance(released, int):
        raise Refused(400, "old_seq", f"seq must be above {released}: this wish is an old one.")
    statement = authority.signed(replace(released, server=authority.key))
    return jsonify(username=released.name, released=True, statement=statement.as_json())


@api.get("/users")
def users() -> ResponseReturnValue:
    """List names in pages, in order; `next` is the `after` of the next page, null at the end."""
    limit = _limit(request.args.get("limit"))
    people, more = _store().page(_text("query"), _text("after"), limit)
    return jsonify(
        users=[person.name for person in people],
        people=[answers.entry(person) for person in people],
        next=more,
    )


@api.get("/user")
def user() -> ResponseReturnValue:
    """Say what is known of one person. Nobody, somebody who is not for whoever asks (they may show their session, or
    the secret of an invite), and somebody with another key than the one asked for: all get the same answer.
    """
    name = _text("id")
    if not name:
        raise Refused(400, "bad_request", "Say whom: /user?id=NAME.")
    server = _authority().key
    person = _store().find(name, _bearer(), _look())
    wanted = _text("fp")
    if person is None or (wanted and wanted != fingerprint(person.key)):
        raise _nobody()
    return jsonify(answers.card(person, server, observed_host()))


@api.get("/invite")
def invite() -> ResponseReturnValue:
    """Tell whoever opened an invite link in a browser how to go on; what stands behind its # never got here."""
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return _INVITE_PAGE, 200, headers


def observed_host() -> str:
    """Return the address that the request came from; an IPv4 address inside IPv6 is written as
    IPv4.
    """
    try:
        return str(plain(request.remote_addr or ""))
    except ValueError:
        raise Refused(400, "bad_request", "The request came from no IP address.") from None


def _store() -> Store:
    store = current_app.extensions["store"]
    assert isinstance(store, Store)
    return store


def _authority() -> Authority:
    authority = current_app.extensions["authority"]
    assert isinstance(authority, Authority)
    return authority


def _json_body() -> bytes:
    if request.mimetype != "application/json":
        raise Refused(415, "unsupported_media_type", "This is sent as application/json.")
    return request.get_data()


def _nobody() -> Refused:
    return Refused(404, "unknown_person", "Nobody has that name here.")


def _look() -> bytes | None:
    try:
        return from_text(request.args["look"], LOOK_SIZE) if "look" in request.args else None
    except ValueError:
        return None


def _bearer() -> str | None:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _text(field: str) -> str:
    value = request.args.get(field, "")
    if len(value) > _MAX_QUERY:
        raise Refused(400, "bad_request", f"{field} is too long for a name.")
    return value


def _limit(value: str | None) -> int:
    if value is None:
        return PAGE
    if not (value.isascii() and value.isdigit() and len(value) < 6 and 1 <= int(value) <= MAX_PAGE):
        raise Refused(400, "bad_request", f"limit must be an integer from 1 to {MAX_PAGE}.")
    return int(value)


def _refused(error: Refused) -> ResponseReturnValue:
    return jsonify(answers.error(error.code, error.message)), error.status


def _unavailable(error: Unavailable) -> ResponseReturnValue:
    log.warning("The store does not answer: %s", error)
    message = "The rendezvous cannot reach its store right now."
    return jsonify(answers.error("unavailable", message)), 503, {"Retry-After": "1"}


_HTTP_CODES: Final = {
    404: ("not_found", "There is nothing at this address; /openapi.json says what there is."),
    405: ("method_not_allowed", "This address does not take that method."),
    413: ("too_large", f"A body has at most {MAX_BODY} bytes."),
}


def _http_error(error: HTTPException) -> ResponseReturnValue:
    """Answer what Flask itself refuses, with the headers that belong to it (405: Allow)."""
    status = error.code or 500
    other = ("bad_request" if status < 500 else "internal", error.description or error.name)
    code, message = _HTTP_CODES.get(status, other)
    headers = [(name, value) for name, value in error.get_headers() if name != "Content-Type"]
    return jsonify(answers.error(code, message)), status, headers


def _defect(error: Exception) -> ResponseReturnValue:
    """Answer for a defect of ours; the log has the traceback."""
    log.error("a request failed", exc_info=error)
    return jsonify(answers.error("internal", "The rendezvous made a mistake.")), 500
