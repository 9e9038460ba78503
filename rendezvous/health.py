"""Whether this process lives, and whether it wants to be asked: for balancers and whoever restarts it. Used by `app.py`
and the entry point.

`/healthz` says 200 as long as the process answers at all: restart it when it does not. `/readyz` says 200 as long as it
can serve: its store answers, and it is not about to stop. Send nobody there when it says 503.
"""

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from rendezvous import answers
from rendezvous.store import Store, Unavailable


class Health:
    """What a process knows of itself; `draining` is set when it is about to stop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.draining = False

    def register(self, app: Flask) -> None:
        """Give an application the two paths."""
        app.extensions["health"] = self
        app.add_url_rule("/healthz", view_func=self.healthz)
        app.add_url_rule("/readyz", view_func=self.readyz)

    def healthz(self) -> ResponseReturnValue:
        """Say that the process lives."""
        return jsonify(status="ok")

    def readyz(self) -> ResponseReturnValue:
        """Say whether it can serve."""
        if self.draining:
            return jsonify(answers.error("draining", "This process is about to stop.")), 503
        try:
            self._store.identity()
        except Unavailable:
            return jsonify(answers.error("unavailable", "The rendezvous cannot reach its store right now.")), 503
        return jsonify(status="ready")
