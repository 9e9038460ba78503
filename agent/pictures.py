"""Pictures on their way: the files they arrive in, and how far they are. Used by `happenings` and `exchange`."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from agent import images
from agent.entries import Entries, image_of, image_value, preview_of
from agent.library import Library
from agent.node import Node
from agent.parts import ImageSink
from agent.protocol.card import Card
from agent.protocol.endpoint import Endpoint
from agent.protocol.errors import UsageError
from agent.protocol.events import ImageAccepted
from agent.protocol.request import Verb
from agent.protocol.transfer import Image

TICK: Final = 0.1  # seconds between two words on progress; the contract allows 20 a second
SMOOTHING: Final = 0.3  # share of the newest tick in the rate

Publish = Callable[[str, object], None]


class Pictures:
    """What arrives goes into the library when it is whole and a picture; what ends before is removed."""

    def __init__(self, core: Endpoint, node: Node, library: Library, entries: Entries, publish: Publish) -> None:
        self._core, self._node, self._library = core, node, library
        self._entries, self._publish = entries, publish
        self._sinks: dict[str, ImageSink] = {}
        self._rates: dict[str, tuple[int, float, float]] = {}  # bytes, when, rate
        self._ticking = False
        self._stopped = threading.Event()

    def accepted(self, event: ImageAccepted) -> None:
        """Make room for a picture that was given, and fetch it."""
        self._entries.note(event.request.hex(), image=image_value(event.image, url=False, request=event.request.hex()))
        self._fetch(event.request, event.image)

    def restore(self, entry: dict[str, Any], peer: Card) -> None:
        """Go on with a picture that was arriving when the agent stopped."""
        id, image = bytes.fromhex(entry["request"]), image_of(entry["image"])
        made_here = entry["direction"] == "out"
        self._core.restore_image(id, Verb(entry["verb"]), peer, made_here, image, None, self._node.now())
        self._fetch(id, image)

    def _fetch(self, id: bytes, image: Image) -> None:
        now = self._node.now()
        try:
            sink = self._library.begin_receiving(
                id.hex(),
                image.size,
                image.sha256.hex(),
                image.digests_sha256.hex(),
                image.format,
                image.width,
                image.height,
            )
        except UsageError as error:
            self._core.fail(id, error.message, now)
            self._publish("notice", {"level": "error", "code": error.code, "message": error.message})
            return
        self._sinks[id.hex()] = sink
        self._core.fetch_image(id, sink, _verified(sink), now)

    def arrived(self, id: bytes) -> None:
        """Check in the background that a complete file is the picture it should be, then say so."""
        threading.Thread(target=self._finish, args=(id,), daemon=True).start()

    def moving(self) -> None:
        """Tell of progress from now on, until nothing moves any more."""
        if not self._ticking:
            self._ticking = True
            threading.Thread(target=self._tick, daemon=True).start()

    def ended(self, request: str) -> None:
        """Let go of a request that has its last word."""
        self._rates.pop(request, None)
        sink = self._sinks.pop(request, None)
        if sink is not None:
            sink.discard()

    def stop(self) -> None:
        """End the telling, and keep what has arrived for another day."""
        self._stopped.set()
        for sink in self._sinks.values():
            sink.close()

    def preview(self, request: str) -> bytes | None:
        """Return the tiny picture that was announced with another one; None where there is none that can be shown."""
        entry = self._entries.find(request)
        data = preview_of(entry) if entry is not None else None
        return data if data and images.is_preview(data) else None

    def follow(self, request: str) -> Iterator[bytes] | None:
        """Follow the verified bytes of a picture that arrives; None where there is none."""
        sink = self._sinks.get(request)
        return sink.follow() if sink is not None else None

    # --- inside ---

    def _finish(self, id: bytes) -> None:
        request = id.hex()
        sink = self._sinks.pop(request, None)
        if sink is None:
            return
        try:
            looked = sink.finish()
        except UsageError as error:
            self._core.fail(id, error.message, self._node.now())
        else:
            entry = self._entries.open(request)
            if entry is not None:
                self._entries.note(request, image=entry["image"] | {"reveals": looked.reveals})
            self._core.image_kept(id, self._node.now())
        self._node.wake()

    def _tick(self) -> None:
        while not self._stopped.wait(TICK) and (moving := self._entries.transferring()):
            for entry in moving:
                before = entry.get("progress", {}).get("bytes")
                progress = self._progress(entry["request"])
                if progress is not None and not before == progress["bytes"] == progress["total"]:
                    entry["progress"] = progress
                    self._publish("image_progress", {"request": entry["request"], "peer": entry["peer"], **progress})
        self._ticking = False

    def _progress(self, request: str) -> dict[str, Any] | None:
        progress = self._core.progress(bytes.fromhex(request))
        if progress is None:
            return None
        now = self._node.now()
        before, when, rate = self._rates.get(request, (0, now - TICK, 0.0))
        if now > when:
            fresh = (progress.bytes - before) / (now - when)
            rate = fresh if request not in self._rates else rate + SMOOTHING * (fresh - rate)
        self._rates[request] = progress.bytes, now, rate
        return {
            "bytes": progress.bytes,
            "total": progress.total,
            "rate": round(max(rate, 0.0)),
            "rtt": round(progress.rtt * 1000, 2),
            "loss": round(progress.loss, 4),
            "path": progress.path.value,
        }


def _verified(sink: ImageSink) -> list[int]:
    bits = sink.verified()
    return [index for index in range(8 * len(bits)) if bits[index // 8] & 0x80 >> index % 8]
