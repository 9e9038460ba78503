"""The page's HTTP routes: the page itself, its files, uploads in, pictures out.

Who may ask was judged by guard.py before. Every error is JSON with a sentence, but for the page
that tells a browser how to get in. Assembled by agent.page.create_page.
"""

import io
import itertools
import mimetypes
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

import flask
import segno
from flask import Response
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import HTTPException

from agent.page.events import fault
from agent.page.exchange import Exchange
from agent.page.guard import CREDENTIAL, cookie_name, login_page
from agent.page.token import Access
from agent.protocol.errors import UsageError

IMAGE_BYTES: Final = 100 * 1024 * 1024
_FORM_SLACK: Final = 64 * 1024  # the multipart envelope of one picture
_BLOCK: Final = 64 * 1024
_PARTIAL_AT_ONCE: Final = 2
_NAME: Final = 200  # characters of a file's name that an answer repeats
# A picture that is opened by itself may do nothing else.
_NOTHING_ELSE: Final = "default-src 'none'; sandbox"
_COOKIE_SECONDS: Final = 180 * 86_400
_STATUS: Final = {"too_large": 413, "unsupported_image": 415, "unauthorized": 401, "limit": 429}
_CODES: Final = {401: "unauthorized", 413: "too_large", 429: "limit"}
_SENTENCES: Final = {
    404: "There is nothing at this address.",
    405: "This address does not take that method.",
    411: "Say how long the upload is (Content-Length).",
    413: f"What is sent at once can have at most {IMAGE_BYTES // 2**20} MB.",
}
# What a picture that is still arriving begins with, and its type: only these four are ever shown.
_MAGIC: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


class Owner(Protocol):
    """Who knows the exchange, once there is one."""

    exchange: Exchange


def create_app(owner: Owner, access: Access, port: int, web: Path) -> flask.Flask:
    """Make the Flask application; `web` holds `templates` and `static`."""
    # What a system's own table says of these differs, and a module of a wrong type does not run.
    for suffix, kind in ((".js", "text/javascript"), (".woff2", "font/woff2")):
        mimetypes.add_type(kind, suffix)
    app = flask.Flask(
        "tmge-page",
        root_path=str(web),
        static_folder=str(web / "static"),
        template_folder=str(web / "templates"),
    )
    app.config["MAX_CONTENT_LENGTH"] = IMAGE_BYTES + _FORM_SLACK
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False  # no redirects for addresses that nobody needs
    _add_entrance(app, access, port)
    _add_key(app, owner)
    _add_pictures(app, owner)
    _add_errors(app)
    return app


def _add_entrance(app: flask.Flask, access: Access, port: int) -> None:
    @app.get("/")
    def index() -> Response:
        """Show the page; a good `token` or `code` is swapped for the cookie first."""
        token, code = flask.request.args.get("token"), flask.request.args.get("code")
        if token is not None or code is not None:
            known = (token is not None and access.is_token(token)) or (code is not None and access.use_code(code))
            return _let_in(access, port) if known else _keep_out()
        if CREDENTIAL not in flask.request.environ:
            return _keep_out()
        page = flask.make_response(flask.render_template("index.html", languages=_languages(app)))
        page.headers["Cache-Control"] = "no-store"
        return page


def _languages(app: flask.Flask) -> list[str]:
    """List the languages that there is a table of texts for."""
    return sorted(path.stem.removeprefix("texts_") for path in Path(app.static_folder or "").glob("texts_*.js"))


def _let_in(access: Access, port: int) -> Response:
    answer = flask.Response("", 303, {"Location": "/", "Cache-Control": "no-store"})
    answer.autocorrect_location_header = False
    answer.set_cookie(
        cookie_name(port),
        access.session,
        max_age=_COOKIE_SECONDS,
        path="/",
        httponly=True,
        samesite="Strict",
    )
    return answer


def _keep_out() -> Response:
    return flask.Response(login_page(), 401, {"Cache-Control": "no-store"}, mimetype="text/html")


def _add_key(app: flask.Flask, owner: Owner) -> None:
    @app.get("/qr.svg")
    def qr() -> Response:
        """Draw this person's key."""
        return _drawn(owner.exchange.key_text())

    @app.get("/invite.svg")
    def invite() -> Response:
        """Draw this person's invite link."""
        return _drawn(owner.exchange.invite_link())


def _drawn(text: str) -> Response:
    """Draw a QR code, black on white in every theme: scanners want it so."""
    drawn = io.BytesIO()
    code = segno.make_qr(text, error="m")
    code.save(drawn, kind="svg", xmldecl=False, omitsize=True, dark="#000", light="#fff")
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": _NOTHING_ELSE}
    return flask.Response(drawn.getvalue(), headers=headers, mimetype="image/svg+xml")


def _add_pictures(app: flask.Flask, owner: Owner) -> None:
    partials = _Seats(_PARTIAL_AT_ONCE)

    @app.post("/library/images")
    def add_image() -> tuple[Response, int]:
        """Take in one picture (multipart field `image`), or several small ones at once (the field repeated)."""
        images = _uploaded("image", "Send the picture as the form field 'image'.")
        if len(images) > 1:
            return flask.jsonify(_add_all(images, owner.exchange)), 200
        added = owner.exchange.add_image(images[0].stream, images[0].filename or None)
        return flask.jsonify(dict(added)), 201

    @app.post("/library/quotes")
    def add_quotes() -> tuple[Response, int]:
        """Take in a text file of quotes (multipart field `quotes`)."""
        (file,) = _uploaded("quotes", "Send the text file as the form field 'quotes'.")[:1]
        added = owner.exchange.add_quotes(file.stream)
        return flask.jsonify(dict(added)), 201 if added["added"] else 200

    @app.get("/media/<sha256>")
    def media(sha256: str) -> Response:
        """Serve a finished picture; `?download` has the browser save it."""
        found = owner.exchange.media(sha256) if _is_hex(sha256, 64) else None
        if found is None:
            flask.abort(404)
        return _picture(*found, sha256)

    @app.get("/media/preview/<request>")
    def preview(request: str) -> Response:
        """Serve the tiny picture that came with an announcement."""
        found = owner.exchange.preview(request) if _is_hex(request, 32) else None
        if found is None:
            flask.abort(404)
        headers = {"Cache-Control": "private, max-age=86400", "Content-Security-Policy": _NOTHING_ELSE}
        return flask.Response(found, headers=headers, mimetype="image/webp")

    @app.get("/media/partial/<request>")
    def partial(request: str) -> Response:
        """Serve a picture while it arrives."""
        if not partials.take():
            raise UsageError("limit", "Two pictures are shown already while they arrive.")
        try:
            blocks = owner.exchange.partial(request) if _is_hex(request, 32) else None
            if blocks is None:
                flask.abort(404)
            answer = _growing(blocks)
        except BaseException:
            partials.give_back()
            raise
        answer.call_on_close(partials.give_back)
        return answer


def _uploaded(field: str, otherwise: str) -> list[FileStorage]:
    """Return the files of a form field, or refuse with a sentence."""
    if flask.request.content_length is None:
        flask.abort(411)
    files = flask.request.files.getlist(field)
    if not files:
        raise UsageError("bad_request", otherwise)
    return files


def _add_all(images: Sequence[FileStorage], exchange: Exchange) -> dict[str, list[dict[str, Any]]]:
    """Take in pictures one after the other; what is refused costs none of the others."""
    answer: dict[str, list[dict[str, Any]]] = {"items": [], "refused": []}
    for image in images:
        name = (image.filename or "")[:_NAME]
        try:
            answer["items"].append({**exchange.add_image(image.stream, image.filename or None), "name": name})
        except UsageError as problem:
            answer["refused"].append({"name": name, "code": problem.code, "message": problem.message})
    return answer


class _Seats:
    """How many may do something at once."""

    def __init__(self, free: int) -> None:
        self._free = free

    def take(self) -> bool:
        if self._free == 0:
            return False
        self._free -= 1
        return True

    def give_back(self) -> None:
        self._free += 1


def _picture(path: Path, kind: str, sha256: str) -> Response:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        flask.abort(404)
    size = path.stat().st_size
    answer = flask.Response(_blocks(file), mimetype=kind)
    answer.call_on_close(file.close)
    answer.content_length = size
    answer.set_etag(sha256)
    answer.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    answer.headers["Content-Security-Policy"] = _NOTHING_ELSE
    # The name is made of the hash alone: nothing from outside stands in it.
    suffix = mimetypes.guess_extension(kind) or ""
    disposition = "attachment" if "download" in flask.request.args else "inline"
    answer.headers["Content-Disposition"] = f'{disposition}; filename="{sha256[:16]}{suffix}"'
    answer.make_conditional(flask.request)
    return answer


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block
        time.sleep(0)  # others' turn


def _growing(blocks: Iterator[bytes]) -> Response:
    """Answer with blocks as they come; an exception among them breaks the connection off."""
    close = getattr(blocks, "close", lambda: None)
    try:
        first = next(blocks, b"")
        answer = flask.Response(itertools.chain([first], blocks), mimetype=_type_of(first))
    except BaseException:
        close()
        raise
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Content-Security-Policy"] = _NOTHING_ELSE
    answer.call_on_close(close)
    return answer


def _type_of(beginning: bytes) -> str:
    for magic, kind in _MAGIC:
        if beginning.startswith(magic):
            return kind
    raise UsageError("unsupported_image", "This is not a picture that can be shown.")


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and set(text) <= set("0123456789abcdef")


def _add_errors(app: flask.Flask) -> None:
    def refuse(code: str, message: str, status: int) -> Response:
        answer = flask.jsonify({"error": {"code": code, "message": message}})
        answer.status_code = status
        answer.headers["Cache-Control"] = "no-store"
        return answer

    @app.errorhandler(UsageError)
    def usage(problem: UsageError) -> Response:
        return refuse(problem.code, problem.message, _STATUS.get(problem.code, 400))

    @app.errorhandler(HTTPException)
    def http(problem: HTTPException) -> Response:
        status = problem.code or 500
        sentence = _SENTENCES.get(status, "This request cannot be understood.")
        answer = refuse(_CODES.get(status, "bad_request"), sentence, status)
        for name, value in problem.get_headers():
            if name not in ("Content-Type", "Content-Length"):
                answer.headers[name] = value
        return answer

    @app.errorhandler(Exception)
    def unexpected(problem: Exception) -> Response:
        answer = fault(problem, f"{flask.request.method} {flask.request.path}")
        return refuse(answer.code, answer.message, 500)
