"""What processes use, on Linux: memory and processor time."""

import contextlib
import os
from pathlib import Path


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has."""
    return _status(pid, "VmRSS")


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak(pid: int) -> int:
    """Return the most bytes of memory that a process has had since `forget_peak`."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let the peak of a process begin anew with what it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def has_children(pid: int) -> bool:
    """Tell whether a process has started another that runs."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
            if (thread / "children").read_text():
                return True
    return False


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])
