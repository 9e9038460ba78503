"""The HTTP API: signup, users, user, identity. Everything it answers is JSON, errors included.

Owns paths, statuses and limits of a request; what a sign-up must hold is `signup.py`, what is kept
is `store.py`. Used by `app.py`.
"""

import logging
import time
from ipaddress import IPv6Address, ip_address
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Blueprint, Flask, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from rendezvous import answers, signup
from rendezvous.answers import Refused
from rendezvous.contract.encoding import to_text
from rendezvous.contract.identity import fingerprint
from rendezvous.contract.names import MAX_NAME_LENGTH
from rendezvous.store import Claimed, Store, Unavailable

MAX_BODY: Final = 16 * 1024
"""Bytes that the body of a request may have."""
PAGE: Final = 100
MAX_PAGE: Final = 500
_MAX_QUERY: Final = 4 * MAX_NAME_LENGTH

log = logging.getLogger(__name__)
api = Blueprint("api", __name__)


def register(app: Flask, store: Store) -> None:
    """Give the application its paths and its errors."""
    app.extensions["store"] = store
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.register_blueprint(api)
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(Unavailable, _unavailable)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _defect)


@api.get("/")
def index() -> ResponseReturnValue:
    """Say what this is, to whoever opens it in a browser."""
    about = "A TMGE rendezvous: agents sign up and find each other here. There is no page to see."
    return jsonify(service="tmge-rendezvous", about=about, calls=["/signup", "/users", "/user"])


@api.get("/identity")
def identity() -> ResponseReturnValue:
    """Say which key this server has: the audience of every sign-up here."""
    key = _audience()
    return jsonify(key=to_text(key), fingerprint=fingerprint(key))


@api.post("/signup")
def sign_up() -> ResponseReturnValue:
    """Claim a name (201) or renew it (200)."""
    if request.mimetype != "application/json":
        raise Refused(415, "unsupported_media_type", "A sign-up is sent as application/json.")
    claim = signup.read(request.get_data(), observed_host(), _audience(), time.time())
    outcome, detail = _store().claim(claim, _bearer())
    if outcome is Claimed.TAKEN:
        raise Refused(409, "name_taken", f"Someone else already has the name {claim.name}.")
    if outcome is Claimed.SPELLING:
        raise Refused(409, "name_taken", f"That name is already written {detail} here.")
    if outcome is Claimed.OLD_SEQ:
        raise Refused(400, "old_seq", f"seq must be above {detail}: this sign-up is an old one.")
    body = {"username": claim.name, "token": detail, "host": claim.host}
    return jsonify(body), 201 if outcome is Claimed.NEW else 200


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
    """Say what is known of one person."""
    name = _text("id")
    if not name:
        raise Refused(400, "bad_request", "Say whom: /user?id=NAME.")
    person = _store().find(name)
    if person is None:
        raise Refused(404, "unknown_person", "Nobody has that name here.")
    return jsonify(answers.card(person))


def observed_host() -> str:
    """Return the address that the request came from; an IPv4 address inside IPv6 is written as
    IPv4.
    """
    try:
        address = ip_address((request.remote_addr or "").partition("%")[0])
    except ValueError:
        raise Refused(400, "bad_request", "The request came from no IP address.") from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _store() -> Store:
    store = current_app.extensions["store"]
    assert isinstance(store, Store)
    return store


def _audience() -> bytes:
    return Ed25519PrivateKey.from_private_bytes(_store().identity()).public_key().public_bytes_raw()


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


_HTTP_CODES: Final = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def _http_error(error: HTTPException) -> ResponseReturnValue:
    """Answer what Flask itself refuses, with the headers that belong to it (405: Allow)."""
    status = error.code or 500
    code = _HTTP_CODES.get(status, "bad_request" if status < 500 else "internal")
    headers = [(name, value) for name, value in error.get_headers() if name != "Content-Type"]
    return jsonify(answers.error(code, error.description or error.name)), status, headers


def _defect(error: Exception) -> ResponseReturnValue:
    """Answer for a defect of ours; the log has the traceback."""
    log.error("a request failed", exc_info=error)
    return jsonify(answers.error("internal", "The rendezvous made a mistake.")), 500
