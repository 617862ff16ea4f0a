"""A station's state directory belongs to one process at a time."""

from __future__ import annotations

import fcntl
import time
from contextlib import ExitStack
from pathlib import Path

from engines.errors import DeviceError

_POLL_S = 0.1


def lock_state_dir(folder: Path, resources: ExitStack, *, patience_s: float = 0.0) -> None:
    """Keep a second agent away from the same outbox and the same MQTT client id; makes the directory.

    Args:
        folder: The state directory.
        resources: Unlocks it.
        patience_s: How long another process may still have it.

    Raises:
        DeviceError: Another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = resources.enter_context((folder / "lock").open("w"))
    until_s = time.monotonic() + patience_s
    while not _has_locked(lock.fileno()):
        if time.monotonic() > until_s:
            raise DeviceError(
                f"another process runs with the state directory {folder}.",
                fix="Stop that one, or give each station its own state_dir.",
            )
        time.sleep(_POLL_S)


def _has_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
