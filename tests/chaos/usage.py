"""What a process holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """Resident memory, threads and open descriptors of one process."""

    memory_mb: float
    threads: int
    descriptors: int


def usage_of(pid: int) -> Usage:
    """Read it from the kernel; raises FileNotFoundError or ProcessLookupError if the process is gone."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Usage(int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), len(list((process / "fd").iterdir())))


def children_of(pid: int) -> list[int]:
    """Return the processes that it started and has not reaped."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
