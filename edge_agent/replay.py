"""Recorded frames through the real pipeline at full speed, and the comparison with an earlier run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from edge_agent.camera.client import CameraProcess
from edge_agent.camera.messages import BadFrame, CameraLost, FrameCaptured
from edge_agent.frame_stream import stream_events
from edge_agent.live_recipe import LiveRecipe, open_live_recipe
from edge_agent.masks import decode_rle, encode_rle
from edge_agent.outbox import Outbox
from edge_agent.pipeline import Pipeline
from edge_agent.ring import FrameRing
from edge_agent.station import Station
from edge_agent.verdict_writer import Stored, VerdictWriter
from engines.errors import DatasetError
from engines.machine import processor_name
from engines.untrusted import parse_json

SLOTS = 4
LEAST_IOU = 0.98
_COMPARED = ("verdict", "reasons", "score", "defects", "mask")


@dataclass(frozen=True)
class Replayed:
    """One frame's result: the JSON line, and the stage times that never go into it."""

    line: dict[str, Any]
    stage_ns: dict[str, int]


def replay(station: Station, folder: Path, outbox_path: Path) -> Iterator[Replayed]:
    """Judge every image below a folder, in order of path; verdicts go to an outbox that nobody publishes.

    Raises:
        RecipeError, ThresholdsError, EngineError: The recipe cannot judge.
        AgentError: The camera process met an error that waiting does not mend.
        OutboxError: The outbox cannot be written.
    """
    live = open_live_recipe(station.recipe, station.engine)
    ring = FrameRing.create(live.recipe.frame_shape, SLOTS)
    camera = CameraProcess(f"folder://{quote(str(folder.resolve()))}?recursive=1", ring)
    outbox = Outbox(outbox_path, dedupe_window_s=station.trigger.dedupe_window_s)
    try:
        pipeline = Pipeline(live, ring)
        live.run_test_piece()
        writer = VerdictWriter(outbox, live, station, is_simulated=True)
        camera.start()
        made_on = fingerprint(station, live)
        for event in stream_events(camera, slots=SLOTS, stopping=lambda: False):
            if isinstance(event, CameraLost) and event.is_final:
                raise event.error
            if isinstance(event, CameraLost) and event.requests:
                raise DatasetError(
                    f"frames were lost while they were read: {event.error}", fix="Check the disk and replay again."
                )
            if isinstance(event, FrameCaptured | BadFrame):
                judgement = pipeline.judge(event)
                stored = writer.write(judgement, event)
                yield Replayed(_line(stored, event.source, made_on), judgement.stage_ns)
    finally:
        camera.close()
        outbox.close()
        live.close()
        ring.close()


def fingerprint(station: Station, live: LiveRecipe) -> str:
    """Return what must be equal for two runs to be equal to the byte: processor, runtime, threads, model, thresholds."""
    return "; ".join(
        (
            processor_name(),
            f"onnxruntime {version('onnxruntime')}",
            f"{station.engine.threads} threads",
            f"model {live.runtime.model_sha256[:12]}",
            f"thresholds {live.thresholds.name} {live.thresholds.factor!r}",
        )
    )


def compare(results: list[dict[str, Any]], expected: list[dict[str, Any]]) -> list[str]:
    """Return one sentence for each frame whose result changed; empty when the runs agree.

    On the same processor, runtime, threads and recipe verdict, reasons, score, defects and mask must be equal (not
    the place in the folder, and not what only one version writes). Elsewhere the verdicts must be equal and
    the masks overlap with an IoU of at least 0.98.
    """
    changes = []
    before = {line["source"]: line for line in expected}
    for line in results:
        old = before.pop(line["source"], None)
        if old is None:
            changes.append(f"{line['source']}: new, not in the expected run")
        elif change := _change(line, old):
            changes.append(f"{line['source']}: {change}")
    return changes + [f"{source}: missing, it was in the expected run" for source in before]


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read the lines of an earlier run.

    Raises:
        DatasetError: A line is damaged.
    """
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = parse_json(text)
            line["source"], line["verdict"], line["reasons"], line["mask"], line["made_on"]
        except (ValueError, KeyError, TypeError) as problem:
            raise DatasetError(
                f"{path}:{number} is not a line of `replay --results`.", fix="Write the file again with `--results`."
            ) from problem
        lines.append(line)
    return lines


def _change(new: dict[str, Any], old: dict[str, Any]) -> str | None:
    if new["verdict"] != old["verdict"] or new["reasons"] != old["reasons"]:
        return f"was {old['verdict']} {old['reasons'] or ''}, is {new['verdict']} {new['reasons'] or ''}"
    if new["made_on"] == old["made_on"]:
        changed = [key for key in _COMPARED if new[key] != old.get(key)]
        return f"{', '.join(changed)} changed on the same machine and recipe" if changed else None
    overlap = _iou(new["mask"], old["mask"])
    return None if overlap >= LEAST_IOU else f"the masks overlap with an IoU of {overlap:.3f} (at least {LEAST_IOU})"


def _iou(new: dict[str, Any] | None, old: dict[str, Any] | None) -> float:
    if new is None or old is None:
        return float(new is old)
    if new["size_wh"] != old["size_wh"]:
        return 0.0
    a, b = (decode_rle(mask["data"].encode(), tuple(mask["size_wh"])) for mask in (new, old))
    either = int(np.logical_or(a, b).sum())
    return int(np.logical_and(a, b).sum()) / either if either else 1.0


def _line(stored: Stored, source: str, made_on: str) -> dict[str, Any]:
    inspection = stored.inspection
    return {
        "source": source,
        "frame_seq": inspection.frame_seq,
        "verdict": inspection.verdict,
        "reasons": list(inspection.reasons),
        "score": inspection.score,
        "defects": [
            {"bbox_xywh_px": list(d.bbox_xywh_px), "area_px": d.area_px, "peak": d.peak} for d in inspection.defects
        ],
        "mask": _mask(stored),
        "made_on": made_on,
    }


def _mask(stored: Stored) -> dict[str, Any] | None:
    if stored.mask is None:
        return None
    data = stored.mask.data
    if stored.mask.encoding == "png" and stored.inspection.defect_mask is not None:
        data = encode_rle(stored.inspection.defect_mask, stored.mask.size_wh)
    return {"encoding": "coco_rle", "size_wh": list(stored.mask.size_wh), "data": data.decode("ascii")}
