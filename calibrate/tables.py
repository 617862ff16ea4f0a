"""Figures as a table that reads well in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

FIGURES = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO (0.3)",
    "recall": "recall",
    "precision": "precision",
    "f1": "F1",
    "false_reject_rate": "false-reject rate",
    "promised_false_reject_rate": "  promised",
    "promised_bound_95": "  95 % bound",
}


def print_figures(figures: Mapping[str, Any]) -> None:
    """Print an evaluation's figures, then the counts by label."""
    console = Console()
    table = Table("figure", "value", title=f"{figures['recipe']}, thresholds {figures['threshold_rev']}")
    for key, title in FIGURES.items():
        value = figures[key]
        table.add_row(title, "-" if value is None else f"{value:.4f}")
    console.print(table)
    labels = Table("label", "frames", "rejected")
    for label, count in figures["by_label"].items():
        labels.add_row(label, str(count["frames"]), str(count["rejected"]))
    console.print(labels)
