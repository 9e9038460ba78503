"""Tell Docker whether a container's program answers: `healthy.py agent | rendezvous | redis`.

Standard library only; exit status 0 or 1.
"""

import http.client
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit


def status_of(port: int, path: str) -> int:
    """Return the HTTP status with which this container's own server answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    connection.request("GET", path)
    return connection.getresponse().status


def agent_answers() -> bool:
    """Ask at the port that the agent wrote down; without the token, being turned away is right."""
    port = urlsplit(Path("/data/page-url").read_text()).port
    return status_of(port or 0, "/") < 500


def rendezvous_answers() -> bool:
    """Ask whether it is ready, which needs its Redis too."""
    return status_of(8000, "/readyz") == 200


def redis_answers() -> bool:
    """Ask whether its data is loaded."""
    with socket.create_connection(("127.0.0.1", 6379), timeout=2) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")


CHECKS = {"agent": agent_answers, "rendezvous": rendezvous_answers, "redis": redis_answers}

if __name__ == "__main__":
    try:
        sys.exit(0 if CHECKS[sys.argv[1]]() else 1)
    except (OSError, http.client.HTTPException) as error:
        print(error)
        sys.exit(1)
