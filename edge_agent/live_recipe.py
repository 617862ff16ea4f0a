"""A recipe that is fit to judge: whole, verified on its golden frames, and sure to reject its test piece."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from edge_agent.decision import decide
from edge_agent.ring import FrameRing
from edge_agent.station import EnginePart
from edge_agent.thresholds import ThresholdRevision, check_fits_model, load_thresholds
from engines.errors import EngineError, FrameError
from engines.golden import load_golden, verify_engine
from engines.images import Frame
from engines.recipe import MODEL_FILES, Recipe, load_recipe
from engines.runtime import Runtime, open_runtime


@dataclass(frozen=True)
class TestPiece:
    """A golden frame with a synthetic defect; anything but FAIL for it means that no verdict can be trusted."""

    name: str
    frame: Frame


class LiveRecipe:
    """A loaded recipe: engine, thresholds, and a private slot behind the ring's for the test piece."""

    def __init__(
        self, recipe: Recipe, runtime: Runtime, thresholds: ThresholdRevision, pieces: list[TestPiece]
    ) -> None:
        self.recipe = recipe
        self.runtime = runtime
        self.thresholds = thresholds
        self._pieces = cycle(pieces)
        self._private: Frame = np.zeros(recipe.frame_shape, np.uint8)
        self._private_slot = 0

    def bind(self, ring: FrameRing) -> None:
        """Let the engine read the ring's slots in place, once.

        Raises:
            EngineError: The ring was made for another frame size.
        """
        self.runtime.bind([*(ring.slot(i) for i in range(len(ring))), self._private])
        self._private_slot = len(ring)

    def run_test_piece(self) -> None:
        """Send the next test piece through engine and thresholds.

        Raises:
            EngineError: It was not rejected, or the engine failed.
        """
        piece = next(self._pieces)
        self._private[...] = piece.frame
        maps = self.runtime.infer(self._private_slot)
        try:
            decision = decide(maps, self.thresholds, roi_size_wh=self.recipe.roi_size_wh)
        except FrameError as problem:
            raise EngineError(f"the test piece {piece.name}: {problem.problem}", fix=problem.fix) from problem
        if decision.verdict != "FAIL":
            raise EngineError(
                f"the test piece {piece.name} was not rejected (score {decision.score:.2f}, "
                f"limit {self.thresholds.factor:.2f}).",
                fix="Fit the thresholds again with `edge-calibrate fit`; until then every part is INVALID.",
            )

    def close(self) -> None:
        """Release the engine."""
        self.runtime.close()


def open_live_recipe(folder: Path, engine: EnginePart) -> LiveRecipe:
    """Load a recipe and prove that its engine gives the maps it gave when it was made.

    Raises:
        RecipeError: A file is missing or altered.
        ThresholdsError: No revision is in force, or it belongs to another model.
        EngineError: The engine cannot be loaded or gives other maps.
    """
    recipe = load_recipe(folder)
    thresholds = load_thresholds(folder)
    pieces = [TestPiece(p.path.name, p.frame) for p in load_golden(folder) if p.kind == "defect"]
    model = folder / MODEL_FILES[engine.runtime]
    runtime = open_runtime(engine.runtime, model, threads=engine.threads, cuda=engine.cuda)
    try:
        check_fits_model(
            thresholds, model=engine.runtime, model_sha256=runtime.model_sha256, maps_shape=runtime.maps_shape
        )
        verify_engine(runtime, folder)
    except BaseException:
        runtime.close()
        raise
    return LiveRecipe(recipe, runtime, thresholds, pieces)
