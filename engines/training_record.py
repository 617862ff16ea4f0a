"""What a recipe says about its own training: `recipe.yaml`, `training.json` and `images.csv`."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from engines.dataset import GoodImages
from engines.energy import JOULES_PER_WH, Energy
from engines.error_maps import LEARNED
from engines.map_choice import MapChoice
from engines.next_fit import plan_next_fit, set_aside_groups
from engines.order import Order
from engines.recipe import Recipe
from engines.reduction import Geometry
from engines.training import Trained


def figures_of(order: Order, images: GoodImages, trained: Trained, energy: Energy, choice: MapChoice) -> dict[str, Any]:
    """Return the content of `training.json`, but for what is known of the exported graph."""
    counts = {use: len(images.of(use)) for use in ("trained", "tuning", "set_aside")}
    return {
        "images": counts,
        "set_aside_groups": len(set_aside_groups(images)),
        "next_fit": asdict(plan_next_fit(images)),
        "skipped": images.skipped,
        "objective": order.schedule.objective,
        "core_input": trained.core.core_input,
        "steps": trained.steps,
        "minutes": round(trained.seconds / 60, 2),
        "minutes_asked": order.schedule.minutes,
        "continued_at_step": trained.continued_at or None,
        "device": trained.device.name,
        "precision": trained.device.precision,
        "bf16": trained.device.precision == "bf16",
        **_energy(energy, trained),
        "losses": [round(loss, 5) for loss in trained.losses],
        "parameters": trained.core.parameters(with_head=LEARNED in choice.errors),
        "errors": choice.errors,
        "box_map_px": choice.box_map_px,
        "quality": {label: round(value, 4) for label, value in choice.quality.items()},
    }


def images_csv(images: GoodImages) -> bytes:
    """Return the content of `images.csv`: what each image was for."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", "group", "use", "sha256"])
    for sample in images.samples:
        rows.writerow([sample.path.name, sample.group, images.uses[sample.sha256], sample.sha256])
    return text.getvalue().encode()


def recipe_of(order: Order, geometry: Geometry, trained: Trained, choice: MapChoice) -> Recipe:
    """Return the content of `recipe.yaml`."""
    height, width, channels = geometry.frame_shape
    schedule = order.schedule
    return Recipe.model_validate(
        {
            "schema": 1,
            "name": order.name or order.recipe.resolve().name,
            "revision": 1,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "frame": {"height_px": height, "width_px": width, "channels": channels},
            "roi_xywh_px": list(geometry.roi_xywh_px),
            "map": {"height_map_px": geometry.map_shape[0], "width_map_px": geometry.map_shape[1]},
            "tiles": list(geometry.tiles),
            "error_maps": choice.errors,
            "box_map_px": choice.box_map_px,
            "resize": order.resize,
            "training": {
                "objective": schedule.objective,
                "core_input": trained.core.core_input,
                "seed": schedule.seed,
                "steps": trained.steps,
                "minutes": schedule.minutes,
                "batch": schedule.batch,
                "width": schedule.width,
                "qat": schedule.qat,
            },
        }
    )


def _energy(energy: Energy, trained: Trained) -> dict[str, Any]:
    if trained.continued_at:
        return {
            "energy_wh": None,
            "energy_note": f"Not measured: the training was interrupted and continued at step {trained.continued_at}.",
        }
    watt_hours = None if energy.joules is None else round(energy.joules / JOULES_PER_WH, 3)
    return {"energy_wh": watt_hours, "energy_note": energy.note}
