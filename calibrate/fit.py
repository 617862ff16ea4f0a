"""Fit a threshold revision: location and scale from known frames, the factor from frames the network never saw."""

from __future__ import annotations

import csv
import getpass
import io
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from calibrate.conformal import conformal_factor
from calibrate.recipe_engine import RecipeEngine
from calibrate.suspects import stand_out
from calibrate.usual_frames import UsualFrames
from edge_agent.decision import decide, score, z_map
from edge_agent.frame_limits import brightness_and_contrast, fit_frame_limits
from edge_agent.revisions import UNNAMED, save_thresholds
from edge_agent.thresholds import Calibration, FrameLimits, Promise, ThresholdRevision
from engines.command_line import track
from engines.errors import DatasetError, FrameError, ThresholdsError, UsageError
from engines.golden import load_golden
from engines.images import list_images, pixel_sha256, read_image
from engines.moments import FEWEST
from engines.recipe import IMAGES_FILE
from engines.sample_split import Sample, merge_groups, read_groups
from engines.survey import check_few_unusable

_SHOWN_SUSPECTS = 10
Use = Literal["location", "factor", "excluded"]


@dataclass(frozen=True)
class FitWish:
    """What the technician asked for.

    Attributes:
        false_reject_rate: Share of new good parts that may be rejected.
        confident: Ask that the 95 % bound meets it.
        min_area_px: Smallest defect in camera pixels; None takes a quarter of the box.
        note: Why.
        exclude: Names of files that a person has looked at and found to show no good part.
    """

    false_reject_rate: float
    confident: bool = False
    min_area_px: int | None = None
    note: str = ""
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class FitFrame:
    """One good frame and what it is used for."""

    path: Path
    sha256: str
    group: str
    use: Use


def fit(
    engine: RecipeEngine, images: Path, wish: FitWish, *, must_reject_test_pieces: bool = True
) -> ThresholdRevision:
    """Fit and save a revision; it is not put in force.

    Args:
        engine: The model that the revision will belong to.
        images: Good frames, those that were set aside among them.
        wish: What the technician asked for.
        must_reject_test_pieces: Refuse thresholds that let one pass. Only a measurement may do without, which wants
            the figures of a bad recipe, too.

    Raises:
        DatasetError: The frames cannot be used, or none was kept from the network.
        UsageError: The smallest defect is larger than the inspected region.
        PromiseError: There are too few good parts for the wish.
        ThresholdsError: With these thresholds a test piece would pass.
    """
    min_area = _min_area_map_px(engine, wish.min_area_px)
    frames = _assign_uses(engine, images, wish.exclude)
    usual, shown = UsualFrames(min_area), []
    for frame in track([f for f in frames if f.use == "location"], label="location and scale"):
        loaded = engine.load(frame.path)
        shown.append(brightness_and_contrast(loaded.pixels))
        usual.add(frame.path.name, engine.maps(loaded.pixels), engine.padding(loaded))
    location, scale = usual.location_and_scale()

    draft = ThresholdRevision(location, scale, _draft(engine, min_area))
    scores: dict[str, float] = {}
    group_scores: dict[str, float] = defaultdict(lambda: float("-inf"))
    for frame in track([f for f in frames if f.use == "factor"], label="factor"):
        loaded = engine.load(frame.path)
        shown.append(brightness_and_contrast(loaded.pixels))
        z = z_map(engine.maps(loaded.pixels), engine.thresholds_for(loaded, draft))
        scores[frame.sha256] = score(z, min_area)
        group_scores[frame.group] = max(group_scores[frame.group], scores[frame.sha256])

    factor, promise = conformal_factor(
        list(group_scores.values()),
        wished_rate=wish.false_reject_rate,
        confident=wish.confident,
        frames=len(scores),
    )
    calibration = _calibration(engine, wish, factor, min_area, promise, fit_frame_limits(shown)).model_copy(
        update={"suspects": _suspects(usual, frames, scores), "excluded": sorted(wish.exclude)}
    )
    revision = ThresholdRevision(draft.location, draft.scale, calibration)
    if must_reject_test_pieces:
        check_test_pieces(engine, revision)
    return save_thresholds(
        engine.folder, revision, images_csv=_images_csv(frames, scores), versions={"edge-agent": version("edge-agent")}
    )


def _suspects(usual: UsualFrames, frames: Sequence[FitFrame], scores: dict[str, float]) -> list[str]:
    """Return the names of the frames that stand out, the most unusual first; those of the location before the others."""
    judged = [frame for frame in frames if frame.sha256 in scores]
    far = stand_out([scores[frame.sha256] for frame in judged])
    found = [frame for frame, is_far in zip(judged, far, strict=True) if is_far]
    left_out = sorted(usual.left_out, key=lambda name: -usual.left_out[name])
    return left_out + [frame.path.name for frame in sorted(found, key=lambda frame: -scores[frame.sha256])]


def _assign_uses(engine: RecipeEngine, images: Path, exclude: Sequence[str]) -> list[FitFrame]:
    known = known_uses(engine.folder)
    all_samples = _read_samples(images)
    missing = set(exclude) - {sample.path.name for sample in all_samples}
    if missing:
        raise UsageError(
            f"--exclude: {images} has no {', '.join(sorted(missing))}.", fix="Give names of files in that folder."
        )
    samples = [sample for sample in all_samples if sample.path.name not in exclude]
    excluded = [sample for sample in all_samples if sample.path.name in exclude]
    seen = [s for s in samples if known.get(s.sha256) in ("trained", "tuning")]
    unseen = [s for s in samples if known.get(s.sha256) not in ("trained", "tuning")]
    if not unseen:
        raise DatasetError(
            f"every image of {images} trained the network: on them it is too good, and any promise would be false.",
            fix="Give the whole folder that `edge-engines train` got (it set some aside), or newly recorded good parts.",
        )
    if not seen:
        seen, unseen = _halves(unseen, images)
    if len(seen) < FEWEST:
        raise DatasetError(
            f"{images} holds only {len(seen)} of the frames that trained the network; location and scale need at least "
            f"{FEWEST}.",
            fix="Give the whole folder that `edge-engines train` got, or only newly recorded good parts.",
        )
    trained_groups = {s.group for s in seen}
    frames = [FitFrame(s.path, s.sha256, s.group, "location") for s in seen]
    frames += [FitFrame(s.path, s.sha256, s.group, "factor") for s in unseen if s.group not in trained_groups]
    return frames + [FitFrame(s.path, s.sha256, s.group, "excluded") for s in excluded]


def _read_samples(images: Path) -> list[Sample]:
    """Read every picture once; groups that share one are one group, named after the first of them.

    Files that cannot be read are named and skipped, as in training; more than 1 % of them are refused.
    """
    paths = list_images(images)
    groups = read_groups(images, [path.name for path in paths])
    samples: list[Sample] = []
    faults: list[str] = []
    for path in track(paths, label="reading"):
        try:
            digest = pixel_sha256(read_image(path))
        except FrameError as problem:
            faults.append(problem.problem)
            continue
        samples.append(Sample(path, digest, groups.get(path.name, digest)))
    check_few_unusable(images, faults, len(paths))
    for fault in faults:
        print(f"skipped: {fault}", file=sys.stderr)
    merged = {digest: members for members in merge_groups(samples) for digest in members}
    names: dict[int, str] = {}
    different: dict[str, Sample] = {}
    for sample in samples:
        name = names.setdefault(id(merged[sample.sha256]), sample.group)
        different.setdefault(sample.sha256, replace(sample, group=name))
    return list(different.values())


def _halves(samples: Sequence[Sample], images: Path) -> tuple[list[Sample], list[Sample]]:
    """Divide new frames: the first half of the groups, in order, gives location and scale."""
    order = list(dict.fromkeys(s.group for s in samples))
    if len(order) < 4:
        raise DatasetError(
            f"{images} holds {len(order)} good parts that the recipe does not know.",
            fix="Record more good parts: half of them give location and scale, the other half the factor.",
        )
    first = set(order[: len(order) // 2])
    return [s for s in samples if s.group in first], [s for s in samples if s.group not in first]


def known_uses(recipe_folder: Path) -> dict[str, str]:
    """Return what training did with each image: use by pixel hash, from the recipe's `images.csv`."""
    with (recipe_folder / IMAGES_FILE).open(newline="", encoding="utf-8") as file:
        return {row["sha256"]: row["use"] for row in csv.DictReader(file)}


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
        made_by=getpass.getuser(),
        note=wish.note,
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
            raise ThresholdsError(
                f"the test piece {piece.path.name} would pass: its score is {decision.score:.2f} and the factor "
                f"{revision.factor:.2f}.",
                fix="Remove defective parts from the good ones, allow more false rejects, or train longer.",
            )


def _images_csv(frames: Sequence[FitFrame], scores: dict[str, float]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "group", "use", "score", "sha256"])
    for frame in frames:
        shown = f"{scores[frame.sha256]:.6g}" if frame.sha256 in scores else ""
        table.writerow([frame.path.name, frame.group, frame.use, shown, frame.sha256])
    return text.getvalue()


def describe(revision: ThresholdRevision) -> Iterator[str]:
    """Say a revision's promise as a technician would read it to a colleague, line by line."""
    calibration, promise = revision.calibration, revision.calibration.promise
    yield f"Threshold revision {revision.name}: factor {revision.factor:.3f}, minimum area {revision.min_area_map_px} map px."
    yield (
        f"Promise: of new good parts, about {promise.expected_rate:.2%} will be rejected "
        f"(95 % bound {promise.bound_95:.2%}), asked was {promise.wished_rate:.2%}."
    )
    yield f"It rests on {promise.groups} good parts ({promise.frames} frames) that the network never saw."
    if calibration.excluded:
        yield f"Given that these show no good part, and were left out: {', '.join(calibration.excluded)}."
    if calibration.suspects:
        shown = ", ".join(calibration.suspects[:_SHOWN_SUSPECTS])
        more = len(calibration.suspects) - _SHOWN_SUSPECTS
        yield f"Suspects, which stand out among the good frames: {shown}{f' and {more} more' if more > 0 else ''}."
        yield "Look at them. They still count; if one shows no good part, fit again with --exclude NAME."
    yield f"It belongs to the {calibration.model} model {calibration.model_sha256[:12]}."
