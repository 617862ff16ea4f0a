"""Short trainings whose networks are kept, so that many error maps can be measured from each of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from plans import Lesson

from engines.checkpoint import Checkpoint
from engines.commands.train import add_arguments
from engines.dataset import GoodImages
from engines.files import replace_file
from engines.forward import error_maps_of
from engines.frame_cache import cache_samples
from engines.images import Frame, encode_png, list_images, read_image
from engines.map_choice import MapChoice, choose_maps
from engines.objectives import objective_named
from engines.reduction import Geometry, plan_geometry
from engines.schedule import Schedule
from engines.survey import survey
from engines.training import Trained, train

_KEPT, _CHECKPOINT = "trained.pt", "checkpoint"

DeviceName = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Budget:
    """How large and how long all trainings of a study are."""

    size: int
    steps: int
    seed: int
    device: DeviceName


@dataclass(frozen=True)
class Material:
    """Good frames as training wants them."""

    dataset: Path
    images: GoodImages
    geometry: Geometry
    trained: Frame
    tuning: Frame


def prepare(dataset: Path, size: int, folder: Path) -> Material:
    """Divide the good frames of a data set and scale them into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    images = survey(dataset / "train" / "good", resize="none")
    geometry = plan_geometry(images.frame_shape, None, size)
    trained, tuning = (cache_samples(images, images.of(use), geometry, folder / use) for use in ("trained", "tuning"))
    return Material(dataset, images, geometry, trained, tuning)


def schedule_of(lesson: Lesson, budget: Budget) -> Schedule:
    """Return the schedule, in all else that of `edge-engines train` without options."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    usual = parser.parse_args(["IMAGES", "--recipe", "DIR"])
    kind = lesson.kind or objective_named(lesson.objective)
    return Schedule(
        steps=budget.steps,
        minutes=None,
        batch=usual.batch,
        seed=budget.seed,
        width=lesson.width or usual.width,
        objective=lesson.objective,
        head=kind.teaches_head,
        device=budget.device,
    )


def learn(material: Material, lesson: Lesson, budget: Budget, folder: Path) -> Trained:
    """Train a network, or return the one that was trained before; an interrupted training continues.

    Raises:
        UsageError: The objective cannot learn from these frames.
        EngineError: The training failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept, checkpoint_file = folder / _KEPT, folder / _CHECKPOINT
    if kept.is_file():
        # Whole objects, not only weights: this program wrote them, into its own folder.
        found: Trained = torch.load(kept, weights_only=False)
        return found
    (lesson.kind or objective_named(lesson.objective)).check(material.geometry.channels)
    schedule = schedule_of(lesson, budget)
    facts = {"the lesson": lesson.name, "the schedule": str(schedule), "the size": str(material.geometry.map_shape)}
    checkpoint = Checkpoint(checkpoint_file, facts)
    trained = train(
        material.trained,
        schedule,
        rotates=False,
        checkpoint=checkpoint,
        interrupted=checkpoint.load(),
        kind=lesson.kind,
    )
    partly = kept.with_suffix(".partly")
    torch.save(trained, partly)
    partly.replace(kept)
    checkpoint_file.unlink(missing_ok=True)
    return trained


def has_begun(folder: Path) -> bool:
    """Say whether a network, or a part of its training, is kept in a folder."""
    return any((folder / name).is_file() for name in (_KEPT, _CHECKPOINT))


def choose(trained: Trained, material: Material, candidates: Sequence[Sequence[str]], seed: int) -> MapChoice:
    """Choose error maps and box on synthetic defects, as `edge-engines train` does."""
    names = sorted({name for candidate in candidates for name in candidate})
    maps_of = partial(error_maps_of, trained.core, names)
    return choose_maps(maps_of, names, candidates, trained=material.trained, tuning=material.tuning, seed=seed)


def grey_copy(dataset: Path, target: Path) -> Path:
    """Copy a data set without its colours, masks and groups included; returns the target.

    Frames of other content are divided in another way: its network is trained on other frames of the same folder.
    """
    if target.is_dir():
        return target
    partly = target.with_name(f"{target.name}.partly")
    labels = sorted(path for path in (dataset / "test").iterdir() if path.is_dir() and not path.name.startswith("."))
    for folder in [dataset / "train" / "good", *labels]:
        to = partly / folder.relative_to(dataset)
        to.mkdir(parents=True, exist_ok=True)
        for path in list_images(folder):
            frame = read_image(path)
            if frame.shape[2] > 1:
                frame = np.asarray(cv2.cvtColor(frame[..., :3], cv2.COLOR_BGR2GRAY), np.uint8)[..., np.newaxis]
            replace_file(to / f"{path.stem}.png", encode_png(frame))
        if (folder / "groups.csv").is_file():
            replace_file(to / "groups.csv", (folder / "groups.csv").read_bytes())
    if (dataset / "ground_truth").is_dir():
        (partly / "ground_truth").unlink(missing_ok=True)
        (partly / "ground_truth").symlink_to((dataset / "ground_truth").resolve())
    partly.replace(target)
    return target
