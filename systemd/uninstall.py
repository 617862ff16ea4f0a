"""`sudo make uninstall-service`: remove the service, and leave what cannot be made again."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import places

_EX_USAGE = 64
_KEPT = {
    places.STATION_FILES: "station files and secrets",
    places.DATA: "recipes with their thresholds; of each station the outbox, with verdicts that were not delivered yet",
    places.CACHE: "compiled engines, which are made again",
    places.PROGRAMS.parents[1]: "the program",
}


def stop_all() -> None:
    """Stop every station, and start none with the machine.

    Raises:
        subprocess.CalledProcessError: systemd refuses.
    """
    subprocess.run(["systemctl", "stop", "edge-agent@*.service"], check=True)
    enabled = [link.name for link in (Path("/") / places.UNITS).glob("*.wants/edge-agent@*.service")]
    if enabled:
        subprocess.run(["systemctl", "disable", *enabled], check=True)


def remove(root: Path) -> None:
    """Remove what an installation wrote, and nothing that a person did."""
    for folder in (root / places.UNITS).glob("edge-agent@*.service.d"):
        station = folder.name.removeprefix("edge-agent@").removesuffix(".service.d")
        for drop_in in places.our_drop_ins(root, station):
            drop_in.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()
    for file in places.COMMON.values():
        (root / file).unlink(missing_ok=True)


def main() -> int:
    """Run the program; returns a sysexits code."""
    parser = argparse.ArgumentParser(prog="uninstall-service", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--destdir", type=Path, metavar="DIR", help="remove from this folder, and stop nothing")
    destdir = parser.parse_args().destdir
    root = destdir.resolve() if destdir else Path("/")
    if destdir is None and (reason := places.why_not_here()):
        print(f"uninstall-service: nothing was removed: {reason} Run `sudo make uninstall-service`.", file=sys.stderr)
        return _EX_USAGE
    if destdir is None:
        stop_all()
    remove(root)
    if destdir is None:
        subprocess.run(["systemctl", "daemon-reload"], check=True)
    print("The service is removed. These stay:")
    there = {root / path: what for path, what in _KEPT.items() if (root / path).exists()}
    for path, what in there.items():
        print(f"  {path}  {what}")
    print(f"  the user {places.USER}, to whom some of it belongs")
    print(f"To remove them, too: sudo rm -r {' '.join(map(str, there))} && sudo userdel {places.USER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
