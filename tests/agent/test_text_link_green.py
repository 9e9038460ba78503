"""The text link in the agent's own world: one thread, patched by eventlet."""

import subprocess
import sys
from pathlib import Path

GREEN = """
import warnings
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
import socket, threading
from agent.protocol.book import QuoteGift
from agent.text_link import TextLink
listener = socket.create_server(("127.0.0.1", 0))
silent = socket.create_server(("127.0.0.1", 0))
ended = threading.Semaphore(0)
def said(*what):
    print(*what[1:], flush=True)
    ended.release()
link = TextLink(listener, on_given=lambda request, way: said(request, "given", way))
link.start()
link.give(bytes(16), bytes(16), bytes(32), QuoteGift("x" * 65536, "author", "source"))
fetch = lambda server: link.fetch(bytes(16), bytes(16), bytes(32), server.getsockname(),
    lambda request, text, author, source, way: said(request, len(text), author, source, way), said)
fetch(listener)
ended.acquire(), ended.acquire()
fetch(silent)
ended.acquire()
stalled = socket.create_connection(listener.getsockname())
eventlet.sleep(0)
link.stop()
listener.close()
assert stalled.recv(1) == b""
print("stopped")
"""


def test_it_works_in_green_threads() -> None:
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run([sys.executable, "-c", GREEN], cwd=root, capture_output=True, text=True, timeout=30)
    assert ran.stderr == ""
    assert set(ran.stdout.splitlines()) == {
        "given tcp",
        "65536 author source tcp",
        "The other agent was not reached over TCP in time.",
        "stopped",
    }
