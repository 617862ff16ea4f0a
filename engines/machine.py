"""What a timing was measured on: without it a figure means nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe_machine() -> str:
    """Say processor, number of CPUs and load average in one line."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{processor_name()}, {os.cpu_count()} CPUs, load average {load}"


def processor_name() -> str:
    """Return the processor's or the board's own name."""
    # A Jetson has no `model name` in cpuinfo; its device tree names the board.
    board = Path("/proc/device-tree/model")
    try:
        if board.is_file():
            return board.read_text(encoding="ascii", errors="replace").rstrip("\0")
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
