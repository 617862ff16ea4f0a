"""A recipe's engine, fed from image files: what fitting, evaluation and reports run."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from engines.errors import DatasetError, FrameError
from engines.images import Frame, describe_size, read_image
from engines.recipe import MODEL_FILES, load_recipe
from engines.runtime import Maps, open_runtime


class RecipeEngine:
    """One loaded model of a recipe with one slot; a context manager."""

    def __init__(self, folder: Path, *, model: Literal["tensorrt", "cpu"] = "cpu", threads: int = 2) -> None:
        """Load the model.

        Raises:
            RecipeError: The recipe is damaged.
            EngineError: The model cannot run here.
        """
        self.folder = folder
        self.model = model
        self.recipe = load_recipe(folder)
        self.runtime = open_runtime(model, folder / MODEL_FILES[model], threads=threads)
        self._slot: Frame = np.zeros(self.recipe.frame_shape, np.uint8)
        self.runtime.bind([self._slot])

    def __enter__(self) -> RecipeEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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

    def load(self, path: Path) -> Frame:
        """Decode an image of the recipe's frame size.

        Returns:
            Frame, (H, W, C) uint8, newly allocated.

        Raises:
            DatasetError: The file is damaged, or has another size than the recipe's frames.
        """
        frame = self.read(path)
        if frame.shape != self.recipe.frame_shape:
            raise DatasetError(
                f"{path} is {describe_size(frame.shape)}, but the recipe takes {describe_size(self.recipe.frame_shape)}.",
                fix="Record it with the recipe's camera settings, or train with `--resize letterbox` or `stretch`.",
            )
        return frame

    def maps(self, frame: Frame) -> Maps:
        """Return the anomaly maps of a frame, (K, h, w) float32, valid until the next call."""
        self._slot[...] = frame
        return self.runtime.infer(0)
