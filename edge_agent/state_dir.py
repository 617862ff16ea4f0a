"""A station's state directory belongs to one process at a time, and to one user."""

from __future__ import annotations

import fcntl
import os
import pwd
import time
from contextlib import ExitStack
from pathlib import Path

from engines.errors import DeviceError, UsageError

_LOCK = "lock"
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
    lock = resources.enter_context((folder / _LOCK).open("w"))
    until_s = time.monotonic() + patience_s
    while not _has_locked(lock.fileno()):
        if time.monotonic() > until_s:
            raise DeviceError(
                f"another process runs with the state directory {folder}.",
                fix="Stop that one, or give each station its own state_dir.",
            )
        time.sleep(_POLL_S)


def check_state_dir_user(folder: Path) -> None:
    """Keep a person from leaving files there that the agent could not write.

    Raises:
        UsageError: The agent that made the directory's lock runs as another user.
    """
    owner = next((path.stat().st_uid for path in (folder / _LOCK, folder) if path.exists()), os.geteuid())
    if owner != os.geteuid():
        raise UsageError(
            f"the agent of {folder} runs as {_name_of(owner)}, and could not write what {_name_of(os.geteuid())} leaves there.",
            fix=f"Run the same command with `sudo -u '{_name_of(owner)}'` before it.",
        )


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"#{user}"


def _has_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
