"""A transfer on loopback through the real node, against TLS 1.3 over TCP in Python and against aioquic.

All go from file to file with the SHA-256 of the whole checked by the receiver inside the clock, which runs from the
question to the verified hash; session and connections are open before. Ours and TLS alternate, and take turns at being
first, so that what else the machine does slows both. aioquic has three of the rounds. Beside them, in the same three:
ours without UDP_SEGMENT and UDP_GRO, and ours with the receive buffer that Linux allows where nobody raised the limit.
"""

import argparse
import contextlib
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.bench.support.certificate import write_certificate
from tests.bench.support.contest import BenchError, Pair, file_of
from tests.bench.support.report import Report, machine, median, parser, progress, ratio, run

BESIDE_ROUNDS: Final = 3
STOCK_BUFFER: Final = 212_992  # net.core.rmem_max where nobody has changed it
SPEED, CPU = "MB/s", "CPU s/GB"

OURS, TLS, AIOQUIC = "ours", "TLS 1.3 over TCP", "aioquic"
ONE_BY_ONE, SMALL_BUFFER = "ours, one by one", "ours, small buffer"


def contestants(certificate: str) -> dict[str, tuple[str, list[str]]]:
    """Return the module and the options of each."""
    return {
        OURS: ("ours", []),
        TLS: ("tcp", ["--tls", certificate]),
        ONE_BY_ONE: ("ours", ["--one-by-one"]),
        SMALL_BUFFER: ("ours", ["--buffer", str(STOCK_BUFFER)]),
        AIOQUIC: ("quic", ["--tls", certificate]),
    }


def beside_rounds(rounds: int) -> set[int]:
    """Return the rounds in which those beside take part: the first, the last and the one in the middle."""
    return {1 + index * (rounds - 1) // (BESIDE_ROUNDS - 1) for index in range(BESIDE_ROUNDS)}


def measure(given: argparse.Namespace) -> Report:
    """Run all rounds."""
    if given.mb <= 0 or given.rounds < 1:
        raise BenchError("There must be at least one round, of more than nothing.")
    report = Report("transfer", {"mb": given.mb, "rounds": given.rounds, **machine(), "rmem_max": receive_limit()})
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(file_of(int(given.mb * 1e6)))
        certificate = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_certificate(certificate)
        pairs = {}
        for name, (module, options) in contestants(str(certificate)).items():
            if name == AIOQUIC and importlib.util.find_spec("aioquic") is None:
                report.notes.append("aioquic is not installed, so it is left out and its bar cannot hold.")
                continue
            pairs[name] = stack.enter_context(Pair(module, file, options))
        for round in range(1, given.rounds + 1):
            turn = [OURS, TLS] if round % 2 else [TLS, OURS]
            if round in beside_rounds(given.rounds):
                turn += [name for name in pairs if name not in turn]
            for name in turn:
                one_round(report, name, pairs[name], round, given.mb)
    judge(report)
    return report


def one_round(report: Report, name: str, pair: Pair, round: int, mb: float) -> None:
    """Transfer the file once and note what it took."""
    took = pair.fetch()
    report.add(name, round, mb / took.seconds, SPEED)
    report.add(f"{name}, giver", round, took.giver_cpu / mb * 1000, CPU)
    report.add(f"{name}, taker", round, took.taker_cpu / mb * 1000, CPU)
    progress(f"round {round}: {name} {mb / took.seconds:.0f} {SPEED}")


def judge(report: Report) -> None:
    """Compare, round by round, with what the project promises."""
    ours = {row.round: row.value for row in report.rows if row.name == OURS}

    def against(name: str) -> float | None:
        others = [row for row in report.rows if row.name == name]
        return ratio([ours[row.round] for row in others], [row.value for row in others])

    report.judge("ours / TLS", against(TLS), least=0.8)
    report.judge("ours / aioquic", against(AIOQUIC), least=15)
    report.judge("giver's CPU s/GB", median(report.values(f"{OURS}, giver")), most=2)
    report.judge("taker's CPU s/GB", median(report.values(f"{OURS}, taker")), most=2)
    for name in (ONE_BY_ONE, SMALL_BUFFER):
        slower = against(name)
        report.ratios[f"{name} / ours"] = slower and 1 / slower


def receive_limit() -> int | None:
    """Return the largest receive buffer that the kernel allows, in bytes; None where it does not say."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/sys/net/core/rmem_max").read_text())
    return None


def main() -> int:
    """Read the command line and measure."""
    flags = parser(__doc__)
    flags.add_argument("--mb", type=float, default=100, help="million bytes of each transfer (%(default)s)")
    flags.add_argument("--rounds", type=int, default=15, help="transfers of ours and of TLS (%(default)s)")
    return run(measure, flags.parse_args())


if __name__ == "__main__":
    sys.exit(main())
