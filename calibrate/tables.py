"""Figures as tables that read well in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from calibrate.figures import BY_DEFECT, FIGURES, pixel_lines, promise_lines, short, shown, taught_lines

# What fits beside each other in 80 columns.
_IN_TERMINAL = ("image_auroc", "pixel_auroc", "aupro", "iou")


def print_figures(figures: Mapping[str, Any]) -> None:
    """Print an evaluation's figures, the counts by verdict, and the figures of each defect type."""
    console = Console()
    table = Table("figure", "value", title=f"{figures['recipe']}, thresholds {figures['threshold_rev']}")
    for name, figure in FIGURES.items():
        table.add_row(figure.title, shown(figures, name))
    console.print(table)
    counts = Table("truth", "PASS", "FAIL", "INVALID")
    for truth, count in figures["confusion"].items():
        counts.add_row(truth, *map(str, count.values()))
    console.print(counts)
    if figures["by_defect"]:
        titles = [BY_DEFECT[name] for name in _IN_TERMINAL]
        types = Table("type", "frames", "caught", *titles, title="By defect type, against the same good frames")
        for label, part in figures["by_defect"].items():
            shown_figures = (short(part[name]) for name in _IN_TERMINAL)
            types.add_row(label, str(part["frames"]), str(part["caught"]), *shown_figures)
        console.print(types)
    for line in (*pixel_lines(figures), *promise_lines(figures), *taught_lines(figures)):
        print(line)
    if figures["invalid_reasons"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in figures["invalid_reasons"].items())
        print(f"INVALID counts as rejected: {reasons}.")
    print(f"Energy: {figures['energy_note']}")
