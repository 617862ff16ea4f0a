"""What reads bytes from outside: whatever they are, it understands them, or refuses them in its own words."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from parts import draw_part

from edge_agent.consumer import Consumer
from edge_agent.messages import (
    BadTriggerError,
    encode_ack,
    encode_command,
    encode_reply,
    encode_trigger,
    parse_ack,
    parse_command,
    parse_trigger,
)
from edge_agent.station import load_station
from edge_agent.thresholds import load_thresholds
from engines.errors import AgentError, FrameError, MessageError, RecipeError, StationFileError, ThresholdsError
from engines.images import encode_png, read_image
from engines.recipe import MANIFEST, load_recipe, write_manifest

_HASH = "0" * 64
_TRIGGER = {"meas_id": 7, "part_id": "p1", "job_id": "j1", "recipe": "plate", "expires_ms": 200}
# All of this a verdict must say for the part to go on.
_GO = {
    "meas_id": 7,
    "part_id": "p1",
    "recipe": "plate",
    "verdict": "PASS",
    "is_simulated": False,
    "is_historical": False,
}
_STATION = {
    "schema": 1,
    "site": "plant1",
    "station": "press4",
    "recipe": "recipes/plate",
    "state_dir": "/var/lib/edge-agent/press4",
    "camera": {"uri": "v4l2:///dev/video0?width=640", "mode": "hardware_triggered"},
    "trigger": {"deadline_ms": 200, "dedupe_window_s": 600, "pair_min_ms": -5, "pair_max_ms": 80},
    "mqtt": {"broker": "mqtts://10.0.0.2:8883", "username": "edge", "password": "${cred:mqtt}", "consumer": "plc"},
    "alarms": {"max_consecutive_fail": 20},
    "archive": {"folder": "archive", "max_mb": 1000, "keep_days": 7, "pass_every": 100},
}
_RECIPE = {
    "schema": 1,
    "name": "plate",
    "revision": 1,
    "created": "2026-01-01T00:00:00Z",
    "frame": {"height_px": 64, "width_px": 64, "channels": 3},
    "roi_xywh_px": [0, 0, 64, 64],
    "map": {"height_map_px": 64, "width_map_px": 64},
    "tiles": [1, 1],
    "error_maps": ["l2", "msgms"],
    "box_map_px": 5,
    "resize": "none",
    "training": {"objective": "restore", "seed": 0, "steps": 100, "minutes": None, "batch": 8, "width": 16},
}
_CALIBRATION = {
    "schema": 1,
    "revision": "r0001",
    "created": "2026-01-01T00:00:00Z",
    "made_by": "edge-calibrate fit",
    "note": "",
    "model": "cpu",
    "model_sha256": _HASH,
    "factor": 8.5,
    "min_area_map_px": 3,
    "frame_limits": {"mean_low": 10.0, "mean_high": 240.0, "contrast_low": 4.0},
    "promise": {
        "wished_rate": 0.05,
        "expected_rate": 0.04,
        "bound_95": 0.1,
        "groups": 40,
        "frames": 40,
        "confident": False,
    },
    "usual": {"score": {"middle": 1.0, "spread": 0.2}},
}


@dataclass(frozen=True)
class Decoder:
    """Reads bytes; only `refused` may come of it, and an assertion that does not hold.

    `example` is understood.
    """

    read: Callable[[bytes], object]
    refused: type[AgentError]
    example: bytes

    def take(self, content: bytes) -> None:
        with suppress(self.refused):
            self.read(content)


def trigger(_folder: Path) -> Decoder:
    return Decoder(_read_trigger, MessageError, _json(_TRIGGER))


def command(_folder: Path) -> Decoder:
    return Decoder(_read_command, MessageError, encode_command("recalibrate", "c1", frames=200))


def ack(_folder: Path) -> Decoder:
    return Decoder(_read_ack, MessageError, encode_ack("plc", ["r1", "r2"]))


def verdict(_folder: Path) -> Decoder:
    return Decoder(_read_verdict, MessageError, _json({"result_id": "r1", "reasons": [], **_GO}))


def station_file(folder: Path) -> Decoder:
    return _file(folder / "station.yaml", load_station, StationFileError, _yaml(_STATION))


def image_file(folder: Path) -> Decoder:
    # OpenCV says on its own what it finds wrong with a picture.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return _file(folder / "frame.png", read_image, FrameError, encode_png(draw_part(0)))


def manifest_file(folder: Path) -> Decoder:
    (folder / "recipe.yaml").write_bytes(_yaml(_RECIPE))
    write_manifest(folder, versions={"edge_agent": "1"})
    path = folder / MANIFEST
    return _file(path, lambda path: load_recipe(path.parent), RecipeError, path.read_bytes())


def recipe_file(folder: Path) -> Decoder:
    return _sealed_file(folder / "recipe.yaml", lambda: load_recipe(folder), RecipeError, _yaml(_RECIPE))


def calibration_file(folder: Path) -> Decoder:
    return _revision_file(folder, "calibration.yaml")


def location_file(folder: Path) -> Decoder:
    return _revision_file(folder, "location.npy")


DECODERS = {
    made.__name__: made
    for made in (
        trigger,
        command,
        ack,
        verdict,
        station_file,
        image_file,
        manifest_file,
        recipe_file,
        calibration_file,
        location_file,
    )
}


def _read_trigger(payload: bytes) -> None:
    try:
        read = parse_trigger(payload, 0)
    except BadTriggerError as problem:
        # It is answered, so its ids must be fit for a message.
        encode_trigger(problem.trigger)
        raise
    assert parse_trigger(encode_trigger(read), 0) == read


def _read_command(payload: bytes) -> None:
    read = parse_command(payload)
    assert json.loads(encode_reply(read, problem="no"))["correlation_id"] == read.correlation_id


def _read_ack(payload: bytes) -> None:
    read = parse_ack(payload)
    assert parse_ack(encode_ack(read.consumer, read.result_ids)) == read


def _read_verdict(payload: bytes) -> None:
    consumer = Consumer(first_meas_id=7, recipe="plate", timeout_ms=100)
    consumer.take_health(b'{"boot_id": "b", "life": 1}', 0)
    consumer.ask("p1", 0)
    result = consumer.take_verdict(payload, 1).result
    if result is not None and result.action == "accept":
        content = json.loads(payload)
        assert {key: content[key] for key in _GO} == _GO


def _file(path: Path, read: Callable[[Path], object], refused: type[AgentError], example: bytes) -> Decoder:
    def write_and_read(content: bytes) -> None:
        path.write_bytes(content)
        read(path)

    return Decoder(write_and_read, refused, example)


def _sealed_file(path: Path, read: Callable[[], object], refused: type[AgentError], example: bytes) -> Decoder:
    """A file whose hash is right, whatever is in it."""

    def seal_and_read(path: Path) -> None:
        write_manifest(path.parent, versions={})
        read()

    return _file(path, seal_and_read, refused, example)


def _revision_file(folder: Path, name: str) -> Decoder:
    revision = folder / "thresholds" / "r0001"
    revision.mkdir(parents=True)
    (revision / "calibration.yaml").write_bytes(_yaml(_CALIBRATION))
    for array, value in (("location.npy", 0), ("scale.npy", 1)):
        (revision / array).write_bytes(_npy(value))
    example = (revision / name).read_bytes()
    return _sealed_file(revision / name, lambda: load_thresholds(folder, name="r0001"), ThresholdsError, example)


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _yaml(content: dict[str, Any]) -> bytes:
    return yaml.safe_dump(content, sort_keys=False).encode()


def _npy(value: float) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.full((1, 4, 4), value, np.float32))
    return buffer.getvalue()
