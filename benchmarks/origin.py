"""Where a figure comes from: the commit of the code that ran, the day, and the machine."""

from __future__ import annotations

import os
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import engines
from engines.files import replace_file
from engines.machine import processor_name

# The results lie in the same tree: a row that was just written makes no other program of this one.
_CODE = ("engines", "edge_agent", "calibrate", "benchmarks", "setup.py", "constraints.txt")


def code_commit() -> str:
    """Return the short hash of the commit, with `-dirty` if a file of the code differs; `unknown` outside git."""
    root = Path(str(engines.__file__)).resolve().parent.parent
    try:
        found = _git(root, "rev-parse", "--short=7", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", *_CODE)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{found}-dirty" if changed else found


def commit_at_begin(folder: Path, *, kept: bool) -> str:
    """Return the commit at which the work in a folder was begun; this one, if nothing of it was kept."""
    path = folder / "commit"
    if not path.is_file() or not kept:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, code_commit().encode())
    return path.read_text()


def today() -> str:
    """Return the day, in UTC."""
    return datetime.now(timezone.utc).date().isoformat()


def machine() -> dict[str, str | int | None]:
    """Return the processor and the number of its CPUs."""
    return {"processor": processor_name(), "cpus": os.cpu_count()}


def load_average() -> float:
    """Return how many processes wanted a CPU in the last minute."""
    return round(os.getloadavg()[0], 2)


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()
