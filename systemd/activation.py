"""From files to a service that runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from engines.errors import ConfigError


def settle_machine() -> None:
    """Keep the journal from now on, and let cameras that are plugged in already have the rules for them.

    Raises:
        subprocess.CalledProcessError: systemd or udev refuses.
    """
    subprocess.run(["systemctl", "try-restart", "systemd-journald.service"], check=True)
    # journald makes the folder for root alone; this gives it the group that may read. It complains, too, of what others wrote.
    subprocess.run(["systemd-tmpfiles", "--create", "--prefix=/var/log/journal"], check=False)
    # Devices are not a container's.
    if Path("/run/udev/control").exists():
        subprocess.run(["udevadm", "control", "--reload"], check=True)
        subprocess.run(["udevadm", "trigger", "--action=add", "--subsystem-match=usb", "--settle"], check=True)


def start(station: str) -> None:
    """Enable the service and start it, or start it again; returns when it is ready.

    Raises:
        ConfigError: It does not start.
    """
    unit = f"edge-agent@{station}.service"
    try:
        for words in (["daemon-reload"], ["enable", unit], ["restart", unit]):
            subprocess.run(["systemctl", *words], check=True)
    except subprocess.CalledProcessError as problem:
        raise ConfigError(
            f"{unit} is installed but does not start.", fix=f"Read why: journalctl -u {unit} -n 30 --no-pager"
        ) from problem
