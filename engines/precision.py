"""What INT8 costs: the same frames through the three model files of a recipe, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.auroc import auroc
from engines.command_line import track
from engines.dataset import Rectangle, read_fitted
from engines.errors import DatasetError
from engines.images import Frame, list_images
from engines.moments import RunningMoments
from engines.padding import padding_on_maps
from engines.recipe import MODEL_FILES, Recipe
from engines.runtime import Maps, Runtime, open_runtime
from engines.synthetic_defects import add_defect

MOST_IMAGES = 60
FEWEST_IMAGES = 10
_COPIES_OF_A_FRAME = 3
_EXACT = "fp32"


@dataclass
class Precision:
    """How one model file did, against the FP32 one where that is said.

    Attributes:
        auroc: Of frames with a synthetic defect against good ones, by the largest z.
        map_difference: Mean relative difference of the maps to FP32's, of good frames and of defective ones.
        equal_verdicts: Share of all frames with FP32's verdict; the limit of each model is its own largest good score.
    """

    auroc: float
    map_difference: dict[str, float]
    equal_verdicts: float


@dataclass
class _Shown:
    """A frame, and the rectangle that shows the part; what lies outside of it is padding, and never inspected."""

    recipe: Recipe
    frame: Frame
    valid_xywh_px: Rectangle

    @cached_property
    def inspected(self) -> npt.NDArray[np.bool_]:
        """Which map pixels show no padding, (h, w)."""
        padding = padding_on_maps(self.valid_xywh_px, self.recipe)
        return np.ones(self.recipe.maps_shape[1:], bool) if padding is None else ~padding

    def with_defect(self, seed: tuple[int, ...]) -> _Shown:
        left, top, width, height = self.valid_xywh_px
        part = slice(top, top + height), slice(left, left + width)
        frame = self.frame.copy()
        frame[part] = add_defect(frame[part], seed)
        return replace(self, frame=frame)


@dataclass
class _Model:
    runtime: Runtime
    slot: Frame
    usual: RunningMoments = field(default_factory=RunningMoments)
    limits: tuple[Maps, Maps] | None = None
    scores: dict[str, list[float]] = field(default_factory=lambda: {"good": [], "defective": []})
    differences: dict[str, list[float]] = field(default_factory=lambda: {"good": [], "defective": []})

    def infer(self, frame: Frame) -> Maps:
        self.slot[...] = frame
        return self.runtime.infer(0)

    def verdicts(self) -> list[bool]:
        limit = max(self.scores["good"])
        return [score > limit for kind in ("good", "defective") for score in self.scores[kind]]


def compare_precisions(folder: Path, recipe: Recipe, images: Path, *, threads: int) -> dict[str, Precision]:
    """Run good frames, and copies with synthetic defects, through every model file of a recipe.

    Every second frame tells what each pixel does on good parts, the others are judged.

    Args:
        folder: The recipe.
        recipe: Its content.
        images: Folder of good frames; the first 60 are used.
        threads: CPU threads of one inference.

    Returns:
        One entry for each of `fp32`, `tensorrt` and `cpu`.

    Raises:
        DatasetError: There are fewer than 10 frames, or they do not fit the recipe.
        FrameError: A file is not an image.
    """
    paths = list_images(images)[:MOST_IMAGES]
    if len(paths) < FEWEST_IMAGES:
        raise DatasetError(
            f"{images} holds {len(paths)} images; at least {FEWEST_IMAGES} are needed.", fix="Give good frames."
        )

    def read(chosen: Sequence[Path], label: str) -> Iterator[_Shown]:
        for path in track(chosen, label=label, total=len(chosen)):
            yield _Shown(recipe, *read_fitted(path, recipe.frame_shape, recipe.resize))

    models: dict[str, _Model] = {}
    try:
        for kind, name in MODEL_FILES.items():
            models[kind] = _open(folder / name, threads)
        for shown in read(paths[::2], "what is usual"):
            for model in models.values():
                model.usual.add(model.infer(shown.frame), ~shown.inspected)
        for index, shown in enumerate(read(paths[1::2], "comparing precisions")):
            _judge(models, shown, "good")
            for copy in range(_COPIES_OF_A_FRAME):
                _judge(models, shown.with_defect((index, copy)), "defective")
    finally:
        for model in models.values():
            model.runtime.close()
    exact = models[_EXACT].verdicts()
    return {kind: _precision(model, exact) for kind, model in models.items()}


def _open(path: Path, threads: int) -> _Model:
    runtime = open_runtime("cpu", path, threads=threads)
    model = _Model(runtime, np.zeros(runtime.frame_shape, np.uint8))
    runtime.bind([model.slot])
    return model


def _judge(models: dict[str, _Model], shown: _Shown, kind: str) -> None:
    exact = models[_EXACT].infer(shown.frame)[:, shown.inspected]
    for model in models.values():
        maps = model.infer(shown.frame)
        location, scale = model.limits = model.limits or model.usual.location_and_scale()
        model.scores[kind].append(float(((maps - location) / scale).sum(axis=0)[shown.inspected].max()))
        difference = np.abs(maps[:, shown.inspected] - exact).mean()
        model.differences[kind].append(float(difference / exact.mean()))


def _precision(model: _Model, exact: list[bool]) -> Precision:
    return Precision(
        auroc=auroc(model.scores["good"], model.scores["defective"]),
        map_difference={kind: float(np.mean(values)) for kind, values in model.differences.items()},
        equal_verdicts=float(np.mean(np.equal(model.verdicts(), exact))),
    )
