"""What the tables of the studies share."""

from __future__ import annotations

from collections.abc import Sequence

from generated import interval, number, percent, table
from rows import Row

# What `figures_of` gives.
FIGURES = [
    *("maps", "box", "on synthetic defects", "image AUROC", "pixel AUROC", "AUPRO 0.3", "AUPRO 0.05", "recall"),
    *("false rejects (promised)", "GMAC", "minutes"),
]


def origin_of(rows: Sequence[Row]) -> str:
    """Say on which machines and commits, and by which commands, rows were made."""
    machines = dict.fromkeys(f"{row['machine']['processor']}, {row['machine']['cpus']} CPUs" for row in rows)
    devices = dict.fromkeys(f"{row['device']}{', bf16' if row['bf16'] else ''}" for row in rows)
    commits = dict.fromkeys(row["commit"] for row in rows)
    trained = {(row["dataset"], row["lesson"]): row["minutes"] for row in rows}
    loads = [row["load"] for row in rows]
    commands = dict.fromkeys(f"    {row['command']}" for row in rows)
    said = (
        f"Machine: {'; '.join(machines)}; trained on {'; '.join(devices)}. Load average {min(loads):.1f} to "
        f"{max(loads):.1f}. Commits: {', '.join(commits)}. {len(trained)} networks, {sum(trained.values()):.0f} minutes "
        "of training."
    )
    return "\n\n".join([said, "\n".join(commands)])


def matrix(rows: Sequence[Row], columns: Sequence[str], name: str) -> str:
    """Return networks x measurements of one figure; the best of all is bold, a dash stands where there is none."""
    found = {(row["lesson"], row["measurement"]): row[name] for row in rows}
    best = max((value for value in found.values() if value is not None), default=None)

    def cell(lesson: str, column: str) -> str:
        value = found.get((lesson, column))
        return f"**{number(value)}**" if value is not None and value == best else number(value)

    lessons = dict.fromkeys(row["lesson"] for row in rows)
    return table(["", *columns], [[lesson, *(cell(lesson, column) for column in columns)] for lesson in lessons])


def best_first(rows: Sequence[Row]) -> str:
    """Return one line a row, sorted by image AUROC."""
    ordered = sorted(rows, key=lambda row: -(row["image_auroc"] or 0.0))
    return table(["network", *FIGURES], [[row["lesson"], *figures_of(row)] for row in ordered])


def figures_of(row: Row) -> list[str]:
    """Return the figures of a row as the cells of a line."""
    return [
        "+".join(row["errors"]),
        str(row["box_map_px"]),
        number(row["synthetic_quality"], 3),
        interval(row["image_auroc"], row["image_auroc_interval_95"]),
        *(number(row[name]) for name in ("pixel_auroc", "aupro", "aupro_005")),
        number(row["recall"], 3),
        f"{percent(row['false_reject_rate'])} ({percent(row['promised_false_reject_rate'])})",
        f"{row['gmac']:.2f}",
        f"{row['minutes']:.1f}",
    ]
