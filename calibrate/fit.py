"""Fit a threshold revision: location and scale from known frames, the factor from frames the network never saw."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from calibrate.conformal import at_sensitivity, check_enough_groups, conformal_factor, groups_needed
from calibrate.doubts import find_doubts
from calibrate.fitted_frames import images_csv
from calibrate.good_frames import FitFrame, Use, assign_uses
from calibrate.groups import GroupBy
from calibrate.ignored import read_ignored
from calibrate.known_frames import read_known_frames
from calibrate.recipe_engine import LoadedFrame, RecipeEngine
from calibrate.sensitivity import CARD_FILE, card, run_trials
from calibrate.suspects import stand_out
from calibrate.unit import unit_of
from calibrate.usual_frames import UsualFrames
from edge_agent.decision import check_maps, decide, score, z_map
from edge_agent.drift import figures_of, usual_of
from edge_agent.frame_limits import brightness_and_contrast, fit_frame_limits
from edge_agent.inspection import Mask
from edge_agent.revisions import UNNAMED, printable, save_thresholds, this_user
from edge_agent.thresholds import Calibration, Figure, FrameLimits, Promise, ThresholdRevision, Unit
from engines.command_line import track
from engines.errors import DatasetError, EngineError, FrameError, StorageError, ThresholdsError, UsageError
from engines.golden import load_golden
from engines.parallel import map_ahead
from engines.runtime import Maps

_NAMED_SUSPECTS = 5


@dataclass(frozen=True)
class FitWish:
    """What the technician asked for.

    Attributes:
        false_reject_rate: Share of new good parts that may be rejected.
        confident: Ask that the 95 % bound meets it.
        min_area_px: Smallest defect in camera pixels; None takes a quarter of the box.
        note: Why.
        exclude: Names of files that a person has looked at and found to show no good part.
        group_by: What one group is; see `assign_uses`.
        sensitivity: Moves the factor away from the wish; see `at_sensitivity`.
        unlabelled: Names of rejected files of which nobody said whether they show good parts; they are left out, and
            nothing can be promised.
        ignore: Picture of what is never inspected, white on black, of a camera frame's size.
        is_new: The frames were taken for this fit, so that the network cannot have seen them.
    """

    false_reject_rate: float
    confident: bool = False
    min_area_px: int | None = None
    note: str = ""
    exclude: tuple[str, ...] = ()
    group_by: GroupBy | None = None
    sensitivity: float = 1.0
    unlabelled: tuple[str, ...] = ()
    ignore: Path | None = None
    is_new: bool = False


def fit(
    engine: RecipeEngine,
    images: Path,
    wish: FitWish,
    *,
    must_reject_test_pieces: bool = True,
    with_card: bool = False,
) -> ThresholdRevision:
    """Fit and save a revision; it is not put in force.

    Args:
        engine: The model that the revision will belong to.
        images: Good frames, those that were set aside among them.
        wish: What the technician asked for.
        must_reject_test_pieces: Refuse thresholds that let one pass. Only a measurement may do without, which wants
            the figures of a bad recipe, too.
        with_card: Draw defects on the frames that gave the factor, and keep what is caught as `sensitivity.json`.

    Raises:
        DatasetError: The frames cannot be used, or none was kept from the network.
        UsageError: The smallest defect is larger than the inspected region.
        PromiseError: There are too few good parts for the wish.
        ThresholdsError: With these thresholds a test piece would pass.
        EngineError: The engine gives maps that cannot be.
        StorageError: The revision could not be written; nothing of it is left.
    """
    min_area = _min_area_map_px(engine, wish.min_area_px)
    ignored = read_ignored(wish.ignore, engine.recipe, min_area=min_area)
    frames = assign_uses(
        engine.folder,
        images,
        exclude=wish.exclude + wish.unlabelled,
        group_by=wish.group_by,
        needed=groups_needed(wish.false_reject_rate, confident=wish.confident),
    )
    unit = _unit_of_enough(engine.folder, wish, frames)
    shown: dict[str, tuple[float, float]] = {}
    usual = _usual_frames(engine, frames, UsualFrames(min_area, wish.false_reject_rate), ignored, shown)
    location, scale = usual.location_and_scale()
    draft = ThresholdRevision(location, scale, _draft(engine, min_area))
    unseen = _score_unseen(engine, frames, draft, shown)
    factor, promise = _factor(wish, unseen, unit)
    suspects = _suspects(frames, unseen.scores)
    limits = fit_frame_limits(list(shown.values()), share=wish.false_reject_rate)
    calibration = _calibration(engine, wish, factor, min_area, promise, limits).model_copy(
        update={
            "suspects": sorted(usual.standing_out, key=lambda name: -usual.standing_out[name]) + suspects,
            "excluded": sorted(wish.exclude),
            "ignored_share": round(float(ignored.mean()), 6),
            "usual": usual_of(unseen.figures),
        }
    )
    revision = ThresholdRevision(location, scale, calibration)
    if must_reject_test_pieces:
        check_test_pieces(engine, revision)
        revision = _with_doubts(engine, revision, wish, frames, unseen)
    also = _card_file(engine, frames, revision) if with_card else {}
    return _save(engine.folder, revision, images_csv(frames, unseen.scores), also)


def _unit_of_enough(recipe_folder: Path, wish: FitWish, frames: Sequence[FitFrame]) -> Unit:
    """Return what one group is; raises PromiseError if there are too few of them for the wish."""
    group_of = {frame.sha256: frame.group for frame in frames if frame.use == "factor"}
    unit = unit_of(group_of)
    is_halved = read_known_frames(recipe_folder).say_too_little((frame.sha256, frame.use) for frame in frames)
    new = {frame.group for frame in frames if frame.use != "excluded"} if is_halved else None
    check_enough_groups(
        len(set(group_of.values())),
        wished_rate=wish.false_reject_rate,
        confident=wish.confident,
        unit=unit,
        given=None if new is None else len(new),
    )
    return unit


def _with_doubts(
    engine: RecipeEngine, revision: ThresholdRevision, wish: FitWish, frames: Sequence[FitFrame], unseen: _Unseen
) -> ThresholdRevision:
    counted = {frame.sha256: frame.path.name for frame in frames if frame.use != "excluded"}
    unknown = "" if wish.is_new else read_known_frames(engine.folder).doubt(counted)
    scores = {counted[sha256]: score_of_it for sha256, score_of_it in unseen.scores.items()}
    doubts = find_doubts(engine, revision, scores, wish.sensitivity)
    note = printable(" ".join(filter(None, [wish.note, unknown, *doubts])))
    return replace(revision, calibration=revision.calibration.model_copy(update={"note": note}))


def _factor(wish: FitWish, unseen: _Unseen, unit: Unit) -> tuple[float, Promise]:
    """Return the factor that the wish leads to, and what can be promised with it."""
    groups, frames = list(unseen.of_group.values()), len(unseen.scores)
    factor, promise = conformal_factor(
        groups, wished_rate=wish.false_reject_rate, confident=wish.confident, frames=frames, unit=unit
    )
    if wish.sensitivity != 1:
        factor, promise = at_sensitivity(groups, factor, promise, wish.sensitivity)
    if wish.unlabelled:
        promise = promise.model_copy(update={"void": _cut_off(len(wish.unlabelled))})
    return factor, promise


def _cut_off(unlabelled: int) -> str:
    return (
        f"{unlabelled} rejected frames are labelled neither good nor defective. Without them the good parts reach only to "
        "the old limit, and how many will be rejected cannot be said"
    )


@dataclass
class _Unseen:
    """What the frames that the network never saw say: score by hash, largest score by group, figures of drift."""

    scores: dict[str, float] = field(default_factory=dict)
    of_group: dict[str, float] = field(default_factory=dict)
    figures: dict[Figure, list[float]] = field(default_factory=lambda: defaultdict(list))


def _maps_of_each(
    engine: RecipeEngine, frames: Sequence[FitFrame], use: Use, *, label: str
) -> Iterator[tuple[FitFrame, LoadedFrame, Maps]]:
    """Yield each frame of one use with its pixels and its maps, which are valid until the next; files are read ahead."""
    chosen = [frame for frame in frames if frame.use == use]
    read = map_ahead(lambda frame: engine.load(frame.path), chosen, threads=1)
    for frame, loaded in zip(chosen, track(read, label=label, total=len(chosen)), strict=True):
        maps = engine.maps(loaded.pixels)
        try:
            check_maps(maps)
        except FrameError as problem:
            raise EngineError(f"{frame.path}: {problem.problem}", fix=problem.fix) from problem
        yield frame, loaded, maps


def _usual_frames(
    engine: RecipeEngine,
    frames: Sequence[FitFrame],
    usual: UsualFrames,
    ignored: Mask,
    shown: dict[str, tuple[float, float]],
) -> UsualFrames:
    """Show `usual` the frames of location and scale; brightness and contrast of each are added to `shown`, by name."""
    for frame, loaded, maps in _maps_of_each(engine, frames, "location", label="location and scale"):
        shown[frame.path.name] = brightness_and_contrast(loaded.pixels)
        padding = engine.padding(loaded)
        usual.add(frame.path.name, maps, ignored if padding is None else padding | ignored)
    return usual


def _score_unseen(
    engine: RecipeEngine, frames: Sequence[FitFrame], draft: ThresholdRevision, shown: dict[str, tuple[float, float]]
) -> _Unseen:
    """Score the frames that give the factor; brightness and contrast of each are added to `shown`, by name."""
    found = _Unseen()
    for frame, loaded, maps in _maps_of_each(engine, frames, "factor", label="factor"):
        shown[frame.path.name] = brightness_and_contrast(loaded.pixels)
        z = z_map(maps, engine.thresholds_for(loaded, draft))
        value = found.scores[frame.sha256] = score(z, draft.min_area_map_px)
        found.of_group[frame.group] = max(value, found.of_group.get(frame.group, value))
        for name, figure in figures_of(loaded.pixels, value).items():
            found.figures[name].append(figure)
    return found


def _card_file(engine: RecipeEngine, frames: Sequence[FitFrame], revision: ThresholdRevision) -> dict[str, bytes]:
    trials = run_trials(engine, [frame.path for frame in frames if frame.use == "factor"], revision)
    return {CARD_FILE: json.dumps(card(trials, revision.factor), indent=1).encode()}


def _save(folder: Path, revision: ThresholdRevision, images_csv: str, also: Mapping[str, bytes]) -> ThresholdRevision:
    versions = {"edge-agent": version("edge-agent")}
    try:
        return save_thresholds(folder, revision, images_csv=images_csv, versions=versions, also=also)
    except OSError as problem:
        raise StorageError(
            f"the new threshold revision cannot be written to {folder}: {problem.strerror}.",
            fix="Free space on that disk or correct its permissions, and fit again; what is in force has not changed.",
        ) from problem


def _suspects(frames: Sequence[FitFrame], scores: dict[str, float]) -> list[str]:
    """Return the names of the frames that stand out among those that give the factor, the most unusual first."""
    judged = [frame for frame in frames if frame.sha256 in scores]
    far = stand_out([scores[frame.sha256] for frame in judged])
    found = [frame for frame, is_far in zip(judged, far, strict=True) if is_far]
    return [frame.path.name for frame in sorted(found, key=lambda frame: -scores[frame.sha256])]


def _min_area_map_px(engine: RecipeEngine, min_area_px: int | None) -> int:
    recipe = engine.recipe
    if min_area_px is None:
        return max(1, recipe.box_map_px**2 // 4)
    width, height = recipe.roi_size_wh
    if min_area_px > width * height:
        raise UsageError(
            f"--min-area-px {min_area_px} is more than the inspected region holds, {width} x {height} = "
            f"{width * height} pixels: nothing could ever be rejected.",
            fix="Give --min-area-px the area of the smallest defect that counts, or leave it out.",
        )
    share = recipe.map.width_map_px * recipe.map.height_map_px / (width * height)
    return max(1, round(min_area_px * share))


def _draft(engine: RecipeEngine, min_area: int) -> Calibration:
    nothing = Promise(wished_rate=0, expected_rate=0, bound_95=0, groups=0, frames=0, confident=False)
    limits = FrameLimits(mean_low=0, mean_high=255, contrast_low=0)
    return _calibration(engine, FitWish(0), 1.0, min_area, nothing, limits)


def _calibration(
    engine: RecipeEngine, wish: FitWish, factor: float, min_area: int, promise: Promise, limits: FrameLimits
) -> Calibration:
    if factor <= 0:
        raise DatasetError(
            f"the good parts' scores reach only {factor:.3f}: all of them look the same to the camera.",
            fix="Check that the folder holds different parts, and not one frame many times.",
        )
    return Calibration(
        schema=1,
        revision=UNNAMED,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        made_by=this_user(),
        note=printable(wish.note),
        model=engine.model,
        model_sha256=engine.runtime.model_sha256,
        factor=factor,
        min_area_map_px=min_area,
        frame_limits=limits,
        promise=promise,
    )


def check_test_pieces(engine: RecipeEngine, revision: ThresholdRevision) -> None:
    """Refuse thresholds with which a test piece would pass.

    Raises:
        ThresholdsError: One would.
    """
    for piece in load_golden(engine.folder):
        if piece.kind != "defect":
            continue
        decision = decide(engine.maps(piece.frame), revision, roi_size_wh=engine.recipe.roi_size_wh)
        if decision.verdict != "FAIL":
            first = ", ".join(revision.calibration.suspects[:_NAMED_SUSPECTS])
            raise ThresholdsError(
                f"the test piece {piece.path.name} would pass: its score is {decision.score:.2f} and the factor "
                f"{revision.factor:.2f}.",
                fix=f"Remove defective parts from the good ones{f' (look first at {first})' if first else ''}, allow more "
                "false rejects, ignore less, or train longer.",
            )
