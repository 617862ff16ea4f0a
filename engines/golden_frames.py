"""Makes the golden frames of a recipe: frames of known answer, and the maps that each INT8 file gives on them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import yaml

from engines.dataset import GoodImages, Rectangle
from engines.files import replace_file
from engines.golden import GOLDEN_FILE, TOLERANCE, load_golden, maps_file
from engines.images import Frame, encode_png
from engines.recipe import GOLDEN_FOLDER, MODEL_FILES
from engines.runtime import Runtime, open_runtime
from engines.synthetic_defects import draw_test_piece

GOOD_FRAMES, DEFECTIVE_FRAMES = 4, 3


def write_golden(recipe_dir: Path, images: GoodImages, roi_xywh_px: Rectangle) -> None:
    """Write `golden/` of a recipe whose model files exist: frames, expected maps, `golden.yaml`.

    The frames are tuning frames, which the network was not trained on; where there are too few, trained ones fill up.
    """
    folder = recipe_dir / GOLDEN_FOLDER
    folder.mkdir()
    sources = [*images.of("tuning"), *images.of("trained")][: GOOD_FRAMES + DEFECTIVE_FRAMES]
    entries = []
    for index, sample in enumerate(sources[:GOOD_FRAMES]):
        entries.append(_write_frame(folder, f"good-{index}.png", "good", images.read(sample)))
    # Frames other than the good ones, as far as there are enough.
    for index, sample in enumerate(sources[::-1][:DEFECTIVE_FRAMES]):
        frame, shown = images.read_with_rectangle(sample)
        piece = draw_test_piece(frame, _intersection(roi_xywh_px, shown), index)
        entries.append(_write_frame(folder, f"defect-{index}.png", "defect", piece))
    listed = yaml.safe_dump({"tolerance": TOLERANCE, "frames": entries}, sort_keys=False)
    replace_file(folder / GOLDEN_FILE, listed.encode())
    for model in ("cpu", "tensorrt"):
        runtime = open_runtime("cpu", recipe_dir / MODEL_FILES[model], threads=1)
        try:
            _write_maps(runtime, recipe_dir, model)
        finally:
            runtime.close()


def _intersection(first: Rectangle, second: Rectangle) -> Rectangle:
    x, y = max(first[0], second[0]), max(first[1], second[1])
    right = min(first[0] + first[2], second[0] + second[2])
    bottom = min(first[1] + first[3], second[1] + second[3])
    # An ROI that shows padding only has no better place.
    return (x, y, right - x, bottom - y) if right > x and bottom > y else first


def _write_frame(folder: Path, name: str, kind: str, frame: Frame) -> dict[str, str]:
    replace_file(folder / name, encode_png(frame))
    return {"file": name, "kind": kind}


def _write_maps(runtime: Runtime, recipe_dir: Path, model: str) -> None:
    slot = np.zeros(runtime.frame_shape, np.uint8)
    runtime.bind([slot])
    for golden in load_golden(recipe_dir):
        slot[...] = golden.frame
        content = io.BytesIO()
        np.save(content, runtime.infer(0), allow_pickle=False)
        replace_file(maps_file(golden.path, model), content.getvalue())
