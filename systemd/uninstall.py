"""`sudo make uninstall-service`: remove the service, or one station of it, and leave what cannot be made again."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import places

_EX_USAGE = 64
_EX_IOERR = 74
_KEPT = {
    places.STATION_FILES: "station files and secrets",
    places.DATA: "recipes with their thresholds; of each station the outbox, with verdicts that were not delivered yet",
    places.CACHE: "compiled engines, which are made again",
    places.PROGRAMS.parents[1]: "the program",
}


def stop(station: str | None) -> None:
    """Stop a station, without a name every one, and do not start it with the machine any more.

    Raises:
        subprocess.CalledProcessError: systemd refuses.
    """
    units = f"edge-agent@{station or '*'}.service"
    if (Path("/") / places.UNIT).exists():
        subprocess.run(["systemctl", "stop", units], check=True)
    enabled = [link.name for link in (Path("/") / places.UNITS).glob(f"*.wants/{units}")]
    if enabled:
        subprocess.run(["systemctl", "disable", *enabled], check=True)


def remove(root: Path, station: str | None) -> None:
    """Remove what an installation wrote for a station, without a name all of it, and nothing that a person did."""
    for folder in (root / places.UNITS).glob(f"edge-agent@{station or '*'}.service.d"):
        name = folder.name.removeprefix("edge-agent@").removesuffix(".service.d")
        for drop_in in places.our_drop_ins(root, name):
            drop_in.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()
    if station is None:
        for file in places.COMMON.values():
            (root / file).unlink(missing_ok=True)


def _refusal(root: Path, station: str | None, *, staged: bool) -> str | None:
    if not staged and (reason := places.why_not_here()):
        return f"{reason} Run `sudo make uninstall-service`."
    there = sorted(file.stem for file in (root / places.STATION_FILES).glob("*.yaml"))
    if station is not None and station not in there:
        return f"there is no station {station}. STATION is one of these, and without it all are removed: {', '.join(there)}."
    return None


def _kept(station: str | None) -> dict[Path, str]:
    if station is None:
        return _KEPT
    return {
        places.STATION_FILES / f"{station}.yaml": "its station file",
        places.CREDENTIALS / station: "its secrets",
        places.DATA / station: "its outbox, with verdicts that were not delivered yet",
        places.CACHE / station: _KEPT[places.CACHE],
    }


def main() -> int:
    """Run the program; returns a sysexits code."""
    parser = argparse.ArgumentParser(prog="uninstall-service", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("station", nargs="?", help="remove this one, and leave the others as they are")
    parser.add_argument("--destdir", type=Path, metavar="DIR", help="remove from this folder, and stop nothing")
    arguments = parser.parse_args()
    # Also the station file's path is understood, as the installation takes it.
    station = Path(arguments.station).name.removesuffix(".yaml") if arguments.station else None
    staged = arguments.destdir is not None
    root = arguments.destdir.resolve() if staged else Path("/")
    if refusal := _refusal(root, station, staged=staged):
        print(f"uninstall-service: nothing was removed: {refusal}", file=sys.stderr)
        return _EX_USAGE
    try:
        if not staged:
            stop(station)
        remove(root, station)
        if not staged:
            subprocess.run(["systemctl", "daemon-reload"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"uninstall-service: {error}. Mend that, and run it again.", file=sys.stderr)
        return _EX_IOERR
    _say_what_stays(root, station)
    return 0


def _say_what_stays(root: Path, station: str | None) -> None:
    print("The service is removed. These stay:" if station is None else f"Station {station} is removed. These stay:")
    there = {root / path: what for path, what in _kept(station).items() if (root / path).exists()}
    for path, what in there.items():
        print(f"  {path}  {what}")
    words = f"sudo rm -r {' '.join(map(str, there))}"
    if station is None:
        print(f"  the user {places.USER}, to whom some of it belongs")
        words += f" && sudo userdel {places.USER}"
    print(f"To remove them, too: {words}")


if __name__ == "__main__":
    sys.exit(main())
