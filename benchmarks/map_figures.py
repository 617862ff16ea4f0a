"""What a set of error maps of a trained network finds: exported in FP32, calibrated and evaluated as a recipe is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lessons import Material
from plans import Measurement
from precisions import fit_and_evaluate, wished_rate

import engines.moments
from calibrate.fit import FitWish
from calibrate.recipe_engine import RecipeEngine
from engines.error_maps import LEARNED
from engines.export import export_parts, join
from engines.files import replace_file
from engines.map_choice import MapChoice
from engines.order import Order
from engines.recipe import IMAGES_FILE, MODEL_FILES, save_recipe, write_manifest
from engines.schedule import Schedule
from engines.structure import count_gmac
from engines.training import Trained
from engines.training_record import images_csv, recipe_of

_KEPT = (
    *("image_auroc", "image_auroc_interval_95", "average_precision", "pixel_auroc", "aupro", "aupro_005", "recall"),
    *("precision", "f1", "false_reject_rate", "promised_false_reject_rate", "by_label", "frames"),
)


def complete(measurement: Measurement, chosen: MapChoice) -> MapChoice:
    """Return which maps and box are measured: what the measurement fixes, and for the rest the best by the quality."""
    errors = [*(measurement.errors or chosen.errors)]
    label = "+".join(errors)
    qualities = {option: value for option, value in chosen.quality.items() if option.split()[0] == label}
    best = max(qualities, key=lambda option: qualities[option])
    option = best if measurement.box_map_px is None else f"{label} {measurement.box_map_px}"
    known = {option: qualities[option]} if option in qualities else {}
    return MapChoice(errors, int(option.split()[1]), known)


def measure_maps(
    material: Material, schedule: Schedule, trained: Trained, choice: MapChoice, work: Path
) -> dict[str, Any]:
    """Return the figures of `edge-calibrate evaluate` that a table of many rows can bear.

    Args:
        material: Frames, and the data set to be judged.
        schedule: How the network was trained.
        trained: The network.
        choice: Error maps and box.
        work: Folder for a recipe that is needed only now.
    """
    with TemporaryDirectory(dir=work, prefix="recipe-") as name:
        recipe = Path(name)
        model = join(export_parts(material.geometry, trained.core, choice.errors, box=choice.box_map_px))
        replace_file(recipe / MODEL_FILES["fp32"], model.SerializeToString())
        replace_file(recipe / IMAGES_FILE, images_csv(material.images))
        order = Order(
            images=material.dataset / "train" / "good",
            recipe=recipe,
            name="study",
            map_shape=material.geometry.map_shape,
            roi_xywh_px=None,
            errors=choice.errors,
            resize="none",
            rotates=False,
            schedule=schedule,
        )
        save_recipe(recipe, recipe_of(order, material.geometry, trained, choice))
        write_manifest(recipe, versions={})
        wish = FitWish(wished_rate(recipe), confident=False, min_area_px=None, note="study")
        with closing(RecipeEngine(recipe, model="fp32", runtime="cpu")) as engine:
            figures, _ = fit_and_evaluate(engine, material.dataset, wish)
    return {
        **{name: figures[name] for name in _KEPT},
        "errors": choice.errors,
        "box_map_px": choice.box_map_px,
        "synthetic_quality": next(iter(choice.quality.values()), None),
        "gmac": count_gmac(model),
        "parameters": trained.core.parameters(with_head=LEARNED in choice.errors),
    }


@contextmanager
def floor_share(share: float | None) -> Iterator[None]:
    """Give the scale another floor while the block runs; the product has no option for it, on purpose."""
    usual = engines.moments.FLOOR_SHARE
    if share is not None:
        engines.moments.FLOOR_SHARE = share
    try:
        yield
    finally:
        engines.moments.FLOOR_SHARE = usual
