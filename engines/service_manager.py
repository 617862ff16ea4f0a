"""Notes to systemd, where it started this process: see sd_notify(3)."""

from __future__ import annotations

import os
import socket

# How much longer a service manager waits after each note of a build; some of its phases are silent for minutes.
_PATIENCE_S = 600


def ask_for_patience(_phase: str = "", _share: float = 0.0) -> None:
    """Tell the service manager that a start goes on, with the arguments of a build's progress.

    Not after `READY=1`: systemd holds off the watchdog for as long, too, and would not see a hang.
    """
    tell_service_manager(f"EXTEND_TIMEOUT_USEC={_PATIENCE_S * 1_000_000}")


def tell_service_manager(note: str) -> None:
    """Send a note such as `READY=1`; without a service manager, or where it does not listen, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
            wire.settimeout(0)
            wire.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
            wire.send(note.encode())
    except OSError:
        # The work itself must not fail because its supervisor does not listen.
        return
