"""Golden frames: what an engine must answer on frames whose answer is known.

The agent uses this at every start, so nothing here needs torch or onnx.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from engines.errors import EngineError, RecipeError
from engines.files import sha256_of
from engines.images import Frame, read_image
from engines.recipe import GOLDEN_FOLDER, MODEL_FILES, NEWER_RECIPE
from engines.runtime import Maps, Runtime
from engines.untrusted import read_array
from engines.yaml_file import StrictModel, load_yaml

GOLDEN_FILE = "golden.yaml"
TOLERANCE = 0.02

Kind = Literal["good", "defect"]


class GoldenEntry(StrictModel):
    """One frame in `golden.yaml`."""

    file: str
    kind: Kind


class GoldenList(StrictModel):
    """The content of `golden.yaml`; the tolerance is a mean relative difference of the map."""

    tolerance: float
    frames: list[GoldenEntry]


@dataclass(frozen=True)
class GoldenFrame:
    """A frame with a known answer: a good part, or one with a synthetic defect that every station must reject."""

    path: Path
    kind: Kind
    tolerance: float

    @property
    def frame(self) -> Frame:
        """The pixels, (H, W, C) uint8, read from the disk at every call."""
        return read_image(self.path)

    def expected_maps(self, model: str) -> Maps:
        """Return the anomaly maps of ONNX Runtime, (K, h, w) float32, for `tensorrt` or `cpu`.

        Raises:
            RecipeError: There are none for this model.
        """
        path = maps_file(self.path, model)
        try:
            maps: Maps = read_array(path)
        except (OSError, ValueError) as problem:
            raise RecipeError(f"{path} cannot be read: {problem}.", fix="Copy the whole recipe again.") from problem
        return maps


@dataclass(frozen=True)
class GoldenResult:
    """How one golden frame came out: `difference` is the mean relative difference of the map."""

    name: str
    kind: Kind
    difference: float
    tolerance: float

    @property
    def within(self) -> bool:
        """Whether the difference is within the tolerance; NaN is not."""
        return self.difference <= self.tolerance


def maps_file(frame: Path, model: str) -> Path:
    """Return where the expected maps of a golden frame lie, for `tensorrt` or `cpu`."""
    return frame.with_suffix(f".{model}.npy")


def load_golden(recipe_dir: Path) -> list[GoldenFrame]:
    """List the golden frames of a recipe, good ones first; no pixel is read yet.

    Raises:
        RecipeError: `golden.yaml` is missing or not understood, or it lacks a good frame or a defect.
    """
    folder = recipe_dir / GOLDEN_FOLDER
    listed = load_yaml(folder / GOLDEN_FILE, GoldenList, error=RecipeError, fix=NEWER_RECIPE)
    if {entry.kind for entry in listed.frames} != {"good", "defect"}:
        raise RecipeError(
            f"{folder / GOLDEN_FILE} must list good frames and frames with a defect.",
            fix="Copy the whole recipe again.",
        )
    frames = [GoldenFrame(folder / entry.file, entry.kind, listed.tolerance) for entry in listed.frames]
    return sorted(frames, key=lambda golden: golden.kind == "defect")


def map_difference(maps: Maps, expected: Maps) -> float:
    """Return the mean relative difference, mean|a - b| / mean|b|; NaN where an error map is not finite.

    Raises:
        EngineError: The shapes differ.
    """
    if maps.shape != expected.shape:
        raise EngineError(
            f"the engine gives maps of shape {maps.shape} but the golden maps have {expected.shape}.",
            fix="Build the engine from this recipe's model file.",
        )
    size = float(np.abs(expected).mean(dtype=np.float64))
    apart = float(np.abs(maps - expected).mean(dtype=np.float64))
    return apart / size if size > 0 else apart


def compare_golden(
    runtime: Runtime, recipe_dir: Path, slot_frame: Frame | None = None, *, slot: int = 0
) -> list[GoldenResult]:
    """Run every golden frame through a runtime and compare the maps with the expected ones.

    Args:
        runtime: Bound, with `slot_frame` as its slot number `slot`; or not yet bound.
        recipe_dir: The recipe whose model file the runtime runs.
        slot_frame: (H, W, C) uint8; overwritten. None binds the runtime to memory of its own that is gone
            afterwards: the caller binds its slots later.
        slot: Number of the slot.

    Raises:
        EngineError: The engine failed, or runs a model that is not this recipe's.
        RecipeError: A golden file is missing or unreadable.
    """
    model = model_of(runtime, recipe_dir)
    if slot_frame is None:
        slot, slot_frame = 0, np.zeros(runtime.frame_shape, np.uint8)
        runtime.bind([slot_frame])
    results = []
    for golden in load_golden(recipe_dir):
        frame = golden.frame
        if frame.shape != slot_frame.shape:
            raise RecipeError(
                f"{golden.path} has another size than the model takes.", fix="Copy the whole recipe again."
            )
        slot_frame[...] = frame
        difference = map_difference(runtime.infer(slot), golden.expected_maps(model))
        results.append(GoldenResult(golden.path.name, golden.kind, difference, golden.tolerance))
    return results


def verify_engine(
    runtime: Runtime, recipe_dir: Path, slot_frame: Frame | None = None, *, slot: int = 0
) -> list[GoldenResult]:
    """Refuse an engine that does not answer as ONNX Runtime did; see `compare_golden`.

    Raises:
        EngineError: A map differs by more than the tolerance, or is not finite; every such frame is named.
    """
    results = compare_golden(runtime, recipe_dir, slot_frame, slot=slot)
    faults = [
        f"{r.name} by {100 * r.difference:.3g} % (at most {100 * r.tolerance:g} %)" for r in results if not r.within
    ]
    if faults:
        raise EngineError(
            f"the engine `{runtime.name}` differs from the golden maps of {recipe_dir}: {', '.join(faults)}.",
            fix="Build the engine again; if that does not help, train the recipe again.",
        )
    return results


def model_of(runtime: Runtime, recipe_dir: Path) -> str:
    """Return which INT8 file of the recipe a runtime runs: `tensorrt` or `cpu`.

    Raises:
        EngineError: Neither.
    """
    for model in ("cpu", "tensorrt"):
        path = recipe_dir / MODEL_FILES[model]
        if path.is_file() and sha256_of(path) == runtime.model_sha256:
            return model
    raise EngineError(
        f"the engine `{runtime.name}` runs a model that is not an INT8 file of {recipe_dir}.",
        fix="Open the model file of this recipe, or build the engine from it.",
    )
