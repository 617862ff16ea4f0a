"""Makes the golden frames of a recipe: frames of known answer, and the maps that each INT8 file gives on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml

from engines.dataset import GoodImages
from engines.files import replace_file
from engines.golden import GOLDEN_FILE, TOLERANCE, load_golden, maps_file
from engines.images import Frame
from engines.recipe import GOLDEN_FOLDER, MODEL_FILES
from engines.runtime import Runtime, open_runtime
from engines.sample_split import Sample
from engines.synthetic_defects import draw_test_piece

GOOD_FRAMES, DEFECTIVE_FRAMES = 4, 3


def write_golden(recipe_dir: Path, images: GoodImages, roi_xywh_px: tuple[int, int, int, int]) -> None:
    """Write `golden/` of a recipe whose model files exist: frames, expected maps, `golden.yaml`.

    The frames are tuning frames, which the network was not trained on; where there are too few, trained ones fill up.
    """
    folder = recipe_dir / GOLDEN_FOLDER
    folder.mkdir()
    sources = [*images.of("tuning"), *images.of("trained")][: GOOD_FRAMES + DEFECTIVE_FRAMES]
    entries = []
    for index, frame in enumerate(_frames(images, sources[:GOOD_FRAMES])):
        entries.append(_write_frame(folder, f"good-{index}.png", "good", frame))
    # Frames other than the good ones, as far as there are enough.
    for index, frame in enumerate(_frames(images, sources[::-1][:DEFECTIVE_FRAMES])):
        piece = draw_test_piece(frame, roi_xywh_px, index)
        entries.append(_write_frame(folder, f"defect-{index}.png", "defect", piece))
    listed = yaml.safe_dump({"tolerance": TOLERANCE, "frames": entries}, sort_keys=False)
    replace_file(folder / GOLDEN_FILE, listed.encode())
    for model in ("cpu", "tensorrt"):
        runtime = open_runtime("cpu", recipe_dir / MODEL_FILES[model], threads=1)
        try:
            _write_maps(runtime, recipe_dir, model)
        finally:
            runtime.close()


def _frames(images: GoodImages, samples: Sequence[Sample]) -> list[Frame]:
    return [images.read(sample) for sample in samples]


def _write_frame(folder: Path, name: str, kind: str, frame: Frame) -> dict[str, str]:
    _, encoded = cv2.imencode(".png", frame)
    replace_file(folder / name, encoded.tobytes())
    return {"file": name, "kind": kind}


def _write_maps(runtime: Runtime, recipe_dir: Path, model: str) -> None:
    slot = np.zeros(runtime.frame_shape, np.uint8)
    runtime.bind([slot])
    for golden in load_golden(recipe_dir):
        slot[...] = golden.frame
        np.save(maps_file(golden.path, model), runtime.infer(0), allow_pickle=False)
