"""The figures of an evaluation in words: name, meaning, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calibrate.conformal import chance_of_at_least, rate_bound
from calibrate.unit import GOOD, why_incomparable
from edge_agent.thresholds import Promise

_HARDLY_CHANCE = 0.05
_INTERVAL = "image_auroc_interval_95"


@dataclass(frozen=True)
class Figure:
    """What a figure is called by those who know it, and what it says to those who do not."""

    title: str
    meaning: str


FIGURES = {
    "image_auroc": Figure(
        "image AUROC", "of all pairs of a good and a defective frame, how many are in the right order"
    ),
    "average_precision": Figure("average precision", "precision, averaged over all limits that catch one more"),
    "recall": Figure("recall", "share of the defective frames that was rejected"),
    "precision": Figure("precision", "share of the rejected frames that was defective"),
    "f1": Figure("F1", "harmonic mean of recall and precision"),
    "accuracy": Figure("accuracy", "share of all frames that was judged rightly"),
    "false_reject_rate": Figure("false-reject rate", "share of the good frames that was rejected"),
    "promised_false_reject_rate": Figure("  promised rate", "what the thresholds promise for what is good"),
    "promised_bound_95": Figure("  its 95 % bound", "what that rate does not exceed, with 95 % confidence"),
    "pixel_auroc": Figure("pixel AUROC", "the same as image AUROC, for defective and good pixels"),
    "aupro": Figure(
        "AUPRO (0.3)", "how much of each defect is found while at most 30 % of the good pixels looked at light up"
    ),
    "aupro_005": Figure("AUPRO (0.05)", "the same for at most 5 %"),
    "iou": Figure("IoU", "marked and defective pixels: both of either, over all frames"),
    "dice": Figure("Dice", "marked and defective pixels: twice both, of the sum"),
    "inspected_share": Figure("inspected share", "share of the pixels that is ever looked at"),
    "defective_inspected_share": Figure("  of defective pixels", "the same of the defective pixels"),
    "seconds_per_1000_frames": Figure("seconds per 1,000 frames", "reading, engine and decision on this machine"),
    "energy_wh_per_1000_frames": Figure("Wh per 1,000 frames", "energy of the same"),
}
# Of one defect type, against all good frames.
BY_DEFECT = {
    "image_auroc": "image AUROC",
    "average_precision": "average precision",
    "recall": "recall",
    "precision": "precision",
    "f1": "F1",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO (0.3)",
    "aupro_005": "AUPRO (0.05)",
    "iou": "IoU",
    "dice": "Dice",
}


def shown(figures: Mapping[str, Any], name: str) -> str:
    """Return a figure as text, AUROC with its interval; a dash where there is none."""
    value = figures[name]
    if value is None:
        return "-"
    interval = figures[_INTERVAL] if name == "image_auroc" else None
    text = f"{value:.1f}" if name == "seconds_per_1000_frames" else f"{value:.4f}"
    return text if interval is None else f"{text} ({interval[0]:.3f} to {interval[1]:.3f})"


def short(value: float | None) -> str:
    """Write a figure for a table with many of them."""
    return "-" if value is None else f"{value:.3f}"


def percent(share: float) -> str:
    """Write a share for people: 4.5 %."""
    return f"{100 * share:.3g} %"


def headline(figures: Mapping[str, Any]) -> str:
    """Say in one sentence what was caught, missed and wrongly rejected."""
    defective = figures["caught"] + figures["false_passes"]
    good = figures["false_rejects"] + figures["passed"]
    return (
        f"{defective} defective: {figures['caught']} caught, {figures['false_passes']} passed. "
        f"{good} good: {figures['false_rejects']} rejected."
    )


def promised(promise: Promise, rate: float) -> str:
    """Write one of a promise's rates, unless it promises nothing."""
    return "nothing" if promise.void else percent(rate)


def promise_lines(figures: Mapping[str, Any]) -> Sequence[str]:
    """Say what the thresholds promised, what was measured and how sure that is, and whether chance explains the difference.

    Where the promise counts something else than what was measured, or the frames are no new ones, it is not judged.
    """
    parts, rejected = figures["good_parts"], figures["good_parts_rejected"]
    expected, bound = figures["promised_false_reject_rate"], figures["promised_bound_95"]
    unit, counted = figures["promised_unit"], figures["good_parts_unit"]
    at_most = percent(rate_bound(parts, rejected + 1))
    measured = f"{rejected} of {parts} {GOOD[counted]}, {percent(rejected / parts)}, with 95 % confidence no more than {at_most}"
    if expected is None:
        return (
            "These thresholds promise nothing; `edge-calibrate history` shows how they were made.",
            f"Measured: {measured}.",
        )
    chance = chance_of_at_least(rejected, parts, bound)
    if unlike := why_incomparable(unit, counted):
        verdict = unlike
    elif figures["good_frames_taught"] or figures["good_frames_fitted"]:
        verdict = (
            "That says nothing of the promise: some of these frames taught the network or made the thresholds. Judge "
            "with other good frames."
        )
    elif rejected <= expected * parts:
        verdict = "The promise held."
    elif chance >= _HARDLY_CHANCE:
        verdict = f"That is more than expected, but no more than chance explains among {parts}."
    else:
        verdict = (
            "That is more than the promise allows, and hardly chance: these parts, the light or the camera differ from "
            "the calibration's. Look at the false rejects, and fit again with good parts of today."
        )
    promised = f"about {percent(expected)} are rejected, with 95 % confidence no more than {percent(bound)}"
    return f"Promised: of new {GOOD[unit]} {promised}.", f"Measured: {measured}. {verdict}"


def pixel_lines(figures: Mapping[str, Any]) -> Sequence[str]:
    """Say of which frames and pixels the pixel figures are, where they are not of all."""
    lines: list[str] = []
    if figures["iou"] is None:
        return lines
    if figures["pixel_frames"] < figures["frames"]:
        lines.append(f"Pixel figures are of the {figures['pixel_frames']} frames with a map and a known truth.")
    if figures["inspected_share"] < 1:
        never, defective = (1 - figures[name] for name in ("inspected_share", "defective_inspected_share"))
        lines.append(
            f"Never inspected are {percent(never)} of their pixels and {percent(defective)} of the defective ones: of these, "
            "pixel figures leave good ones out, and count defective ones as not found."
        )
    return lines


def taught_lines(figures: Mapping[str, Any]) -> Sequence[str]:
    """Say that the network knows some of the good frames; nothing where it knows none."""
    taught, good = figures["good_frames_taught"], figures["false_rejects"] + figures["passed"]
    if not taught:
        return ()
    words = (
        f"{taught} of the {good} good frames taught the network or chose its settings: it knows them better than new "
        "ones, and all figures look better than they are. Judge with other good frames."
    )
    return (words,)
