"""The page of an evaluation, for someone who never heard of an autoencoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from calibrate.evaluation import Judged, revision_in_force
from calibrate.figures import (
    BY_DEFECT,
    FIGURES,
    headline,
    percent,
    pixel_lines,
    promise_lines,
    short,
    shown,
    taught_lines,
)
from calibrate.page import row, write_page
from calibrate.recipe_engine import RecipeEngine
from calibrate.score_plots import histogram, roc
from calibrate.worst_frames import frame_section, worst_false_passes, worst_false_rejects
from edge_agent.inspection import REASONS
from edge_agent.thresholds import ThresholdRevision

_NO_MASKS = (
    "Nothing is known about where defects were found: that takes masks of defective frames that could be judged."
)


def write_evaluation_page(
    engine: RecipeEngine, figures: Mapping[str, Any], judged: Sequence[Judged], page: Path
) -> None:
    """Write the page.

    Args:
        engine: The recipe that judged.
        figures: Of `evaluate`.
        judged: Of `evaluate`, from the same run.
        page: The HTML file.

    Raises:
        DatasetError: A frame or mask cannot be read any more.
    """
    thresholds = revision_in_force(engine)
    passes, rejects = worst_false_passes(judged), worst_false_rejects(judged)
    write_page(
        page,
        f"{engine.recipe.name}: evaluation",
        "evaluation.html",
        {
            "name": escape(engine.recipe.name),
            "origin": escape(_origin(figures, thresholds)),
            "headline": escape(headline(figures)),
            "cards": "".join(_cards(figures)),
            "promise": "".join(f"<p>{escape(line)}</p>" for line in (*promise_lines(figures), *taught_lines(figures))),
            "plots": "".join(_plots(figures, judged, thresholds)),
            "confusion": "".join(row(truth, [*map(str, c.values())]) for truth, c in figures["confusion"].items()),
            "invalid": escape(_invalid(figures)),
            "types": _types(figures),
            "passes": escape(_shown_of(passes, figures["false_passes"], "Every defective frame was rejected.")),
            "pass_pictures": "".join(frame_section(engine, thresholds, item) for item in passes),
            "rejects": escape(_shown_of(rejects, figures["false_rejects"], "Every good frame passed.")),
            "reject_pictures": "".join(frame_section(engine, thresholds, item) for item in rejects),
            "figures": "".join(_figure_rows(figures)),
            "notes": escape(_notes(figures)),
        },
    )


def _origin(figures: Mapping[str, Any], thresholds: ThresholdRevision) -> str:
    return (
        f"{figures['frames']} known frames, thresholds {thresholds.name} of {thresholds.calibration.created[:10]}, "
        f"model {figures['model_sha256'][:12]}."
    )


def _cards(figures: Mapping[str, Any]) -> Iterator[str]:
    caught, missed = figures["caught"], figures["false_passes"]
    rejected, passed = figures["false_rejects"], figures["passed"]
    if caught + missed:
        words = "defective frames were caught" + (f"; {missed} would have reached the customer" if missed else "")
        yield _card(f"{caught} of {caught + missed}", words, f"recall {shown(figures, 'recall')}")
    words = "good frames were rejected"
    yield _card(
        f"{rejected} of {rejected + passed}", words, f"false-reject rate {percent(figures['false_reject_rate'])}"
    )
    if caught and rejected:
        words = "rejected frames were really defective"
        names = f"precision {shown(figures, 'precision')}, F1 {shown(figures, 'f1')}"
        yield _card(f"{caught} of {caught + rejected}", words, names)
    if figures["image_auroc"] is not None:
        words = "of all pairs of a good and a defective frame: the defective one has the higher score"
        yield _card(percent(figures["image_auroc"]), words, f"image AUROC {shown(figures, 'image_auroc')}")
    if figures["aupro"] is not None:
        words = "how well the place of each defect is found (100 % would be perfect)"
        names = f"AUPRO {shown(figures, 'aupro')}, pixel AUROC {shown(figures, 'pixel_auroc')}"
        yield _card(percent(figures["aupro"]), words, names)
    seconds, energy = figures["seconds_per_1000_frames"], figures["energy_wh_per_1000_frames"]
    used = "energy not measured" if energy is None else f"energy {energy:.3g} Wh"
    yield _card(
        f"{seconds:.3g} s", "for 1,000 frames on the machine that evaluated", f"{1000 / seconds:.3g} a second, {used}"
    )


def _card(number: str, words: str, names: str) -> str:
    return f'<div class="card"><b>{escape(number)}</b>{escape(words)}<small>{escape(names)}</small></div>'


def _plots(figures: Mapping[str, Any], judged: Sequence[Judged], thresholds: ThresholdRevision) -> Iterator[str]:
    results = [item.result for item in judged]
    words = "How many frames have which score. Full colour: on the wrong side of the limit."
    yield f"<figure>{histogram(results, thresholds.factor)}<figcaption>{words}</figcaption></figure>"
    if figures["image_auroc"] is not None:
        curve = roc(results, false_reject_rate=figures["false_reject_rate"], recall=figures["recall"])
        words = "What another limit would do: further up more is caught, further right more good ones are rejected."
        yield f"<figure>{curve}<figcaption>{words}</figcaption></figure>"


def _types(figures: Mapping[str, Any]) -> str:
    types = figures["by_defect"]
    if not types:
        return "<p>The data set has no defective frames.</p>"
    head = row("type", ["frames", "caught", *BY_DEFECT.values()]).replace("<tr>", "<thead><tr>") + "</thead>"
    body = "".join(
        row(label, [str(part["frames"]), str(part["caught"]), *(short(part[name]) for name in BY_DEFECT)])
        for label, part in types.items()
    )
    words = "Each type against the same good frames."
    if figures["aupro"] is None:
        words += f" {_NO_MASKS}"
    return f'<p class="soft">{words}</p><div class="wide"><table>{head}{body}</table></div>'


def _invalid(figures: Mapping[str, Any]) -> str:
    meaning = "INVALID is what cannot be judged. The PLC rejects it, so it counts as rejected, with the highest score."
    reasons = "; ".join(f"{count}: {REASONS[name]}" for name, count in figures["invalid_reasons"].items())
    return f"{meaning} Here {reasons}." if reasons else meaning


def _figure_rows(figures: Mapping[str, Any]) -> Iterator[str]:
    for name, figure in FIGURES.items():
        yield (
            f"<tr><th>{escape(figure.title)}</th><td>{shown(figures, name)}</td>"
            f'<td class="words">{escape(figure.meaning)}</td></tr>'
        )


def _notes(figures: Mapping[str, Any]) -> str:
    notes = [f"Energy: {figures['energy_note']}"]
    interval = figures["image_auroc_interval_95"]
    if interval is not None:
        notes.append(
            "The range behind image AUROC is a 95 % bootstrap over parts; with few of them and near 1 it is too narrow, and "
            "the truth is rather below it than above."
        )
        if interval[0] == interval[1]:
            notes.append("Every resample says the same: then this range says nothing about how sure that is.")
    if figures["aupro"] is None:
        notes.append(_NO_MASKS)
    return " ".join([*notes, *pixel_lines(figures)])


def _shown_of(items: Sequence[Judged], count: int, none: str) -> str:
    if not items:
        return none
    legend = (
        "Green: what is really defective. Map: black is usual, orange is the limit, bright yellow twice the limit, grey is "
        "never inspected. Red: what was marked."
    )
    return f"{len(items)} of {count}. {legend}"
