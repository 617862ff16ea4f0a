"""What the station costs beyond decoding and inference: frames per second of replay over those of a bare loop.

    python benchmarks/overhead.py [RECIPE FOLDER] [--rounds N] [--json FILE]

The bare loop decodes the same files and runs a bare ONNX Runtime session on the same model file, with the same threads
and without spinning. Replay runs the real pipeline: camera process, ring, engine, decision, mask, outbox on disk with
`synchronous=FULL`. Both run in turn in one process; the ratio is the median over the rounds. FOLDER holds good frames:
they are judged once with a threshold that passes all, once with one that rejects all.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

from calibrate.recipe_engine import RecipeEngine
from edge_agent.decision import score, z_map
from edge_agent.replay import replay
from edge_agent.revisions import activate, revision_names, save_thresholds
from edge_agent.station import CameraPart, MqttPart, Station, TriggerPart
from edge_agent.thresholds import load_thresholds
from engines.command_line import track, write_json
from engines.images import list_images
from engines.machine import describe_machine
from engines.recipe import MODEL_FILES
from engines.runtime.onnxruntime_cpu import session_options

THREADS = 2
STAGES = ("retrieve", "check", "infer", "decide", "enqueue")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("demo/work/recipe"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo/work/good"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not arguments.recipe.is_dir():
        print(f"{arguments.recipe} does not exist. Run `make demo` first, or give RECIPE FOLDER.", file=sys.stderr)
        return 66
    print(describe_machine())
    with tempfile.TemporaryDirectory(dir=arguments.recipe.parent, prefix="overhead-") as scratch:
        recipe = Path(scratch) / "recipe"
        shutil.copytree(arguments.recipe, recipe)
        passing, rejecting = add_extreme_thresholds(recipe, arguments.folder)
        figures = {
            "all-PASS": compare(recipe, passing, arguments.folder, "PASS", Path(scratch), arguments.rounds),
            "all-FAIL": compare(recipe, rejecting, arguments.folder, "FAIL", Path(scratch), arguments.rounds),
        }
    write_json(arguments.json, figures)
    return 0 if figures["all-PASS"]["ratio"] >= 0.9 else 1


def add_extreme_thresholds(recipe: Path, folder: Path) -> tuple[str, str]:
    """Add one revision that passes every frame and one that rejects every frame; return their names."""
    current = load_thresholds(recipe)
    with closing(RecipeEngine(recipe)) as engine:
        scores = [
            score(z_map(engine.maps(engine.load(path).pixels), current), current.min_area_map_px)
            for path in track(list_images(folder, recursive=True), label="scores")
        ]
    number = int(revision_names(recipe)[-1][1:])
    names = []
    for step, factor in enumerate((1.05 * max(scores), 0.95 * min(scores)), 1):
        calibration = current.calibration.model_copy(update={"revision": f"r{number + step:04d}", "factor": factor})
        revision = dataclasses.replace(current, calibration=calibration)
        save_thresholds(recipe, revision, images_csv="", versions={})
        names.append(revision.name)
    return names[0], names[1]


def compare(recipe: Path, revision: str, folder: Path, verdict: str, scratch: Path, rounds: int) -> dict[str, object]:
    activate(recipe, revision)
    station = Station(
        schema=1,
        site="benchmark",
        station="overhead",
        recipe=recipe,
        state_dir=scratch,
        camera=CameraPart(uri="folder://unused", mode="free_run"),
        trigger=TriggerPart(deadline_ms=1000, capture_within_ms=5000, dedupe_window_s=60),
        mqtt=MqttPart(broker="mqtt://127.0.0.1:1", consumer="none"),
    )
    paths = list_images(folder, recursive=True)
    options = session_options(THREADS)
    session = ort.InferenceSession(str(recipe / MODEL_FILES["cpu"]), options, providers=["CPUExecutionProvider"])
    bare, ours, stages = [], [], defaultdict(list)
    for number in range(rounds):
        # Now one first, now the other, so that a machine that becomes slower favours neither.
        if number % 2:
            bare.append(bare_rate(session, paths))
        ours.append(replay_rate(station, folder, scratch / f"{revision}-{number}.db", verdict, stages))
        if not number % 2:
            bare.append(bare_rate(session, paths))
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    print(f"\n{verdict} for every frame: {len(paths)} frames, {rounds} rounds, load average {os.getloadavg()[0]:.2f}")
    print(f"bare loop {statistics.median(bare):6.1f} frames/s    replay {statistics.median(ours):6.1f} frames/s")
    print(f"ratio {ratio:.2f}")
    print(f"{'stage':10} {'p50 ms':>8} {'p99 ms':>8}")
    figures = {}
    for stage in STAGES:
        p50, p99 = (float(value) / 1e6 for value in np.quantile(stages[stage], [0.5, 0.99]))
        figures[stage] = {"p50_ms": p50, "p99_ms": p99}
        print(f"{stage:10} {p50:8.2f} {p99:8.2f}")
    return {"ratio": ratio, "bare_fps": bare, "replay_fps": ours, "stages": figures, "load": os.getloadavg()}


def bare_rate(session: ort.InferenceSession, paths: list[Path]) -> float:
    began = 0.0
    for path in paths:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        frame = pixels[np.newaxis, :, :, np.newaxis] if pixels.ndim == 2 else pixels[np.newaxis]
        session.run(None, {"frame": frame})
        began = began or time.perf_counter()
    return (len(paths) - 1) / (time.perf_counter() - began)


def replay_rate(station: Station, folder: Path, outbox: Path, verdict: str, stages: dict[str, list[int]]) -> float:
    began, count = 0.0, 0
    for result in replay(station, folder, outbox):
        if result.line["verdict"] != verdict:
            raise SystemExit(f"{result.line['source']} is {result.line['verdict']}, not {verdict}")
        began = began or time.perf_counter()
        count += 1
        for stage, duration_ns in result.stage_ns.items():
            stages[stage].append(duration_ns)
    return (count - 1) / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
