"""The HTTP API as an OpenAPI document, served at `/openapi.json`; a test holds the running server to it.

Owns the document. What the fields mean is said where they are made (`routes.py`, `answers.py`, `contract/`); the live
side is not HTTP, `events.py` has its table. Used by `app.py`.
"""

from typing import Any, Final

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from rendezvous.contract.presence import FILTERINGS, MAPPINGS

Schema = dict[str, Any]


def _object(properties: Schema, *optional: str) -> Schema:
    """Return the schema of an object that has all of these, but the optional ones, and may have more."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _bytes(count: int) -> Schema:
    """Return the schema of bytes as base64url without padding."""
    length = -(-count * 8 // 6)
    return {"type": "string", "pattern": f"^[A-Za-z0-9_-]{{{length}}}$"}


_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 32}
_TIME: Final = {"type": "integer", "minimum": 0, "description": "Unix seconds"}
_SEQ: Final = {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
_PORT: Final = {"type": "integer", "minimum": 1, "maximum": 65535}
_BOOLEAN: Final = {"type": "boolean"}
_TEXT: Final = {"type": "string"}
_ADDRESS: Final = {
    "type": "string",
    "pattern": ":[0-9]{1,5}$",
    "description": "HOST:PORT of UDP; a host that is empty is that of the rendezvous itself",
}
_COUNT: Final = {"type": "integer", "minimum": 0}

_ENTRY: Final = {"username": _NAME, "key": _bytes(32), "online": _BOOLEAN, "last_seen": _TIME}
_SIGNED: Final = {"seq": _SEQ, "audience": _bytes(32), "time": _TIME, "signature": _bytes(64)}

SCHEMAS: Final[Schema] = {
    "Error": _object({"error": _object({"code": _TEXT, "message": _TEXT})}),
    "Identity": _object(
        {
            "key": _bytes(32),
            "fingerprint": _TEXT,
            "code_required": _BOOLEAN,
            "stun_ports": {"type": "array", "items": _PORT, "maxItems": 2},
            "stun": {"type": "array", "items": _object({"address": _ADDRESS, "second_port": _or_null(_PORT)})},
            "relay": {"type": "array", "items": _ADDRESS},
        }
    ),
    "Statement": _object(
        {
            "name": _NAME,
            "key": _bytes(32),
            "box_key": _bytes(32),
            "seq": _SEQ,
            "claimed": _TIME,
            "time": _TIME,
            "server": _bytes(32),
            "signature": _bytes(64),
            "released": _BOOLEAN,
        },
        "released",
    ),
    "Entry": _object(_ENTRY),
    "Person": _object(
        _ENTRY
        | {
            "box_key": _bytes(32),
            "box_signature": _bytes(64),
            "seq": _SEQ,
            "host": _TEXT | {"description": "where `direct`"},
            "port": _PORT,
            "direct": _BOOLEAN,
            "relay": _or_null(_ADDRESS),
            "reach": _or_null(_ref("Reach")),
            "same_network": _BOOLEAN,
            "statement": _ref("Statement"),
        },
        "host",
    ),
    "Reach": _object(
        {
            "mapping": {"enum": list(MAPPINGS)},
            "filtering": {"enum": list(FILTERINGS)},
            "udp": _or_null(_BOOLEAN),
            "ipv6": _or_null(_BOOLEAN),
            "mapped": _BOOLEAN,
        }
    ),
    "People": _object(
        {
            "users": {"type": "array", "items": _NAME},
            "people": {"type": "array", "items": _ref("Entry")},
            "next": {"type": ["string", "null"]},
        }
    ),
    "SignUp": _object(
        {
            "username": _NAME,
            "port": _PORT,
            "key": _bytes(32),
            "box_key": _bytes(32),
            "box_signature": _bytes(64),
            **_SIGNED,
            "visibility": {"enum": ["listed", "contacts", "hidden"]},
            "direct": _BOOLEAN | {"description": "whether everybody may know the address"},
            "code": {"type": "string", "maxLength": 128, "description": "where `code_required`"},
        },
        "visibility",
        "direct",
        "code",
    ),
    "SignedUp": _object({"username": _NAME, "token": _TEXT, "host": _TEXT, "statement": _ref("Statement")}),
    "Forget": _object({"username": _NAME, "key": _bytes(32), **_SIGNED}),
    "Forgotten": _object({"username": _NAME, "released": {"const": True}, "statement": _ref("Statement")}),
    "Health": _object({"status": _TEXT}),
    "Status": _object(
        {
            "service": {"const": "tmge-rendezvous"},
            "about": _TEXT,
            "key": _bytes(32),
            "online": _COUNT,
            "listed": _COUNT,
            "code_required": _BOOLEAN,
            "relay": _or_null(
                _object({"address": _ADDRESS, "rate": _COUNT, "ticket_bytes": _COUNT, "person_bytes": _COUNT})
            ),
            "api": _TEXT,
        }
    ),
}

_ERRORS: Final = {
    400: "Malformed, an old `seq`, another audience, or a time that is off by more than ten minutes",
    401: "Not signed, or not by this key",
    403: "`code_required` or `wrong_code`",
    404: "`unknown_person`: nobody, nobody for whoever asks, or another key than the one asked for",
    405: "Another method",
    409: "Somebody else has this name, or one that looks like it",
    413: "A body of more than 16 KiB",
    415: "Not application/json",
    429: "Too often; `Retry-After` says when again",
    503: "The store does not answer, this process stops, or has all the connections that it takes",
}


def _answers(done: dict[int, str], *errors: int) -> Schema:
    """Return the answers of a call: statuses with the schemas of success, and those of errors."""
    found: Schema = {str(code): _answer("Done", _ref(schema)) for code, schema in done.items()}
    for code in sorted({*errors, 405, 429, 503}):
        found[str(code)] = _answer(_ERRORS[code], _ref("Error"))
    found["429"]["headers"] = {"Retry-After": {"schema": {"type": "string", "pattern": "^[0-9]+$"}}}
    return found


def _answer(about: str, schema: Schema) -> Schema:
    return {"description": about, "content": {"application/json": {"schema": schema}}}


def _query(name: str, about: str, schema: Schema, *, required: bool = False) -> Schema:
    return {"name": name, "in": "query", "description": about, "schema": schema, "required": required}


def _body(schema: str) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": _ref(schema)}}}


_FRAGMENT: Final = {"type": "string", "maxLength": 128}
_PAGE: Final = {"content": {"text/html": {"schema": _TEXT}}, "description": "For people"}
_FRONT: Final = _answers({200: "Status"})
_FRONT["200"]["content"] |= _PAGE["content"]

PATHS: Final[Schema] = {
    "/": {"get": {"summary": "What this is, and how many are here", "responses": _FRONT}},
    "/healthz": {"get": {"summary": "Whether the process lives", "responses": _answers({200: "Health"})}},
    "/readyz": {"get": {"summary": "Whether it can serve", "responses": _answers({200: "Health"})}},
    "/openapi.json": {
        "get": {"summary": "This document", "responses": {"200": _answer("Done", {"type": "object"})}},
    },
    "/identity": {
        "get": {
            "summary": "This server's key, the audience of what is signed",
            "responses": _answers({200: "Identity"}),
        },
    },
    "/signup": {
        "post": {
            "summary": "Claim a name, or renew it",
            "description": "`signature` is Ed25519 over `tmge-signup-v1\\0` and the JSON without `signature`: sorted"
            " keys, no spaces, UTF-8. `box_signature` binds `box_key` to the name.",
            "requestBody": _body("SignUp"),
            "responses": _answers({200: "SignedUp", 201: "SignedUp"}, 400, 401, 403, 409, 413, 415),
        }
    },
    "/forget": {
        "post": {
            "summary": "Remove everything about a person, and state so",
            "requestBody": _body("Forget"),
            "responses": _answers({200: "Forgotten"}, 400, 401, 404, 413, 415),
        }
    },
    "/users": {
        "get": {
            "summary": "A page of the listed names, in order",
            "parameters": [
                _query("query", "only names that begin so", _FRAGMENT),
                _query("after", "`next` of the page before", _FRAGMENT),
                _query("limit", "of names", {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}),
            ],
            "responses": _answers({200: "People"}, 400),
        }
    },
    "/user": {
        "get": {
            "summary": "What is known of one person",
            "parameters": [
                _query("id", "the name", _FRAGMENT | {"minLength": 1}, required=True),
                _query("fp", "the fingerprint that the key must have", _FRAGMENT),
                _query("look", "the secret of an invite, where the person is not listed", _FRAGMENT),
            ],
            "security": [{}, {"session": []}],
            "responses": _answers({200: "Person"}, 400, 404),
        }
    },
    "/relay": {
        "get": {
            "summary": "A WebSocket for the relay's datagrams, where UDP is blocked",
            "responses": {"426": _answer("Not a WebSocket", _ref("Error"))} | _answers({}),
        }
    },
    "/invite": {"get": {"summary": "How to go on with an invite link", "responses": {"200": _PAGE}}},
}

DOCUMENT: Final[Schema] = {
    "openapi": "3.1.0",
    "info": {
        "title": "TMGE rendezvous",
        "version": "1",
        "description": "Where agents sign up and find each other. Every error has a code for programs and a sentence"
        " for people. Unknown fields of a request are ignored; answers may have more fields than stand here.",
        "license": {"name": "MIT", "identifier": "MIT"},
    },
    "paths": PATHS,
    "components": {
        "schemas": SCHEMAS,
        "securitySchemes": {"session": {"type": "http", "scheme": "bearer", "description": "`token` of a sign-up"}},
    },
}


def register(app: Flask) -> None:
    """Give an application the document."""

    def openapi() -> ResponseReturnValue:
        return jsonify(DOCUMENT)

    app.add_url_rule("/openapi.json", view_func=openapi)
