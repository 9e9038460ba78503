"""Two network namespaces: made, used, removed. Linux only, and only for root.

What is to run inside is given to `inside`; what joins them is link.py's.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.support.contest import BenchError

TUN: Final = "/dev/net/tun"
CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21  # which root in a container may lack
SETTINGS: Final = {
    "ipv4/tcp_wmem": "4096 65536 33554432",  # as much in flight as the longest path of the matrix takes
    "ipv4/tcp_rmem": "4096 131072 33554432",
    "ipv6/conf/default/disable_ipv6": "1",  # no chatter on the line
}


def why_not() -> str | None:
    """Return one sentence if there can be no impaired link here, None if there can."""
    if sys.platform != "linux":
        return "An impaired link needs Linux: it joins two network namespaces."
    if os.geteuid() != 0 or not _capabilities() >> CAP_SYS_ADMIN & _capabilities() >> CAP_NET_ADMIN & 1:
        return "An impaired link needs root, to make network namespaces: try again with sudo."
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as problem:
        return f"An impaired link needs {TUN} ({problem.strerror}): load the kernel's module with `modprobe tun`."
    for program, package in (("ip", "iproute2"), ("gcc", "gcc libc6-dev")):
        if shutil.which(program) is None:
            return f"An impaired link needs `{program}`: run `apt install {package}`."
    return None


def _capabilities() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("CapEff:")[2].split()[0], 16)


def run(*command: str) -> None:
    """Run a command; BenchError with its last words if it fails."""
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ended.returncode != 0:
        last = ended.stderr.strip().rpartition("\n")[2]
        raise BenchError(f"`{' '.join(command)}` failed: {last}")


def inside(name: str) -> Sequence[str]:
    """Return what is to stand before a command that is to run in a namespace."""
    return "ip", "netns", "exec", name


class Namespaces:
    """Two namespaces, `a` and `b`, until the end of the `with` block."""

    def __init__(self) -> None:
        self.a, self.b = (f"tmge-bench-{os.getpid()}-{side}" for side in "ab")

    def __enter__(self) -> "Namespaces":
        try:
            for name in (self.a, self.b):
                run("ip", "netns", "add", name)
                run("ip", "-n", name, "link", "set", "lo", "up")
                writes = [f"echo '{value}' > /proc/sys/net/{key}" for key, value in SETTINGS.items()]
                run(*inside(name), "sh", "-c", "; ".join(writes))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *problem: object) -> None:
        for name in (self.a, self.b):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
