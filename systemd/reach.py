"""What a service can reach of the places that a station file names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import places

from edge_agent.station import Station
from engines.errors import StationFileError

# ProtectHome, PrivateTmp.
_HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108 - nothing is written there
_FILE_CAMERAS = ("folder://", "file://")


def is_hidden(path: Path) -> bool:
    """Tell whether the unit hides a place from the service."""
    return any(path.is_relative_to(hidden) for hidden in _HIDDEN)


def check_own_folders(station: Station) -> None:
    """Check what the service writes.

    Raises:
        StationFileError: It may not write there.
    """
    own = Path("/") / places.DATA / station.station
    folders = {"state_dir": (station.state_dir, own)}
    if station.archive:
        folders["archive.folder"] = (station.archive.folder, own / "archive")
    for key, (folder, better) in folders.items():
        if not Path(os.path.normpath(folder)).is_relative_to(own):
            raise StationFileError(
                f"{key} is {folder}, but the service may write only in {own}.",
                fix=f"Write `{key.rpartition('.')[2]}: {better}`. To keep it on another disk, mount that disk there.",
            )


def check_files(content: dict[str, Any]) -> None:
    """Check the files that the service reads, the recipe excepted.

    Args:
        content: The station file as it is written.

    Raises:
        StationFileError: It would not find one, since that is hidden from it, or lies beside the file that is copied.
    """
    for key, written in _files(content):
        if not Path(written).is_absolute() or is_hidden(Path(written)):
            place = Path("/") / places.STATION_FILES / Path(written).name
            raise StationFileError(
                f"{key} is {written}, which a service would not find.",
                fix=f"Put it in a place of the machine's own, and write its whole path, for example {place}.",
            )


def _files(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, written in (content["mqtt"].get("tls") or {}).items():
        if written is not None and not written.startswith("${cred:"):
            yield f"mqtt.tls.{key}", written
    uri = content["camera"]["uri"]
    for scheme in _FILE_CAMERAS:
        if uri.startswith(scheme):
            yield "camera.uri", unquote(uri.removeprefix(scheme).partition("?")[0])


def place_of_recipe(written: Path, station_file: Path) -> Path:
    """Return where the service finds a recipe.

    Args:
        written: What the station file says.
        station_file: Where that lies now.

    Raises:
        StationFileError: It would find none.
    """
    beside = station_file.resolve().parent / places.RECIPES.name
    if written.is_absolute():
        if is_hidden(written):
            raise StationFileError(
                f"recipe is {written}, which a service cannot see.",
                fix=f"Move it to {beside}, and write `recipe: recipes/{written.name}`.",
            )
        return written
    if written.parent != Path(places.RECIPES.name):
        raise StationFileError(
            f"recipe is {written}, but beside an installed station file there is only the folder recipes.",
            fix=f"Move it to {beside}, and write `recipe: recipes/{written.name}`.",
        )
    return Path("/") / places.RECIPES / written.name
