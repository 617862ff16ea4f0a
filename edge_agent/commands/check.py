"""`edge-agent check`: is everything in place for this station?"""

from __future__ import annotations

import argparse
import getpass
import json
import os
from pathlib import Path

from edge_agent.broker_address import resolve_broker
from edge_agent.camera.source import check_camera_uri
from edge_agent.live_recipe import open_live_recipe
from edge_agent.ring import FrameRing
from edge_agent.station import Station, load_station, resolve_references
from engines.errors import StationFileError

HELP = "check a station file, its recipe, thresholds and test piece; starts nothing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", type=Path, metavar="FILE", help="station file")
    what.add_argument("--schema", action="store_true", help="print the JSON schema of station files, for editors")


def run(arguments: argparse.Namespace) -> int:
    if arguments.schema:
        print(json.dumps(Station.model_json_schema(), indent=1))
        return 0
    station = load_station(arguments.config)
    check_camera_uri(resolve_references(station.camera.uri))
    _check_state_dir(station.state_dir)
    broker = resolve_broker(station.mqtt)
    expiring = broker.tls.check() if broker.tls else []
    live = open_live_recipe(station.recipe, station.engine)
    ring = FrameRing.create(live.recipe.frame_shape, 1)
    try:
        live.bind(ring)
        live.run_test_piece()
    finally:
        live.close()
        ring.close()
    calibration = live.thresholds.calibration
    print(f"Station {station.site}/{station.station}: the station file is correct.")
    print(f"Recipe {live.recipe.name}: complete and unaltered; the engine gives the maps it gave when it was made.")
    print(f"Thresholds {live.thresholds.name} of {calibration.created}: they belong to this model.")
    print("Test piece: rejected, as it must be.")
    for remark in expiring:
        print(f"Soon: {remark}.")
    return 0


def _check_state_dir(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise StationFileError(
            f"state_dir {folder} cannot be written by {getpass.getuser()}.",
            fix=f"Give that user the folder ({existing} exists), or name another one.",
        )
