"""The child's entry point: does what the agent wishes, line by line, until the agent is gone.

Standard input is one end of a pair of sockets, over which both speak. It closes when the agent ends, however it ends:
then open ports are given back, the LAN hears a goodbye, and the process ends within seconds whatever happens.
"""

import asyncio
import contextlib
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

from agent.nearby import lines, routes
from agent.nearby.lines import Fault, Mapped, Mapping, Said, Wish
from agent.nearby.portmaps import PortMaps

_MEMORY: Final = 512 * 1024 * 1024  # ten times what it needs
_GOODBYE_SECONDS: Final = 4.0
_AGAIN_SECONDS: Final = 60.0


class Child:
    """Carries out one wish at a time."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def tell(self, said: Said) -> None:
        """Say something to the agent."""
        self._write(lines.write_said(said))

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Read wishes until there is nobody who has any."""
        task: asyncio.Task[None] | None = None
        try:
            while line := await reader.readline():
                await _end(task)
                task = asyncio.create_task(self._carry_out(lines.read_wish(line)))
        finally:
            signal.setitimer(signal.ITIMER_REAL, _GOODBYE_SECONDS)  # nobody handles SIGALRM: it ends the process
            await _end(task)

    async def _carry_out(self, wish: Wish) -> None:
        async with asyncio.TaskGroup() as group:
            if wish.mapping:
                group.create_task(self._going("opening a port at the router", lambda: self._map(wish)))
            if wish.card is not None:
                group.create_task(self._going("looking for people in the local network", lambda: self._meet(wish)))

    async def _going(self, what: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Keep something going; what goes wrong with it is said, and must not stop the other thing."""
        while True:
            try:
                await work()
            except Exception as problem:
                self.tell(Fault(f"A fault in {what}: {type(problem).__name__}: {problem}"))
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _map(self, wish: Wish) -> None:
        def tell(mappings: list[Mapping], notes: list[str]) -> None:
            self.tell(Mapped(tuple(mappings), tuple(notes)))

        gateways = routes.gateways() if wish.gateways is None else wish.gateways
        soonest = {} if wish.gateways is None else {"soonest": 0.2}
        await PortMaps(wish.port, gateways, tell, **soonest).run()

    async def _meet(self, wish: Wish) -> None:
        from agent.nearby import lan  # not before somebody wants it: half of the memory

        if wish.card is not None:
            found = lan.links(wish.without, wish.loopback)
            await lan.Lan(wish.card, wish.port, found, self.tell).run()


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _main() -> None:
    pair = socket.socket(fileno=0)
    reader, writer = await asyncio.open_unix_connection(sock=pair, limit=lines.LONGEST)
    with contextlib.suppress(ConnectionError):
        await Child(writer.write).serve(reader)


def main() -> int:
    """Serve the agent at the other end of standard input."""
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_CORE):
        with contextlib.suppress(ValueError, OSError):  # macOS does not take RLIMIT_AS
            limit = _MEMORY if kind == resource.RLIMIT_AS else 0
            resource.setrlimit(kind, (limit, limit))
    asyncio.run(_main())
    return 0


if __name__ == "__main__":
    sys.exit(main())
