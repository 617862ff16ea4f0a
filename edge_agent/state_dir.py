"""A station's state directory belongs to one process at a time."""

from __future__ import annotations

import fcntl
from contextlib import ExitStack
from pathlib import Path

from engines.errors import ConfigError


def lock_state_dir(folder: Path, resources: ExitStack) -> None:
    """Keep a second agent away from the same outbox and the same MQTT client id; makes the directory.

    Raises:
        ConfigError: Another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = resources.enter_context((folder / "lock").open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        raise ConfigError(
            f"another agent runs with the state directory {folder}.",
            fix="Stop that one, or give each station its own state_dir.",
        ) from problem
