"""Judge every frame of a labelled data set with the revision in force, as the agent would."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrate.dataset import LabelledFrame, list_labelled, load_mask
from calibrate.fitted_frames import read_fitted_frames
from calibrate.known_frames import read_known_frames
from calibrate.map_file import MapFile
from calibrate.metrics import ImageResult, image_metrics
from calibrate.original_pixels import Placement, mask_at_original, z_at_original
from calibrate.pixel_metrics import NO_FIGURES, PixelFrame, pixel_metrics
from calibrate.recipe_engine import RecipeEngine
from calibrate.unit import unit_of
from calibrate.usable_files import check_files
from edge_agent.decision import decide, z_map
from edge_agent.frame_limits import check_frame
from edge_agent.inspection import Verdict
from edge_agent.thresholds import ThresholdRevision, check_fits_model, load_thresholds
from engines.command_line import track
from engines.energy import JOULES_PER_WH, EnergyMeter
from engines.errors import FrameError
from engines.recipe import Recipe


@dataclass(frozen=True)
class Judged:
    """One frame of the data set and what the agent would say of it.

    Attributes:
        frame: The frame and its truth.
        verdict: At the thresholds in force.
        score: None for INVALID.
        reason: Why it is INVALID, None otherwise.
        map_number: Its place in the file of maps, None for what the pixel figures leave out.
        placement: Where the image file lies in the recipe's frame.
    """

    frame: LabelledFrame
    verdict: Verdict
    score: float | None
    reason: str | None
    map_number: int | None
    placement: Placement

    @property
    def result(self) -> ImageResult:
        """What the image figures need; INVALID ranks above every score, for the PLC rejects it in any case."""
        score = math.inf if self.score is None else self.score
        return ImageResult(self.frame.is_good, score, self.verdict, self.frame.group)


def evaluate(engine: RecipeEngine, dataset: Path) -> tuple[dict[str, Any], list[Judged]]:
    """Judge a data set.

    A frame that the agent would call INVALID (black, blown out, maps that are not finite) is INVALID here. The PLC
    rejects it: it counts as caught if it is defective and as a false reject if it is good, and ranks above every
    score. It has no map, so the pixel figures leave it out.

    Returns:
        The figures, ready for JSON, and every frame's verdict.

    Raises:
        ThresholdsError: No revision is in force, or it belongs to another model.
        DatasetError: Frames or masks cannot be used; nothing was judged.
    """
    thresholds = revision_in_force(engine)
    frames = list_labelled(dataset)
    good_hashes = check_files(engine, frames)
    has_masks = any(frame.mask_path for frame in frames)
    with MapFile(engine.recipe.maps_shape[1:]) as maps:
        kept = maps if has_masks else None
        began = time.monotonic()
        with EnergyMeter() as meter:
            judged = [_judge(engine, thresholds, frame, kept) for frame in track(frames, label="judging")]
        seconds = time.monotonic() - began
        pixels, pixels_by_type = _pixel_figures(engine.recipe, judged, maps)
    joules = meter.energy.joules
    figures: dict[str, Any] = {
        **image_metrics([item.result for item in judged]),
        **pixels,
        **_promise(thresholds, judged),
        **_known(engine, thresholds, good_hashes),
        "frames": len(judged),
        "pixel_frames": sum(item.map_number is not None for item in judged),
        "invalid_reasons": dict(Counter(item.reason for item in judged if item.reason)),
        "by_label": _by_label(judged),
        "by_defect": _by_defect(judged, pixels_by_type),
        "seconds_per_1000_frames": seconds / len(judged) * 1000,
        "energy_wh_per_1000_frames": None if joules is None else joules / JOULES_PER_WH / len(judged) * 1000,
        "energy_note": meter.energy.note,
        "recipe": engine.recipe.name,
        "model_sha256": engine.runtime.model_sha256,
        "threshold_rev": thresholds.name,
    }
    return figures, judged


def revision_in_force(engine: RecipeEngine) -> ThresholdRevision:
    """Return the thresholds in force, checked against the engine's model.

    Raises:
        ThresholdsError: There are none, or they were fitted on another model.
    """
    thresholds = load_thresholds(engine.folder)
    check_fits_model(
        thresholds,
        model=engine.model,
        model_sha256=engine.runtime.model_sha256,
        maps_shape=engine.runtime.maps_shape,
    )
    return thresholds


def _judge(engine: RecipeEngine, thresholds: ThresholdRevision, frame: LabelledFrame, maps: MapFile | None) -> Judged:
    """Judge one frame; its map is kept in `maps` if it has a truth of its pixels."""
    loaded = engine.load(frame.path)
    own = engine.thresholds_for(loaded, thresholds)
    placement = Placement(loaded.valid_xywh_px, loaded.original_shape)
    try:
        check_frame(loaded.pixels, thresholds.calibration.frame_limits)
        found = engine.maps(loaded.pixels)
        decision = decide(found, own, roi_size_wh=engine.recipe.roi_size_wh)
    except FrameError as problem:
        return Judged(frame, "INVALID", None, problem.reason, None, placement)
    has_truth = frame.is_good or frame.mask_path is not None
    number = maps.append(z_map(found, own), decision.defect_mask) if maps is not None and has_truth else None
    return Judged(frame, decision.verdict, decision.score, None, number, placement)


def _pixel_figures(
    recipe: Recipe, judged: Sequence[Judged], maps: MapFile
) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
    good = [item for item in judged if item.map_number is not None and item.frame.is_good]
    defective = [item for item in judged if item.map_number is not None and not item.frame.is_good]
    if not defective:
        return dict(NO_FIGURES), {}

    def pixels_of(items: Iterable[Judged]) -> Iterator[PixelFrame]:
        for item in items:
            if item.map_number is None:
                continue
            z, mask = maps.read(item.map_number)
            yield PixelFrame(
                item.frame.label,
                z_at_original(z, recipe, item.placement),
                load_mask(item.frame, item.placement.original_shape),
                mask_at_original(mask, recipe, item.placement),
            )

    every = [*good, *defective]
    return pixel_metrics(
        pixels_of(track(defective, label="defective pixels")), pixels_of(track(every, label="all pixels"))
    )


def _promise(thresholds: ThresholdRevision, judged: Sequence[Judged]) -> dict[str, float | int | str | None]:
    """Return what the revision promised (None: nothing) and what came of it; a part is rejected if any of its frames is."""
    good = [item.frame for item in judged if item.frame.is_good]
    rejected: dict[str, bool] = defaultdict(bool)
    for item in judged:
        if item.frame.is_good:
            rejected[item.frame.group] |= item.verdict != "PASS"
    promise = thresholds.calibration.promise
    return {
        "promised_false_reject_rate": None if promise.void else promise.expected_rate,
        "promised_bound_95": None if promise.void else promise.bound_95,
        "promised_unit": promise.unit,
        "good_parts": len(rejected),
        "good_parts_rejected": sum(rejected.values()),
        "good_parts_unit": unit_of({str(frame.path): frame.group for frame in good}),
    }


def _known(engine: RecipeEngine, thresholds: ThresholdRevision, good_hashes: Sequence[str]) -> dict[str, int]:
    """Return how many of the good frames taught the network or chose its settings, and on how many the fit rests."""
    known = read_known_frames(engine.folder)
    fitted = {f["sha256"] for f in read_fitted_frames(engine.folder, thresholds.name) if f["use"] != "excluded"}
    return {
        "good_frames_taught": sum(map(known.has_taught, good_hashes)),
        "good_frames_fitted": sum(one in fitted for one in good_hashes),
    }


def _by_label(judged: Sequence[Judged]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for item in judged:
        counts[item.frame.label][item.verdict] += 1
    return {
        label: {"frames": count.total(), "rejected": count.total() - count["PASS"]}
        for label, count in sorted(counts.items())
    }


def _by_defect(judged: Sequence[Judged], pixels: dict[str, dict[str, float | None]]) -> dict[str, dict[str, Any]]:
    """Return the figures of each defect type, measured with its own frames and all good ones."""
    types = sorted({item.frame.label for item in judged if not item.frame.is_good})
    return {
        label: {
            **image_metrics([i.result for i in judged if i.frame.is_good or i.frame.label == label]),
            **pixels.get(label, NO_FIGURES),
            "frames": sum(item.frame.label == label for item in judged),
        }
        for label in types
    }
