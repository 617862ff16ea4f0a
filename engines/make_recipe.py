"""From a folder of good images to a recipe: READ FIRST, every step of `edge-engines train` in order."""

from __future__ import annotations

import csv
import io
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.box_choice import BoxChoice, choose_box
from engines.corruptions import Corruptor
from engines.dataset import GoodImages, Rectangle, Resize
from engines.error_maps import make_error_maps
from engines.errors import UsageError
from engines.export import Parts, export_parts, join
from engines.files import replace_file, sync_directory
from engines.frame_cache import cache_samples
from engines.golden_frames import write_golden
from engines.quantize import quantize_core
from engines.recipe import (
    IMAGES_FILE,
    MODEL_FILES,
    Recipe,
    save_recipe,
    write_manifest,
)
from engines.reduction import Geometry, check_map_shape, plan_geometry
from engines.structure import check_structure, count_gmac
from engines.survey import survey
from engines.training import OBJECTIVE, Schedule, Trained, edges_of, error_maps_of, train

TRAINING_FILE = "training.json"
_QUANTISATION_FRAMES = 32
_PACKAGES = ("edge-agent", "torch", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Order:
    """What `edge-engines train` was asked for.

    Attributes:
        images: Folder of good frames.
        recipe: Folder to make.
        name: The part's name; None takes the folder's.
        map_shape: (h, w) of the maps, or N for about N x N pixels in the region's own aspect.
        roi_xywh_px: Inspected region; None takes the whole frame.
        errors: Names of the error maps.
        resize: What happens to frames of another size.
        rotates: The part lies at any angle.
        schedule: How long and how to train.
    """

    images: Path
    recipe: Path
    name: str | None
    map_shape: int | tuple[int, int]
    roi_xywh_px: Rectangle | None
    errors: list[str]
    resize: Resize
    rotates: bool
    schedule: Schedule


def make_recipe(order: Order) -> dict[str, Any]:
    """Train, export, quantise, and write the recipe; its folder appears whole, or not at all.

    Returns:
        The figures that `training.json` holds.

    Raises:
        DatasetError: The images cannot be used.
        UsageError: The order contradicts itself or the images.
    """
    check_map_shape(order.map_shape)
    make_error_maps(order.errors, 3)
    with _folder_that_appears_whole(order.recipe) as folder:
        name = order.name or order.recipe.resolve().name
        images = survey(order.images, resize=order.resize)
        for remark in images.remarks:
            print(remark, file=sys.stderr)
        geometry = plan_geometry(images.frame_shape, order.roi_xywh_px, order.map_shape)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".cache-") as cache:
            trained_frames = cache_samples(images, images.of("trained"), geometry, Path(cache) / "trained")
            tuning_frames = cache_samples(images, images.of("tuning"), geometry, Path(cache) / "tuning")
            trained = train(trained_frames, order.schedule, rotates=order.rotates)
            error_maps = partial(error_maps_of, trained.network, order.errors)
            box = choose_box(error_maps, trained_frames, tuning_frames, seed=order.schedule.seed)
            parts = export_parts(geometry, trained.network, order.errors, box=box.box_map_px)
            gmac = _write_models(folder, parts, Corruptor(trained_frames, rotates=order.rotates), order.schedule.seed)
        write_golden(folder, images, geometry.roi_xywh_px)
        figures = _figures(images, trained, box, gmac)
        replace_file(folder / TRAINING_FILE, (json.dumps(figures, indent=1) + "\n").encode())
        replace_file(folder / IMAGES_FILE, _images_csv(images))
        save_recipe(folder, _recipe(name, order, geometry, trained, box))
        versions = {name: metadata.version(name) for name in _PACKAGES}
        write_manifest(folder, versions={"python": platform.python_version(), **versions})
    return figures


def _write_models(folder: Path, parts: Parts, corruptor: Corruptor, seed: int) -> float:
    """Write the three model files; returns the GMAC of one inference."""
    whole = join(parts)
    check_structure(whole, int8=False)
    replace_file(folder / MODEL_FILES["fp32"], whole.SerializeToString())
    for placement in ("tensorrt", "cpu"):
        model = join(parts, core=quantize_core(parts.core, _quantisation_edges(corruptor, seed), placement=placement))
        check_structure(model, int8=placement == "tensorrt")
        replace_file(folder / MODEL_FILES[placement], model.SerializeToString())
    return count_gmac(whole)


def _quantisation_edges(corruptor: Corruptor, seed: int) -> Iterator[npt.NDArray[np.float32]]:
    # Clean and corrupted frames, one at a time; the seed's third number keeps them apart from training's batches.
    for index in range(_QUANTISATION_FRAMES):
        corrupted, clean = corruptor.batch((seed, index, 1), 1)
        yield edges_of(clean if index % 2 else corrupted)


def _figures(images: GoodImages, trained: Trained, box: BoxChoice, gmac: float) -> dict[str, Any]:
    counts = {use: len(images.of(use)) for use in ("trained", "tuning", "set_aside")}
    return {
        "images": counts,
        "skipped": images.skipped,
        "steps": trained.steps,
        "minutes": round(trained.seconds / 60, 2),
        "bf16": trained.bf16,
        "losses": [round(loss, 5) for loss in trained.losses],
        "gmac": round(gmac, 3),
        "parameters": sum(p.numel() for p in trained.network.parameters()),
        "box_map_px": box.box_map_px,
        "box_auroc": {str(side): round(value, 4) for side, value in box.auroc.items()},
    }


def _images_csv(images: GoodImages) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", "group", "use", "sha256"])
    for sample in images.samples:
        rows.writerow([sample.path.name, sample.group, images.uses[sample.sha256], sample.sha256])
    return text.getvalue().encode()


def _recipe(name: str, order: Order, geometry: Geometry, trained: Trained, box: BoxChoice) -> Recipe:
    height, width, channels = geometry.frame_shape
    schedule = order.schedule
    return Recipe.model_validate(
        {
            "schema": 1,
            "name": name,
            "revision": 1,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "frame": {"height_px": height, "width_px": width, "channels": channels},
            "roi_xywh_px": list(geometry.roi_xywh_px),
            "map": {"height_map_px": geometry.map_shape[0], "width_map_px": geometry.map_shape[1]},
            "error_maps": order.errors,
            "box_map_px": box.box_map_px,
            "resize": order.resize,
            "training": {
                "objective": OBJECTIVE,
                "seed": schedule.seed,
                "steps": trained.steps,
                "batch": schedule.batch,
                "width": schedule.width,
            },
        }
    )


@contextmanager
def _folder_that_appears_whole(target: Path) -> Iterator[Path]:
    target = target.resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(
            f"{target} exists already and is not empty.",
            fix="Give --recipe a new folder; recipes are never overwritten, stations may be running them.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.partial-"))
    try:
        yield partial
        partial.chmod(0o755)
        partial.replace(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_directory(target.parent)
