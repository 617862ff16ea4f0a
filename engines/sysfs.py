"""Single values of the kernel's sysfs, where a file can be there and still have nothing to say."""

from __future__ import annotations

import os
from pathlib import Path

SYSFS = Path("/sys")
_MOST_BYTES = 4096


def read_text(path: Path) -> str:
    """Return a value without the line's end.

    Raises:
        OSError: There is none now. A Jetson's zones that are switched off say EAGAIN, of which `Path.read_text` makes a
            TypeError (github.com/prometheus/node_exporter/issues/3071).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _MOST_BYTES).decode(errors="replace").strip()
    finally:
        os.close(descriptor)


def read_number(path: Path) -> int:
    """Return a whole number.

    Raises:
        OSError: There is none now.
        ValueError: It is something else.
    """
    return int(read_text(path))
