"""A threshold revision: what each pixel does on good parts, and how far above that is defective."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from engines.errors import RecipeError, ThresholdsError
from engines.recipe import MODEL_FILES, THRESHOLDS_FOLDER, check_manifest
from engines.runtime import Maps
from engines.untrusted import read_array
from engines.yaml_file import StrictModel, load_yaml

CURRENT = "current"
REVISION = re.compile(r"r\d{4,}")
_REFIT = "Fit again: `edge-calibrate fit RECIPE --images DIR --false-reject-rate RATE`."
_NEWER = (
    "Another version of this program made it: install that one here, fit again with this one, or put an older revision in "
    "force with `edge-calibrate activate`."
)

Unit = Literal["part", "block", "frame"]


class Promise(StrictModel):
    """What the good parts support: `expected_rate` for new parts, and its 95 % upper bound.

    `unit` says what was counted, and so of what the rate is: parts, blocks of frames that follow each other, or frames;
    revisions from before it was kept have none.
    `void` says why nothing is promised all the same; it is empty where the promise holds.
    """

    wished_rate: float
    expected_rate: float
    bound_95: float
    groups: int
    frames: int
    confident: bool
    unit: Unit | None = None
    void: str = ""


class FrameLimits(StrictModel):
    """What a frame's brightness (0-255) and contrast (standard deviation) must not leave."""

    mean_low: float
    mean_high: float
    contrast_low: float


Figure = Literal["score", "brightness", "contrast", "sharpness"]


class Usual(StrictModel):
    """What a figure of a frame is on good parts."""

    middle: Annotated[float, Field(allow_inf_nan=False)]
    spread: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Calibration(StrictModel):
    """The content of `calibration.yaml`."""

    schema_: Literal[1] = Field(alias="schema")
    revision: Annotated[str, Field(pattern=r"^r\d{4,}$")]
    created: str
    made_by: str
    note: str
    model: Literal["fp32", "tensorrt", "cpu"]
    model_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    min_area_map_px: Annotated[int, Field(ge=1)]
    frame_limits: FrameLimits
    promise: Promise
    # By figure: score, brightness, contrast, sharpness; what drift is measured against.
    usual: dict[Figure, Usual] = Field(default_factory=dict)
    ignored_share: float = 0.0
    # File names: what stood out among the good frames, and what a person took out of them.
    suspects: list[str] = Field(default_factory=list)
    excluded: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class ThresholdRevision:
    """One revision. `location` and `scale` are (K, h, w) float32; a scale of +inf is never inspected."""

    location: Maps
    scale: Maps
    calibration: Calibration

    @property
    def name(self) -> str:
        return self.calibration.revision

    @property
    def factor(self) -> float:
        return self.calibration.factor

    @property
    def min_area_map_px(self) -> int:
        return self.calibration.min_area_map_px

    @cached_property
    def gain(self) -> Maps:
        """1 / scale, (K, h, w) float32; 0 where nothing is inspected."""
        return np.divide(1, self.scale, dtype=np.float32)

    @cached_property
    def offset(self) -> npt.NDArray[np.float32]:
        """Sum over the maps of location / scale, (h, w) float32."""
        return np.asarray((self.location * self.gain).sum(axis=0), np.float32)

    @cached_property
    def ignored(self) -> npt.NDArray[np.bool_]:
        """Pixels that are never inspected, (h, w) bool."""
        return np.asarray(np.isinf(self.scale).any(axis=0))


def name_in_force(recipe_folder: Path) -> str | None:
    """Return the name of the revision in force; None if there is none.

    Raises:
        ThresholdsError: What names it is damaged.
    """
    path = recipe_folder / THRESHOLDS_FOLDER / CURRENT
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    name = content.decode("ascii", errors="replace").strip()
    if not REVISION.fullmatch(name):
        raise ThresholdsError(
            f"{path} is damaged: it names no revision.",
            fix="Choose one with `edge-calibrate history`, and put it in force with `edge-calibrate activate`.",
        )
    return name


def load_calibration(recipe_folder: Path, name: str) -> Calibration:
    """Read what one revision says of itself; its arrays are checked by their hashes, and not read.

    Raises:
        ThresholdsError: There is no such revision, or a file of it is missing or altered.
    """
    folder = recipe_folder / THRESHOLDS_FOLDER / name
    try:
        check_manifest(folder)
    except RecipeError as problem:
        is_there = isinstance(problem.__cause__, PermissionError)
        raise ThresholdsError(problem.problem, fix=problem.fix if is_there else _REFIT) from problem
    calibration = load_yaml(folder / "calibration.yaml", Calibration, error=ThresholdsError, fix=_NEWER)
    if calibration.revision != name:
        raise ThresholdsError(
            f"{folder} holds revision {calibration.revision}: somebody has copied or renamed it.",
            fix="Remove the folder, and put a revision in force by `edge-calibrate activate`.",
        )
    return calibration


def load_thresholds(recipe_folder: Path, *, name: str | None = None) -> ThresholdRevision:
    """Read one revision, or the one in force.

    Raises:
        ThresholdsError: There is none, or a file of it is missing, altered or contradicts itself.
    """
    folder = recipe_folder / THRESHOLDS_FOLDER
    name = name or name_in_force(recipe_folder)
    if name is None:
        raise ThresholdsError(f"{recipe_folder} has no threshold revision in force.", fix=_REFIT)
    calibration = load_calibration(recipe_folder, name)
    try:
        location, scale = (read_array(folder / name / f"{what}.npy") for what in ("location", "scale"))
    except (OSError, ValueError) as problem:
        raise ThresholdsError(f"{folder / name} holds a damaged array: {problem}.", fix=_REFIT) from problem
    _check_arrays(folder / name, location, scale)
    return ThresholdRevision(location, scale, calibration)


def check_fits_model(
    thresholds: ThresholdRevision, *, model: str, model_sha256: str, maps_shape: tuple[int, ...]
) -> None:
    """Refuse thresholds that were fitted on another model file.

    Raises:
        ThresholdsError: The model differs, or the maps have another shape.
    """
    calibration = thresholds.calibration
    if (calibration.model, calibration.model_sha256) != (model, model_sha256):
        raise ThresholdsError(
            f"threshold revision {thresholds.name} was fitted on {MODEL_FILES[calibration.model]} "
            f"{calibration.model_sha256[:12]}, but {MODEL_FILES[model]} {model_sha256[:12]} is running.",
            fix=_REFIT,
        )
    if thresholds.location.shape != maps_shape:
        raise ThresholdsError(
            f"threshold revision {thresholds.name} has shape {thresholds.location.shape}, the maps have {maps_shape}.",
            fix=_REFIT,
        )


def _check_arrays(folder: Path, location: Maps, scale: Maps) -> None:
    same = location.shape == scale.shape and location.dtype == scale.dtype == np.float32
    if not same or location.ndim != 3 or not np.isfinite(location).all() or not _can_divide(scale):
        raise ThresholdsError(
            f"{folder} is not usable: location {location.dtype} {location.shape} must be finite, "
            f"scale {scale.dtype} {scale.shape} positive with a finite reciprocal, and both (K, h, w) float32.",
            fix=_REFIT,
        )


def _can_divide(scale: Maps) -> bool:
    with np.errstate(all="ignore"):
        # A subnormal scale is positive, but 1 / scale overflows: every pixel, or by 0 * inf none, would be defective.
        return bool((scale > 0).all() and np.isfinite(np.divide(1, scale, dtype=np.float32)).all())
