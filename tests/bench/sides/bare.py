"""What lookups are measured against: a bare Flask view that does one Redis GET, on the server that the rendezvous has.

Takes the URL of a Redis; prints the port, and serves until it is ended.
"""

# isort: off
import rendezvous.__main__ as program

import sys
import time

import redis
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

from rendezvous.serving import Server


def bare(url: str) -> Flask:
    """Return an application with one view."""
    app = Flask(__name__)
    client: redis.Redis = redis.Redis.from_url(url)

    @app.get("/bare")
    def get() -> ResponseReturnValue:
        value = client.get(request.args["id"])
        assert isinstance(value, bytes)
        return jsonify(value=value.decode())

    return app


def main() -> None:
    """Serve."""
    listener = program._bind("127.0.0.1", 0, reuse_port=False)
    Server(listener, bare(sys.argv[1]).wsgi_app, 1000).start()
    print(listener.getsockname()[1], flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
