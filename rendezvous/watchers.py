"""Who watches whom, in one process: connections by the skeleton of a name, and back. Used by `events.py`."""

from collections.abc import Mapping


class Watchers:
    """Connections, the names that each watches as it wrote them, and whom of them it was last told about."""

    def __init__(self) -> None:
        self._by_sid: dict[str, Mapping[str, str]] = {}
        self._by_name: dict[str, set[str]] = {}
        self._seen: dict[str, set[str]] = {}

    def set(self, sid: str, watched: Mapping[str, str]) -> None:
        """Let a connection watch these (names by their skeletons) and no others; none at all forgets it."""
        self._seen.pop(sid, None)
        for name in self._by_sid.pop(sid, ()):
            self._by_name[name].discard(sid)
            if not self._by_name[name]:
                del self._by_name[name]
        if watched:
            self._by_sid[sid] = watched
        for name in watched:
            self._by_name.setdefault(name, set()).add(sid)

    def sees(self, sid: str, name: str) -> None:
        """Note that a watcher was told about somebody."""
        self._seen.setdefault(sid, set()).add(name)

    def loses(self, sid: str, name: str) -> str | None:
        """Note that a watcher sees somebody no more; return the name as it wrote it, None where it never saw them."""
        seen = self._seen.get(sid, set())
        if name not in seen:
            return None
        seen.discard(name)
        return self._by_sid[sid][name]

    def of(self, name: str) -> list[str]:
        """Return the connections that watch a name."""
        return list(self._by_name.get(name, ()))

    def watched(self) -> list[str]:
        """Return all names that somebody here watches."""
        return list(self._by_name)
