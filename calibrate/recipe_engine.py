"""A recipe's engine, fed from image files: what fitting, evaluation and reports run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from edge_agent.inspection import Mask
from edge_agent.thresholds import ThresholdRevision, load_thresholds
from engines.dataset import fit_named
from engines.errors import DatasetError, FrameError
from engines.images import Frame, read_image
from engines.padding import padding_on_maps
from engines.recipe import MODEL_FILES, load_recipe
from engines.runtime import Maps, open_runtime


@dataclass(frozen=True)
class LoadedFrame:
    """A decoded image: (H, W, C) uint8 in the recipe's size, what of it is no padding, and its own (height, width)."""

    pixels: Frame
    valid_xywh_px: tuple[int, int, int, int]
    original_shape: tuple[int, int]


def has_tensorrt() -> bool:
    """Whether TensorRT is installed for this Python."""
    return find_spec("tensorrt") is not None


def engine_in_force(folder: Path) -> RecipeEngine:
    """Load the model that the revision in force was fitted on.

    Raises:
        RecipeError: The recipe is damaged.
        ThresholdsError: No revision is in force.
        EngineError: The model cannot run here.
    """
    load_recipe(folder)
    return RecipeEngine(folder, model=load_thresholds(folder).calibration.model)


class RecipeEngine:
    """One loaded model of a recipe with one slot; close it, or use `contextlib.closing`."""

    def __init__(
        self,
        folder: Path,
        *,
        model: Literal["fp32", "tensorrt", "cpu"] = "cpu",
        runtime: str | None = None,
        threads: int = 2,
    ) -> None:
        """Load the model.

        Args:
            folder: The recipe.
            model: Which of its model files.
            runtime: What runs it; None takes the runtime that the file was made for, or ONNX Runtime where that is
                not installed: for another machine's figures it is the oracle.
            threads: CPU threads of one inference.

        Raises:
            RecipeError: The recipe is damaged.
            EngineError: The model cannot run here.
        """
        self.folder = folder
        self.model = model
        self.recipe = load_recipe(folder)
        runtime = runtime or ("tensorrt" if model == "tensorrt" and has_tensorrt() else "cpu")
        self.runtime = open_runtime(runtime, folder / MODEL_FILES[model], threads=threads)
        self._slot: Frame = np.zeros(self.recipe.frame_shape, np.uint8)
        self.runtime.bind([self._slot])

    def close(self) -> None:
        """Release the model."""
        self.runtime.close()

    def read(self, path: Path) -> Frame:
        """Decode an image as it is on disk.

        Raises:
            DatasetError: The file is damaged or unusual.
        """
        try:
            return read_image(path)
        except FrameError as problem:
            raise DatasetError(problem.problem, fix=problem.fix) from problem

    def load(self, path: Path) -> LoadedFrame:
        """Decode an image and bring it to the recipe's frame size as training did.

        Raises:
            DatasetError: The file is damaged, or has another size than the recipe's frames and the recipe was not
                trained with `--resize`.
        """
        return self.fitted(path, self.read(path))

    def fitted(self, path: Path, original: Frame) -> LoadedFrame:
        """Bring an image that was read, (H, W, C) uint8, to the recipe's frame size as training did.

        Raises:
            DatasetError: It has another size than the recipe's frames and the recipe was not trained with `--resize`.
        """
        pixels, valid_xywh_px = fit_named(path, original, self.recipe.frame_shape, self.recipe.resize)
        return LoadedFrame(pixels, valid_xywh_px, (original.shape[0], original.shape[1]))

    def maps(self, frame: Frame) -> Maps:
        """Return the anomaly maps of a frame, (K, h, w) float32, valid until the next call."""
        self._slot[...] = frame
        return self.runtime.infer(0)

    def padding(self, loaded: LoadedFrame) -> Mask | None:
        """Return which map pixels show padding, (h, w) bool; None if none does."""
        return padding_on_maps(loaded.valid_xywh_px, self.recipe)

    def thresholds_for(self, loaded: LoadedFrame, thresholds: ThresholdRevision) -> ThresholdRevision:
        """Return the thresholds with everything that this frame pads never inspected."""
        padding = self.padding(loaded)
        if padding is None:
            return thresholds
        return dataclasses.replace(thresholds, scale=np.where(padding, np.float32(np.inf), thresholds.scale))
