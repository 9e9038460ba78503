"""The tables of PROTOCOL.md that are made from the code: `python -m tests.support.protocol_tables` writes them anew."""

import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import accumulate
from pathlib import Path
from typing import Final

from agent.protocol import (
    acks,
    attempt,
    binding,
    book,
    candidates,
    consent,
    control,
    doorkeeper,
    frames,
    interruption,
    keepalive,
    liveness,
    messages,
    path,
    paths,
    recovery,
    reflexion,
    relays,
    session,
    transfer,
)
from agent.protocol.request import TABLE, Side

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "PROTOCOL.md"
_BLOCK: Final = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = tuple[str, ...]


def table(head: Row, rows: Sequence[Row]) -> str:
    """Lay out one Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def frame_table() -> str:
    """The frames, as their module has them."""
    assert frames.__doc__
    return "\n".join(line for line in frames.__doc__.splitlines() if line.startswith("|"))


def message_table() -> str:
    """The messages of the control stream with their fields in order."""
    rows = []
    for kind, message in sorted(messages.MESSAGES.items()):
        names = [field.name for field in fields(message)]
        said_fields = [f"{name} ({field.name})" for name, field in zip(names, message.LAYOUT, strict=True)]
        said = message.__doc__ or ""
        rows.append((str(kind), message.__name__, "; ".join(said_fields) or "–", said.split("\n")[0]))
    return table(("kind", "message", "fields", "what it says"), rows)


def phase_table() -> str:
    """Who may do what in which phase, and what comes of it."""
    order = {side: index for index, side in enumerate(Side)}
    cells = sorted(TABLE.items(), key=lambda cell: (list(TABLE).index(cell[0]), order[cell[0][1]]))
    rows = [(phase.value, side.value, move.value, after.value) for (phase, side, move), after in cells]
    return table(("phase", "side", "move", "next phase"), rows)


def _after(gaps: Sequence[float]) -> str:
    """Say when what is sent between gaps is sent, but for the first."""
    return ", ".join(f"{time:g}" for time in list(accumulate(gaps))[:-1])


def limit_table() -> str:
    """Timers and limits with their values, and why they are what they are."""
    rows: list[Row] = [
        (
            "acknowledge after",
            f"{acks.ACK_EVERY} packets, or {acks.MAX_ACK_DELAY * 1000:.0f} ms",
            "RFC 9000, 13.2.1; a batch is acknowledged once, reordering at once",
        ),
        (
            "gather packets for one ACK",
            f"1/{1 / acks.ACK_PATIENCE_RTT:.0f} RTT, {acks.ACK_PATIENCE * 1000:.0f} ms, {acks.ACK_BATCH} packets",
            f"whichever is least; not for the first {acks.ACK_EAGERLY} packets, which show the path",
        ),
        ("ranges in one ACK", f"{acks.MAX_RANGES_SENT}", "fits any packet; older ones were said before"),
        (
            "packet numbers remembered",
            f"{acks.MAX_RANGES_KEPT} ranges",
            "memory; below the oldest everything counts as seen",
        ),
        (
            "lost by number",
            f"{recovery.PACKET_THRESHOLD} packets, up to {recovery.MAX_PACKET_THRESHOLD} where reordering was seen",
            "RFC 9002, 6.1.1",
        ),
        ("lost by time", f"{recovery.TIME_THRESHOLD} round trips", "RFC 9002, 6.1.2"),
        (
            "longest time between probes",
            f"{recovery.MAX_PROBE_INTERVAL} s",
            "a path that returns is in use again within a second",
        ),
        (
            "number left out",
            f"about every {recovery.SKIP_EVERY}",
            "an acknowledgement of one proves a lie (RFC 9000, 21.4)",
        ),
        (
            "handshake tried",
            f"after {', '.join(map(str, attempt.INTERVALS))} s, and so on, for {attempt.GIVE_UP:.0f} s",
            "12 tries: at 30 % loss each way one in 3,000 fails",
        ),
        (
            "cookies",
            f"above {doorkeeper.READS_PER_SECOND:.0f} initiations a second",
            "two X25519 and a signature cost a millisecond",
        ),
        (
            "keepalive",
            f"{keepalive.SHORTEST:.0f} s without a packet, growing to {keepalive.LONGEST:.0f} s while that holds",
            "NAT mappings live 30 s and more; each path learns how long its own does",
        ),
        (
            "keepalive of who fetches",
            f"{liveness.KEEPALIVE_BUSY * 1000:.0f} ms without a packet",
            "a NAT that forgot the fetching side lets nothing in before it speaks",
        ),
        ("peer gone", f"{liveness.SILENCE:.0f} s without an answer", "outlives a blackout of 20 s"),
        (
            "peer gone, where the rendezvous says so too",
            f"{liveness.DOUBT:.0f} s without an answer",
            "probes go out several times by then",
        ),
        ("transfer stalled", f"{interruption.STALL:.0f} s on a living session", "the giver has forgotten, or lies"),
        ("idle session", f"{liveness.IDLE:.0f} s without need", "a new one costs one round trip"),
        (
            "challenges to a new address",
            f"at 0 s and {_after(path.FIRST_ROUND)} s",
            "both holes are open within a round trip",
        ),
        ("challenges after that", f"at 0 s and {_after(path.NEXT_ROUND)} s", "one packet may be lost"),
        (
            "better paths tried again",
            f"after {', '.join(f'{pause:.0f}' for pause in path.AGAIN)} s, and so on",
            "at once where candidates or the network change",
        ),
        ("challenges of one session", f"{paths.PACE * 1000:.0f} ms apart", "RFC 8445, 14.2"),
        (
            "relay that is not in use asked",
            f"every {paths.RELAY_CHECK:.0f} s",
            "it is what is left when all else fails",
        ),
        (
            "path left",
            f"{session.TIMEOUTS} probe timeouts in a row",
            f"a few round trips; {session.TIMEOUTS_HEARD} where the peer is still heard there",
        ),
        (
            "another path of the same kind",
            f"{paths.WINS} answers in a row, {1 - paths.FASTER:.0%} and {paths.FASTER_BY * 1000:.0f} ms faster",
            "each move costs a slow start",
        ),
        (
            "addresses that a peer may name",
            f"{candidates.MOST_CANDIDATES}; in all {paths.NAMED_MOST:.0f}, and {paths.NAMED_EACH_SECOND:.0f} a second",
            "probes are 1200 bytes, and shall not be aimed at others",
        ),
        ("control stream window", f"{control.WINDOW // 1024} KiB", "what a peer can make us hold"),
        ("message", f"{messages.MAX_MESSAGE} bytes", "one quote and its names"),
        ("quote", f"{messages.MAX_QUOTE} bytes of UTF-8", "text, not files"),
        ("picture", f"{transfer.MAX_IMAGE} bytes, {transfer.MAX_SIDE} pixels a side", "what a child process can check"),
        ("chunk", f"{transfer.CHUNK} bytes", "one read, one hash, one bit"),
        ("refused chunks", f"{transfer.MAX_REFUSED}", "then the owner's file is not what was announced"),
        ("open requests with one peer", f"{consent.MAX_OPEN} each way", "a person cannot answer more"),
        ("lifetime of a request", f"{consent.MAX_LIFETIME} s", "a day"),
        (
            "wait for the other's last word",
            f"{book.GRACE:.0f} s after the lifetime or a cancel",
            "then it is `unreachable`",
        ),
        ("from the yes to the first byte", f"{book.DELIVERY:.0f} s", "likewise"),
    ]
    return table(("what", "value", "why"), rows)


def seconds(*numbers: float) -> str:
    """Write one or several lengths of time."""
    return ", ".join(f"{number:g}" for number in numbers) + " s"


def reach_table() -> str:
    """When the agent's side of relays and STUN servers acts."""
    rows = [
        ("BIND and PROOF again", f"after {seconds(*binding.INTERVALS)}, and so on", "a lost datagram costs little"),
        ("PROOF without an answer", f"{binding.PROOFS} times, then BIND", "the challenge may be too old"),
        ("BIND over the WebSocket as well", f"after {seconds(binding.WEBSOCKET_AFTER)}", "UDP may be blocked"),
        ("try to bind", seconds(binding.GIVE_UP), "then again after " + seconds(*binding.PAUSES)),
        ("try UDP while on the WebSocket", f"after {seconds(*binding.PAUSES)}", "the network may have changed"),
        (
            "nothing heard from the relay, while we send",
            seconds(binding.PATIENCE),
            "then KEEPALIVE; up to " + seconds(binding.PATIENCE_MOST) + " where it is the peer that is silent",
        ),
        ("KEEPALIVE without an answer", f"{binding.UNANSWERED} times, each {seconds(binding.WAIT)} or 2 RTT", "BIND"),
        ("a route that does not come back", seconds(binding.LOST_AFTER), "counts as gone"),
        (
            "keepalives of relays and STUN",
            f"{keepalive.SHORTEST:g} to {keepalive.LONGEST:g} s; ¾ of what the relay keeps silence for",
            "grows by half while it holds; a silence that broke a mapping halves it for good",
        ),
        ("another ticket", f"{seconds(relays.RENEW)} before one ends", "nothing is interrupted"),
        ("a binding without a session", seconds(relays.UNNEEDED), "let go"),
        ("bindings of strangers", str(relays.MOST_STRANGERS), "the newest is refused"),
        (
            "STUN request again",
            f"after {seconds(reflexion.RTO)}, doubling, {reflexion.MOST_TRIES} times",
            "RFC 8489, 6.2.1",
        ),
        ("UDP counts as blocked", f"{seconds(reflexion.BLOCKED_AFTER)} without any answer", "no one waits longer"),
        (
            "test of filtering, of mapping",
            f"{reflexion.TESTS} requests each, every {seconds(reflexion.TEST_EVERY)} or RTT",
            "losses must not look like a filter",
        ),
    ]
    return table(("what", "value", "why"), rows)


TABLES: Final[dict[str, Callable[[], str]]] = {
    "frames": frame_table,
    "messages": message_table,
    "phases": phase_table,
    "limits": limit_table,
    "reach": reach_table,
}


def renewed(text: str) -> str:
    """Return the document with its tables as the code has them now."""
    return _BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]()}\n{block[3]}", text)


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text("utf-8")), "utf-8")
