"""One page that shows what the station decided and why; it needs no network and no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from calibrate.dataset import LabelledFrame, list_labelled, load_mask
from calibrate.description import describe
from calibrate.evaluation import revision_in_force
from calibrate.figures import FIGURES, shown
from calibrate.original_pixels import Placement, picture_at_original, z_at_original
from calibrate.page import picture_row, row, write_page
from calibrate.pictures import NOT_SHOWN_CODE, colour, heat, outlined, png, resized
from calibrate.recipe_engine import RecipeEngine
from edge_agent.decision import z_map
from edge_agent.inspection import Mask
from edge_agent.masks import decode_png, decode_rle
from engines.debug_graph import Reconstructor
from engines.errors import DatasetError
from engines.files import replace_file
from engines.images import Frame, list_images
from engines.recipe import MODEL_FILES
from engines.untrusted import parse_json

PANEL_PX = 240
TITLES = ("frame", "reconstruction", "anomaly map", "mask")


@dataclass(frozen=True)
class PartVerdict:
    """One frame's truth beside what the PLC received about it."""

    frame: LabelledFrame
    verdict: str
    score: float | None
    message: dict[str, Any]
    mask_png: str | None

    @property
    def is_wrong(self) -> bool:
        return (self.verdict == "PASS") != self.frame.is_good

    @property
    def outcome(self) -> str:
        """What happened, in words."""
        if self.verdict == "INVALID":
            return f"INVALID: {', '.join(self.message['reasons'])}"
        if self.frame.is_good:
            return "good, passed" if self.verdict == "PASS" else "good, but rejected"
        return "defective, rejected" if self.verdict == "FAIL" else "defective, but passed"


def read_verdicts(path: Path, dataset: Path) -> list[PartVerdict]:
    """Join what `edge-agent watch --json` wrote with the frames of the folder camera that the agent ran on.

    The folder camera delivers the images below `DATASET/test` in the order of their paths, so the verdict's
    `frame_seq` is the index of its file.

    Raises:
        DatasetError: A line is damaged, or a verdict is about a frame that the data set does not have.
    """
    frames = {frame.path: frame for frame in list_labelled(dataset)}
    files = list_images(dataset / "test", recursive=True)
    verdicts = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = parse_json(text)
            message = line["verdict"]
            if message is None or message["frame_seq"] is None:
                continue
            frame = frames[files[message["frame_seq"]]]
            verdicts.append(PartVerdict(frame, message["verdict"], message["score"], message, line["mask_png"]))
        except (ValueError, KeyError, IndexError, TypeError) as problem:
            raise DatasetError(
                f"{path}:{number} is not a verdict on a frame of {dataset}/test.",
                fix="Give the file that `edge-agent watch --json` wrote while the agent ran on this folder.",
            ) from problem
    return verdicts


def check_origin(verdicts: Sequence[PartVerdict], engine: RecipeEngine) -> None:
    """Refuse verdicts that another recipe or revision gave: their scores do not belong to these pictures.

    Raises:
        DatasetError: There is no verdict, or one of another model or threshold revision.
    """
    if not verdicts:
        raise DatasetError(
            "there is no verdict in the file.", fix="Run `edge-agent watch --json` while the agent runs."
        )
    ours = engine.runtime.model_sha256[:12], revision_in_force(engine).name
    for item in verdicts:
        theirs = item.message["model_sha256"], item.message["threshold_rev"]
        if theirs != ours:
            raise DatasetError(
                f"a verdict is of model {theirs[0]} and thresholds {theirs[1]}, the recipe has {ours[0]} and {ours[1]}.",
                fix="Give the recipe that the agent ran with, with the same thresholds in force.",
            )


def headline(verdicts: Sequence[PartVerdict]) -> str:
    """Say in one sentence what was caught, missed and wrongly rejected."""
    bad = [item for item in verdicts if not item.frame.is_good]
    good = [item for item in verdicts if item.frame.is_good]
    missed, wrong = (sum(item.is_wrong for item in part) for part in (bad, good))
    return (
        f"{len(bad)} defective parts: {len(bad) - missed} caught, {missed} passed. "
        f"{len(good)} good parts: {wrong} rejected."
    )


def confusion(verdicts: Sequence[PartVerdict]) -> dict[str, dict[str, int]]:
    """Return how often each label got each verdict."""
    counts: dict[str, dict[str, int]] = {}
    for item in verdicts:
        row = counts.setdefault(item.frame.label, dict.fromkeys(("PASS", "FAIL", "INVALID"), 0))
        row[item.verdict] += 1
    return counts


def coverage_line(verdicts: Sequence[PartVerdict], frames: int) -> str:
    """Say how many of the data set's frames have a verdict; empty if all have one."""
    judged = len({item.frame.path for item in verdicts})
    return f"Only {judged} of {frames} frames have a verdict." if judged < frames else ""


def write_report(
    engine: RecipeEngine, verdicts: Sequence[PartVerdict], figures: dict[str, Any], page: Path, picture: Path | None
) -> None:
    """Write the page: promise, table, figures, and pictures of the most telling parts.

    Args:
        engine: The recipe that judged.
        verdicts: What the PLC received.
        figures: The evaluation's figures.
        page: The HTML file.
        picture: A PNG of the clearest reject, None for no such file.

    Raises:
        RecipeError: The model cannot show its reconstruction.
    """
    reconstructor = Reconstructor(engine.folder / MODEL_FILES[engine.model], threads=2)
    shown_parts = [(item, _panels(engine, reconstructor, item)) for item in most_telling(verdicts)]
    coverage = coverage_line(verdicts, figures["frames"])
    decided = sorted(item.message["decided_at"] for item in verdicts)
    write_page(
        page,
        f"{engine.recipe.name}: verdicts",
        "report.html",
        {
            "name": escape(engine.recipe.name),
            "headline": escape(headline(verdicts)),
            "origin": escape(f"Station {verdicts[0].message['station']}, {decided[0]} to {decided[-1]}. {coverage}"),
            "shown": f"{len(shown_parts)} of {len(verdicts)} parts, wrong verdicts first.",
            "promise": "".join(f"<p>{escape(line)}</p>" for line in describe(revision_in_force(engine))),
            "table": "".join(
                row(label, [*map(str, counts.values())]) for label, counts in sorted(confusion(verdicts).items())
            ),
            "figures": "".join(row(figure.title, [shown(figures, name)]) for name, figure in FIGURES.items()),
            "parts": "".join(_part(item, panels) for item, panels in shown_parts),
        },
    )
    rejects = [
        (item.score or 0, panels) for item, panels in shown_parts if item.verdict == "FAIL" and not item.is_wrong
    ]
    if picture is not None and rejects:
        replace_file(picture, png(max(rejects, key=lambda pair: pair[0])[1]))


def most_telling(verdicts: Sequence[PartVerdict], limit: int = 24) -> list[PartVerdict]:
    """Return false passes first, then false rejects, INVALID, and rejects and passes nearest to the limit."""

    def rank(item: PartVerdict) -> tuple[int, float]:
        kind = ("defective, but passed", "good, but rejected", "INVALID", "defective, rejected", "good, passed")
        place = next(i for i, start in enumerate(kind) if item.outcome.startswith(start))
        return place, abs((item.score or 0) - (item.message["limit"] or 0))

    ranked = sorted(verdicts, key=rank)
    wrong = [item for item in ranked if item.is_wrong or item.verdict == "INVALID"]
    right = [item for item in ranked if item not in wrong]
    spread = right[:: max(1, len(right) // max(1, limit // 2))]
    return (wrong + spread)[:limit]


def _panels(engine: RecipeEngine, reconstructor: Reconstructor, item: PartVerdict) -> list[Frame]:
    loaded = engine.load(item.frame.path)
    thresholds = engine.thresholds_for(loaded, revision_in_force(engine))
    placement = Placement(loaded.valid_xywh_px, loaded.original_shape)
    z = z_at_original(z_map(engine.maps(loaded.pixels), thresholds), engine.recipe, placement)
    truth = load_mask(item.frame, loaded.original_shape)
    mask = _mask_of(item, engine, loaded.original_shape)
    original = engine.read(item.frame.path)
    rebuilt = colour(reconstructor.reconstruct(loaded.pixels))
    pictures = (
        colour(original),
        picture_at_original(rebuilt, engine.recipe, placement, NOT_SHOWN_CODE),
        heat(z, thresholds.factor),
        outlined(original, mask, truth),
    )
    return [resized(picture, PANEL_PX) for picture in pictures]


def _mask_of(item: PartVerdict, engine: RecipeEngine, shape: tuple[int, int]) -> Mask:
    """Return the mask that the PLC received, on the whole frame; empty where it received none."""
    frame = np.zeros(shape, bool)
    mask = item.message["mask"]
    if mask is None:
        return frame
    left, top, width, height = engine.recipe.roi_xywh_px
    if mask["encoding"] == "coco_rle":
        frame[top : top + height, left : left + width] = decode_rle(mask["data"].encode(), (width, height))
    elif item.mask_png is not None:
        frame[top : top + height, left : left + width] = decode_png(base64.b64decode(item.mask_png))
    return frame


def _part(item: PartVerdict, panels: list[Frame]) -> str:
    score = "-" if item.score is None else f"{item.score:.2f}"
    limit = item.message["limit"]
    kind = "wrong" if item.is_wrong else "right"
    return (
        f'<section class="{kind}"><h3>{escape(item.frame.label)}/{escape(item.frame.path.name)}: '
        f"{escape(item.outcome)}</h3><p>score {score}, limit {limit:.2f}</p>"
        f"{picture_row(list(zip(TITLES, panels, strict=True)))}</section>"
    )
