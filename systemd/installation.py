"""What is to be installed, looked at before anything is changed."""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import places
import yaml
from reach import check_files, check_own_folders, is_hidden, place_of_recipe

from edge_agent.station import Station, load_station
from engines.errors import ConfigError, NoInputError, StationFileError, UsageError
from engines.recipe import MANIFEST, load_recipe

_REFERENCE = re.compile(r"\$\{(env|cred):([A-Za-z0-9_.-]+)\}")


@dataclass(frozen=True)
class Installation:
    """One station as a service.

    Attributes:
        root: `/`, or the folder that stands for it.
        staged: Whether it is such a folder: then there is no user, and nothing is started.
        text: The station file, byte for byte.
        station: What it says.
        credentials: Names of its secrets.
        source: Where the recipe lies now.
        recipe: Where the service will find it, below the root.
    """

    root: Path
    staged: bool
    text: bytes
    station: Station
    credentials: list[str]
    source: Path
    recipe: Path

    @property
    def name(self) -> str:
        """Name of the station, and of the instance of the unit."""
        return self.station.station

    @property
    def station_file(self) -> Path:
        """Where the station file goes."""
        return self.root / places.STATION_FILES / f"{self.name}.yaml"


def look_at(station_file: Path, destdir: Path | None) -> Installation:
    """Return what `install` will do.

    Args:
        station_file: Where it lies now.
        destdir: Stands for `/`; None means this machine.

    Raises:
        AgentError: It cannot be installed like this.
    """
    root = (destdir or Path("/")).resolve()
    _check_machine(root, staged=destdir is not None)
    if not station_file.is_file():
        raise NoInputError(f"there is no station file {station_file}.", fix="Name it with STATION=FILE.")
    station = load_station(station_file)
    text = station_file.read_bytes()
    content: dict[str, Any] = yaml.safe_load(text)
    _check_name(station, station_file, root)
    check_own_folders(station)
    check_files(content)
    recipe = root / place_of_recipe(Path(content["recipe"]), station_file).relative_to("/")
    found = Installation(root, destdir is not None, text, station, _credentials(content), station.recipe, recipe)
    _check_credentials(found)
    _check_recipe(found)
    _check_not_another(found)
    return found


def _check_machine(root: Path, *, staged: bool) -> None:
    if not staged and (reason := places.why_not_here()):
        raise UsageError(
            f"nothing was installed: {reason}",
            fix="Run `sudo make install-service STATION=FILE` on the station, or name a folder with DESTDIR to see what "
            "would be installed.",
        )
    program = root / places.PROGRAMS / "edge-agent"
    if not os.access(program, os.X_OK):
        raise NoInputError(f"{program} is missing.", fix="Install the program first: docs/operations.md.")
    if not staged and is_hidden(Path(sys.base_prefix)):
        raise ConfigError(
            f"the program's Python lies in {sys.base_prefix}, which a service cannot see.",
            fix="Make /opt/edge-agent/.venv again with the system's: /usr/bin/python3 -m venv.",
        )


def _check_name(station: Station, station_file: Path, root: Path) -> None:
    if station.station == places.RECIPES.name:
        raise StationFileError(
            f"a station cannot be called {station.station}: the recipes lie there.", fix="Give it another name."
        )
    file = station_file.parent.resolve() / station_file.name
    if file.parent == root / places.STATION_FILES and file.suffix == ".yaml" and file.stem != station.station:
        raise StationFileError(
            f"{file} says `station: {station.station}`, but the service reads it as station {file.stem}.",
            fix=f"Write `station: {file.stem}`. For another name: docs/operations.md, 'Another name'.",
        )


def _credentials(content: dict[str, Any]) -> list[str]:
    found = _REFERENCE.findall(json.dumps(content))
    for kind, name in found:
        if kind == "env":
            raise StationFileError(
                f"${{env:{name}}} has no value in a service.", fix=f"Write ${{cred:{name}}} in the station file."
            )
    return sorted({name for _, name in found})


def _check_credentials(found: Installation) -> None:
    for name in found.credentials:
        file = found.root / places.CREDENTIALS / found.name / name
        if not file.is_file():
            raise StationFileError(
                f"${{cred:{name}}} has no value: there is no {file}.",
                fix=f"Run `sudo install -D -m 600 /dev/stdin {file}`, type the secret, Enter, Ctrl-D.",
            )


def _check_recipe(found: Installation) -> None:
    """A recipe that is there already stays: its thresholds may be newer than those that were brought along."""
    there = found.recipe.is_dir()
    load_recipe(found.recipe if there else found.source)
    brought = found.source / MANIFEST
    if there and brought.is_file() and brought.read_bytes() != (found.recipe / MANIFEST).read_bytes():
        raise ConfigError(
            f"another recipe lies in {found.recipe}.",
            fix="Rename the folder of the new one, and write that name in the station file.",
        )


def _check_not_another(found: Installation) -> None:
    if not found.station_file.exists() or (there := found.station_file.read_bytes()) == found.text:
        return
    old, new = (text.decode(errors="replace").splitlines() for text in (there, found.text))
    changes = difflib.unified_diff(old, new, str(found.station_file), "new", lineterm="", n=0)
    raise ConfigError(
        "\n".join([f"{found.station_file} is there, and differs:", *changes]),
        fix=f"\nTo keep it, install with STATION={found.station_file}. To replace it, move it away first: "
        f"sudo mv {found.station_file} {found.station_file}.old",
    )
