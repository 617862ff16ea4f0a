"""A recipe that is fit to judge: whole, verified on its golden frames, and sure to reject its test piece."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from edge_agent.decision import decide
from edge_agent.ring import FrameRing
from edge_agent.station import EnginePart
from edge_agent.thresholds import ThresholdRevision, check_fits_model, load_thresholds
from engines.errors import AgentError, EngineError, FrameError, NotRejectedError, ThresholdsError
from engines.files import sha256_of
from engines.golden import load_golden, verify_engine
from engines.images import Frame
from engines.plans.builder import Progress
from engines.recipe import MODEL_FILES, Recipe, load_recipe
from engines.runtime import Runtime, open_runtime
from engines.service_manager import ask_for_patience

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TestPiece:
    """A golden frame with a synthetic defect; anything but FAIL for it means that no verdict can be trusted."""

    name: str
    frame: Frame


class LiveRecipe:
    """A loaded recipe: engine, thresholds, and a private slot behind the ring's for the test piece.

    `tested` counts test pieces since the start: passed are those that were rejected, as they must be.
    """

    def __init__(
        self, folder: Path, recipe: Recipe, runtime: Runtime, thresholds: ThresholdRevision, pieces: list[TestPiece]
    ) -> None:
        self.recipe = recipe
        self.runtime = runtime
        self.thresholds = thresholds
        self.tested = {"passed": 0, "failed": 0}
        self._folder = folder
        self._pieces = pieces
        self._turns = cycle(pieces)
        self._private: Frame = np.zeros(recipe.frame_shape, np.uint8)
        self._private_slot = 0
        self._ring: FrameRing | None = None

    def bind(self, ring: FrameRing) -> None:
        """Let the engine read the ring's slots in place, once.

        Raises:
            EngineError: The ring was made for another frame size.
        """
        self.runtime.bind([*(ring.slot(i) for i in range(len(ring))), self._private])
        self._private_slot = len(ring)
        self._ring = ring

    def verify_slot(self, ring: FrameRing, slot: int) -> None:
        """Send every golden frame through a slot of the ring, which no camera may write into yet.

        The test piece has memory of its own, which can work where the ring's does not.

        Raises:
            EngineError: The maps are others than those of the private slot, or the engine failed.
            RecipeError: A golden file is unreadable.
        """
        try:
            verify_engine(self.runtime, self._folder, ring.slot(slot), slot=slot)
        except EngineError as problem:
            raise EngineError(
                f"slot {slot} of the frame ring: {problem.problem}",
                fix="In memory of its own the engine is right, so it does not read the camera's: restart the machine; if "
                "that does not help, report this with the log.",
            ) from problem

    def try_alone(self) -> None:
        """Send every test piece through engine and thresholds, without a ring.

        Raises:
            EngineError: One was not rejected, or the engine failed.
        """
        self.runtime.bind([self._private])
        self._private_slot = 0
        self.check_test_pieces()

    def become(self, other: LiveRecipe) -> None:
        """Take another recipe's place at the ring, between two parts; `other` must not be used any more.

        Its thresholds are those that are in force now: the engine may have been compiled for minutes.

        Raises:
            ThresholdsError: There are none, or they are damaged or another model's.
            EngineError: A test piece would pass, or the engine failed.
            OSError: The thresholds cannot be read. After each of these this one goes on, and `other` is closed.
        """
        ring = self._ring
        if ring is None:
            raise EngineError("no ring is bound.", fix="Report this with the log.")
        try:
            # Memory can be registered with CUDA once only.
            self.runtime.bind([self._private])
            other.bind(ring)
            other.reload_thresholds()
        except (AgentError, OSError):
            other.close()
            self.bind(ring)
            raise
        before = self.runtime
        self.recipe, self.runtime, self.thresholds = other.recipe, other.runtime, other.thresholds
        self._folder, self._pieces, self._turns = other._folder, other._pieces, other._turns
        self._private, self._private_slot = other._private, other._private_slot
        before.close()

    def run_test_piece(self) -> None:
        """Send the next test piece through engine and thresholds.

        Raises:
            NotRejectedError: It was not rejected.
            EngineError: The engine failed.
        """
        self._test(next(self._turns))

    def check_test_pieces(self) -> None:
        """Send every test piece through engine and thresholds.

        Raises:
            EngineError: One was not rejected, or the engine failed.
        """
        for piece in self._pieces:
            self._test(piece)

    def reload_thresholds(self) -> None:
        """Take the revision that is in force now, if it is whole, belongs to the engine, and rejects every test piece.

        Raises:
            ThresholdsError: There is none, or it is damaged or another model's; the old one stays.
            EngineError: A test piece would pass with it, or the engine failed; the old one stays.
        """
        thresholds = load_thresholds(self._folder)
        model = self.thresholds.calibration.model
        try:
            _check_belongs(thresholds, self.runtime, model)
        except ThresholdsError as problem:
            if thresholds.calibration.model_sha256 != sha256_of(self._folder / MODEL_FILES[model]):
                raise
            raise ThresholdsError(
                f"{problem.problem} The recipe itself has been replaced.",
                fix="Start the agent anew, and it takes all of the new recipe: `sudo systemctl restart edge-agent@STATION`.",
            ) from problem
        for piece in self._pieces:
            self._must_reject(piece, thresholds)
        self.thresholds = thresholds

    def _test(self, piece: TestPiece) -> None:
        """Count, too, what became of a test piece of the engine and the thresholds in force."""
        try:
            self._must_reject(piece, self.thresholds)
        except EngineError:
            self.tested["failed"] += 1
            raise
        self.tested["passed"] += 1

    def _must_reject(self, piece: TestPiece, thresholds: ThresholdRevision) -> None:
        self._private[...] = piece.frame
        maps = self.runtime.infer(self._private_slot)
        try:
            decision = decide(maps, thresholds, roi_size_wh=self.recipe.roi_size_wh)
        except FrameError as problem:
            raise EngineError(f"the test piece {piece.name}: {problem.problem}", fix=problem.fix) from problem
        if decision.verdict != "FAIL":
            raise NotRejectedError(
                f"the test piece {piece.name} was not rejected by revision {thresholds.name} "
                f"(score {decision.score:.2f}, limit {thresholds.factor:.2f}).",
                fix="Fit the thresholds again with `edge-calibrate fit`, or take them back with `edge-calibrate "
                "rollback`, and reload.",
            )

    def close(self) -> None:
        """Release the engine."""
        self.runtime.close()


def open_live_recipe(folder: Path, engine: EnginePart, *, progress: Progress = ask_for_patience) -> LiveRecipe:
    """Load a recipe and prove that its engine gives the maps it gave when it was made.

    Args:
        folder: The recipe.
        engine: What runs it.
        progress: Called while the engine is compiled; where not given, a service manager is told to wait.

    Raises:
        RecipeError: A file is missing or altered.
        ThresholdsError: No revision is in force, or it belongs to another model.
        EngineError: The engine cannot be loaded or gives other maps.
    """
    recipe = load_recipe(folder)
    pieces = [TestPiece(p.path.name, p.frame) for p in load_golden(folder) if p.kind == "defect"]
    runtime = _verified_runtime(folder, engine, progress)
    try:
        # Compiling may take minutes, in which a person can put others in force.
        thresholds = load_thresholds(folder)
        _check_belongs(thresholds, runtime, engine.runtime)
    except BaseException:
        runtime.close()
        raise
    return LiveRecipe(folder, recipe, runtime, thresholds, pieces)


def _verified_runtime(folder: Path, engine: EnginePart, progress: Progress) -> Runtime:
    """Open the engine; one that was compiled before and answers wrongly is compiled anew, once."""

    def opened() -> Runtime:
        model = folder / MODEL_FILES[engine.runtime]
        return open_runtime(engine.runtime, model, threads=engine.threads, cuda=engine.cuda, progress=progress)

    runtime = opened()
    try:
        try:
            verify_engine(runtime, folder)
        except EngineError as problem:
            if not runtime.discard():
                raise
            log.warning("the engine is compiled anew problem=%s", problem)
            runtime.close()
            runtime = opened()
            verify_engine(runtime, folder)
    except BaseException:
        runtime.close()
        raise
    return runtime


def _check_belongs(thresholds: ThresholdRevision, runtime: Runtime, model: str) -> None:
    check_fits_model(thresholds, model=model, model_sha256=runtime.model_sha256, maps_shape=runtime.maps_shape)
