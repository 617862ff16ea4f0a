"""From a folder of good images to a recipe: READ FIRST, every step of `edge-engines train` in order."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from engines.bias_correction import Feed
from engines.checkpoint import PERIOD_S, Checkpoint, State
from engines.core_inputs import CORE_INPUTS
from engines.corruptions import Corruptor
from engines.dataset import GoodImages
from engines.device import choose_device
from engines.energy import EnergyMeter
from engines.error_maps import LEARNED, check_error_maps
from engines.errors import UsageError
from engines.export import Parts, export_parts, join
from engines.files import replace_file
from engines.forward import Core, as_pictures, error_maps_of, seen_of, tiles_of
from engines.frame_cache import cache_samples
from engines.golden_frames import write_golden
from engines.images import Frame
from engines.map_choice import CANDIDATES, MapChoice, choose_maps
from engines.objective import Objective
from engines.objectives import objective_named
from engines.order import Order, training_facts
from engines.quantize import quantize_core
from engines.recipe import IMAGES_FILE, MODEL_FILES, Recipe, save_recipe, write_manifest
from engines.reduction import check_map_shape, plan_geometry
from engines.structure import CORE_INPUT, CORE_PICTURE, check_structure, count_gmac
from engines.survey import survey
from engines.tiling import Tiling, check_tiles
from engines.training import TrainingLog, train
from engines.training_record import figures_of, images_csv, recipe_of
from engines.workshop import open_workshop

TRAINING_FILE = "training.json"
_QUANTISATION_FRAMES = 64
_PACKAGES = ("edge-agent", "torch", "onnx", "onnxruntime", "numpy")


def make_recipe(order: Order, *, checkpoint_period_s: float = PERIOD_S) -> dict[str, Any]:
    """Train, export, quantise, and write the recipe; its folder appears whole, or not at all.

    A training that was interrupted is continued.

    Args:
        order: What to make of which images.
        checkpoint_period_s: Time between two checkpoints.

    Returns:
        The figures that `training.json` holds.

    Raises:
        DatasetError: The images cannot be used.
        UsageError: The order contradicts itself, the images, or the interrupted training.
        EngineError: The device is not there, or the training failed.
    """
    check_map_shape(order.map_shape)
    check_tiles(order.tiles)
    objective, device = objective_named(order.schedule.objective), choose_device(order.schedule.device)
    order = _with_head(order, objective)
    with open_workshop(order.recipe) as workshop:
        images = survey(order.images, resize=order.resize)
        _remark(*images.remarks)
        geometry = plan_geometry(images.frame_shape, order.roi_xywh_px, order.map_shape, order.tiles)
        _remark(geometry.remark)
        objective.check(geometry.channels)
        facts = training_facts(order, images, geometry, device)
        checkpoint = Checkpoint(workshop.checkpoint, facts, period_s=checkpoint_period_s)
        interrupted = checkpoint.load()
        trained_frames = cache_samples(images, images.of("trained"), geometry, workshop.cache / "trained")
        tuning_frames = cache_samples(images, images.of("tuning"), geometry, workshop.cache / "tuning")
        with EnergyMeter() as meter, _log_of(order, interrupted) as log:
            trained = train(
                trained_frames,
                order.schedule,
                rotates=order.rotates,
                tiling=geometry.tiling,
                checkpoint=checkpoint,
                interrupted=interrupted,
                log=log,
            )
        core = trained.core
        choice = _choose(order, core, geometry.tiling, trained_frames, tuning_frames)
        parts = export_parts(geometry, core, choice.errors, box=choice.box_map_px)
        corruptor = Corruptor(trained_frames, rotates=order.rotates)
        feeds = partial(
            _quantisation_feeds, parts, corruptor, core.core_input, geometry.tiling, seed=order.schedule.seed
        )
        gmac = _write_models(workshop.recipe, parts, core, feeds)
        write_golden(workshop.recipe, images, geometry.roi_xywh_px)
        costs = {"gmac": round(gmac, 3), "gmac_per_tile": round(gmac / geometry.tiling.count, 3)}
        figures = {**figures_of(order, images, trained, meter.energy, choice), **costs}
        _write_records(workshop.recipe, figures, images, recipe_of(order, geometry, trained, choice))
    return figures


def _remark(*remarks: str | None) -> None:
    for remark in filter(None, remarks):
        print(remark, file=sys.stderr)


def _with_head(order: Order, objective: type[Objective]) -> Order:
    """Return the order with a defect head, where a candidate of its error maps needs one.

    Raises:
        UsageError: The maps do not exist, or the objective cannot teach a head.
    """
    if order.errors is None:
        return replace(order, schedule=replace(order.schedule, head=objective.teaches_head))
    check_error_maps(order.errors)
    wanted = LEARNED in order.errors
    if wanted and not objective.teaches_head:
        raise UsageError(
            f"--errors {','.join(order.errors)} is not possible with --objective {order.schedule.objective}: it shows "
            f"no defects from which `{LEARNED}` could be learned.",
            fix="Leave it out, or give --objective restore.",
        )
    return replace(order, schedule=replace(order.schedule, head=wanted))


def _choose(order: Order, core: Core, tiling: Tiling, trained: Frame, tuning: Frame) -> MapChoice:
    candidates = [[*order.errors]] if order.errors else [[*c] for c in CANDIDATES if core.head or LEARNED not in c]
    names = sorted({name for candidate in candidates for name in candidate})
    maps_of = partial(error_maps_of, core, names, tiling=tiling)
    seed = order.schedule.seed
    return choose_maps(maps_of, names, candidates, trained=trained, tuning=tuning, seed=seed, tiling=tiling)


@contextmanager
def _log_of(order: Order, interrupted: State | None) -> Iterator[TrainingLog | None]:
    if order.tensorboard is None:
        yield None
        return
    from engines.tensorboard_log import tensorboard_log

    with tensorboard_log(order.tensorboard, first_step=len(interrupted["losses"]) if interrupted else 0) as log:
        yield log


def _write_models(folder: Path, parts: Parts, core: Core, feeds: Callable[[], Iterator[Feed]]) -> float:
    """Write the three model files; returns the GMAC of one inference."""
    whole = join(parts)
    check_structure(whole, int8=False)
    replace_file(folder / MODEL_FILES["fp32"], whole.SerializeToString())
    for placement in ("tensorrt", "cpu"):
        quantised = quantize_core(
            parts.core, feeds(), core_input=CORE_INPUTS[core.core_input], placement=placement, steps=core.steps()
        )
        model = join(parts, core=quantised)
        check_structure(model, int8=placement == "tensorrt")
        replace_file(folder / MODEL_FILES[placement], model.SerializeToString())
    return count_gmac(whole)


def _write_records(folder: Path, figures: Mapping[str, Any], images: GoodImages, recipe: Recipe) -> None:
    """Write what a person reads, and last the manifest of all that is there."""
    replace_file(folder / TRAINING_FILE, (json.dumps(figures, indent=1) + "\n").encode())
    replace_file(folder / IMAGES_FILE, images_csv(images))
    save_recipe(folder, recipe)
    versions = {name: metadata.version(name) for name in _PACKAGES}
    write_manifest(folder, versions={"python": platform.python_version(), **versions})


def _quantisation_feeds(
    parts: Parts, corruptor: Corruptor, core_input: str, tiling: Tiling, *, seed: int
) -> Iterator[Feed]:
    inputs = [value.name for value in parts.core.graph.input]
    # Clean and corrupted frames, one at a time; the seed's third number keeps them apart from training's batches.
    for index in range(_QUANTISATION_FRAMES):
        corrupted, clean = corruptor.batch((seed, index, 1), 1)
        frame = clean if index % 2 else corrupted
        feed = {CORE_INPUT: seen_of(frame, core_input), CORE_PICTURE: as_pictures(frame).numpy()}
        yield {name: tiles_of(feed[name], tiling) for name in inputs}
