"""`edge-calibrate diff`: what tells two threshold revisions apart, in numbers and pictures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from calibrate.figures import percent, promised
from calibrate.fitted_frames import read_fitted_frames
from calibrate.page import picture_row, row, write_page
from calibrate.pictures import resized, shade
from calibrate.sensitivity import read_card
from calibrate.unit import rests_on
from edge_agent.thresholds import ThresholdRevision, load_thresholds
from engines.command_line import write_json
from engines.errors import ThresholdsError, UsageError
from engines.recipe import load_recipe
from engines.runtime import Maps

HELP = "show what tells two threshold revisions apart"
_PICTURE_PX = 240


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe folder")
    parser.add_argument("one", metavar="A", help="for example r0001")
    parser.add_argument("other", metavar="B", help="for example r0002")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with the maps of both")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


def run(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.recipe
    recipe = load_recipe(folder)
    one, other = (load_thresholds(folder, name=name) for name in (arguments.one, arguments.other))
    if one.location.shape != other.location.shape:
        raise UsageError("the two revisions have maps of different sizes.", fix="Compare revisions of one recipe.")
    lines = [*_lines(folder, one, other)]
    table = Table("", one.name, other.name, title=recipe.name)
    for title, before, after in lines:
        table.add_row(title, before, after)
    Console(markup=False).print(table)
    if arguments.html:
        _write_page(arguments.html, recipe.name, one, other, lines)
    write_json(arguments.json, {title: [before, after] for title, before, after in lines})
    return 0


def _lines(folder: Path, one: ThresholdRevision, other: ThresholdRevision) -> Iterator[tuple[str, str, str]]:
    """Yield what is compared: its name, and how it is in both."""
    revisions = (one, other)

    def line(title: str, words_of: Callable[[ThresholdRevision], str]) -> tuple[str, str, str]:
        before, after = map(words_of, revisions)
        return title, before, after

    yield line("made", lambda r: f"{r.calibration.created.replace('T', ' ')[:16]} by {r.calibration.made_by}")
    yield line("why", lambda r: r.calibration.note or "-")
    yield line("engine", lambda r: f"{r.calibration.model} {r.calibration.model_sha256[:12]}")
    yield line("factor", lambda r: f"{r.factor:.3f}")
    yield line("smallest area, map px", lambda r: str(r.min_area_map_px))
    yield line("never inspected", lambda r: percent(float(r.ignored.mean())))
    yield line("promised false rejects", lambda r: promised(r.calibration.promise, r.calibration.promise.expected_rate))
    yield line(
        "at most, with 95 % confidence", lambda r: promised(r.calibration.promise, r.calibration.promise.bound_95)
    )
    yield line("rests on", lambda r: rests_on(r.calibration.promise))
    yield line("suspects", lambda r: str(len(r.calibration.suspects)))
    yield line("excluded", lambda r: ", ".join(r.calibration.excluded) or "-")
    yield line("drawn defects caught", lambda r: _caught(folder, r.name))
    before, after = (_frames(folder, r.name) for r in revisions)
    yield "frames", str(len(before)), str(len(after))
    yield "of them only here", str(len(before - after)), str(len(after - before))
    both = ~(one.ignored | other.ignored)
    yield "usual error, change", "", _change(one.location[:, both], other.location[:, both])
    yield "how much it varies, change", "", _change(one.scale[:, both], other.scale[:, both])


def _caught(folder: Path, name: str) -> str:
    try:
        cells = read_card(folder, name)["by_defect"]
    except ThresholdsError:
        return "-"
    return f"{sum(cell['caught'] for cell in cells)} of {sum(cell['of'] for cell in cells)}"


def _frames(folder: Path, name: str) -> set[str]:
    return {line["sha256"] for line in read_fitted_frames(folder, name)}


def _change(before: Maps, after: Maps) -> str:
    """Return the mean change in shares of the mean; a dash where no pixel is inspected with both."""
    size = float(np.abs(before).mean()) if before.size else 0.0
    return percent(float(np.abs(after - before).mean()) / size) if size else "-"


def _write_page(
    page: Path,
    name: str,
    one: ThresholdRevision,
    other: ThresholdRevision,
    lines: list[tuple[str, str, str]],
) -> None:
    pictures = "".join(
        f"<h2>{title}</h2>{picture_row([(r.name, _picture(getattr(r, plane), r)) for r in (one, other)])}"
        for title, plane in (("Usual error of good parts", "location"), ("How much it varies", "scale"))
    )
    values = {
        "title": escape(f"{name}: {one.name} and {other.name}"),
        "table": row("", [one.name, other.name]) + "".join(row(title, pair) for title, *pair in lines),
        "pictures": pictures,
    }
    write_page(page, f"{name}: {one.name} and {other.name}", "diff.html", values)


def _picture(planes: Maps, revision: ThresholdRevision) -> np.ndarray:
    return resized(shade(planes.sum(axis=0), ~revision.ignored), _PICTURE_PX)
