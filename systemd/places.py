"""Where the service's parts lie. Needs nothing but Python: it can be removed, too, when the program is gone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

USER = "edge-agent"
# All of these are relative to the root that is installed into.
PROGRAMS = Path("opt/edge-agent/.venv/bin")
STATION_FILES = Path("etc/edge-agent")
CREDENTIALS = STATION_FILES / "credentials"
DATA = Path("var/lib/edge-agent")
RECIPES = DATA / "recipes"
CACHE = Path("var/cache/edge-agent")
UNITS = Path("etc/systemd/system")
UNIT = UNITS / "edge-agent@.service"
SYSUSERS = Path("etc/sysusers.d/edge-agent.conf")
# After systemd's own 50-udev-default and 60-autosuspend.
UDEV_RULES = Path("etc/udev/rules.d/60-edge-agent.rules")
JOURNALD = Path("etc/systemd/journald.conf.d/edge-agent.conf")
# What serves every station: each file beside this one, and where it goes.
COMMON = {"sysusers.conf": SYSUSERS, "udev.rules": UDEV_RULES, "journald.conf": JOURNALD, UNIT.name: UNIT}
# Any other drop-in is a person's.
_DROP_INS = ("systemd-*.conf", "credentials.conf", "csi-camera.conf")


def drop_in_folder(station: str = "") -> Path:
    """Return where the drop-ins of one station lie, without a name those of all."""
    return UNITS / f"edge-agent@{station}.service.d"


def our_drop_ins(root: Path, station: str) -> Iterator[Path]:
    """Yield the drop-ins that an installation wrote for one station, or for all if it has no name."""
    for pattern in _DROP_INS:
        yield from (root / drop_in_folder(station)).glob(pattern)


def why_not_here() -> str | None:
    """Return why this machine's own services cannot be changed now, or None."""
    if os.geteuid() != 0:
        return "a service belongs to root."
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        return "systemd does not run this machine."
    return None
