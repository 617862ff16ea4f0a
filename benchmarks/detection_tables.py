"""The tables of `docs/results/detection.md`, from the rows alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from generated import interval, number, percent, table
from jobs import KEY, label_of, words_of
from precision_tables import against_fp32, auroc_by_precision, pooled
from rows import Row, key_of, latest

TITLE = "Detection: from good images to figures"
_CPU = """### CPU placement, INT8

The graph that a machine without GPU runs, in ONNX Runtime; AUROC of the decision's own score, with its 95 % bootstrap
interval."""
# What rows share that differ in nothing but the seed.
_SERIES = ("dataset", "budget", "options")
_MAIN = ("image_auroc", "pixel_auroc", "aupro", "aupro_005", "recall", "false_reject_rate")
_OTHER = ("average_precision", "precision", "f1", "accuracy", "iou", "dice")


def tables(rows: Sequence[Row]) -> str:
    """Return all tables as Markdown; of rows with the same key the last counts."""
    if not rows:
        return "No row has been measured yet."
    shown = sorted(latest(rows, KEY), key=lambda row: (row["dataset"], key_of(row, _SERIES), row["seed"]))
    parts = [
        *_origin(shown),
        _CPU,
        _main_table(shown),
        _against_plain(shown),
        "### Three precisions\n\nEach with thresholds fitted on the same set-aside frames with the same wish.",
        auroc_by_precision(shown),
        against_fp32(shown),
        pooled(shown),
        "### By defect type\n\nCPU placement; each type against the same good frames.",
        _by_defect(shown),
        "### Other figures\n\nCPU placement, at the calibrated threshold where it matters.",
        _other(shown),
    ]
    return "\n\n".join(part for part in parts if part)


def _origin(rows: Sequence[Row]) -> Iterator[str]:
    machines = dict.fromkeys(f"{row['machine']['processor']}, {row['machine']['cpus']} CPUs" for row in rows)
    loads = [row[name] for row in rows for name in ("load_begin", "load_end")]
    yield (
        f"Machine: {'; '.join(machines)}. Load average at the begin and end of the rows: {min(loads):.1f} to "
        f"{max(loads):.1f}. The wish was to reject at most {percent(rows[0]['false_reject_rate_asked'], 0)} of the good "
        "parts, or as few as the set-aside ones can promise."
    )
    commands = []
    for series in _series(rows):
        seeds = ",".join(str(row["seed"]) for row in series)
        words = [*words_of(series[0]["budget"]), "--seeds", seeds, *words_of(series[0]["options"])]
        commands.append(" ".join(["    python benchmarks/detection.py --data", f"DATA/{series[0]['dataset']}", *words]))
    yield "\n".join(dict.fromkeys(commands))


def _series(rows: Sequence[Row]) -> list[list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[key_of(row, _SERIES)].append(row)
    return list(found.values())


def _main_table(rows: Sequence[Row]) -> str:
    titles = ["data set", "options", "seed", "minutes (asked)", "steps", "image AUROC", "pixel AUROC", "AUPRO 0.3"]
    titles += ["AUPRO 0.05", "recall", "false rejects (promised)", "maps and box", "map size", "GMAC", "parameters"]
    titles += ["bf16", "device", "commit"]
    lines = []
    for series in _series(rows):
        lines += [_main_line(row) for row in series]
        if len(series) > 1:
            lines.append(_mean_line(series, len(titles)))
    return table(titles, lines)


def _main_line(row: Row) -> list[str]:
    figures, training = row["precisions"]["cpu"], row["training"]
    asked = training["minutes_asked"]
    return [
        *label_of(row),
        str(row["seed"]),
        f"{training['minutes']:.1f} ({'-' if asked is None else format(asked, 'g')})",
        f"{training['steps']:,}",
        interval(figures["image_auroc"], figures["image_auroc_interval_95"]),
        *(number(figures[name]) for name in _MAIN[1:4]),
        number(figures["recall"], 3),
        f"{percent(figures['false_reject_rate'])} ({percent(figures['promised_false_reject_rate'])})",
        f"{'+'.join(training['errors'])}, {training['box_map_px']}",
        training["map_size"],
        _gmac(training),
        f"{training['parameters']:,}",
        "yes" if training["bf16"] else "no",
        training["device"],
        row["commit"],
    ]


def _gmac(training: dict[str, Any]) -> str:
    whole, tile = training["gmac"], training.get("gmac_per_tile")
    return f"{whole:.2f}" if tile in {None, whole} else f"{whole:.2f} ({tile:.2f} per tile)"


def _mean_line(series: Sequence[Row], columns: int) -> list[str]:
    means = [_mean([row["precisions"]["cpu"][name] for row in series]) for name in _MAIN]
    line = [*label_of(series[0]), f"mean of {len(series)}", "", ""]
    line += [number(value) for value in means[:4]]
    line += [number(means[4], 3), percent(means[5])]
    return [*(f"**{cell}**" if cell else "" for cell in line), *[""] * (columns - len(line))]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _against_plain(rows: Sequence[Row]) -> str:
    """Compare with `--objective plain --errors l2` on the same budget, p the better of its seeds."""
    plain: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        options = row["options"]
        if (options.get("objective"), options.get("errors")) == ("plain", "l2"):
            rest = {name: value for name, value in options.items() if name not in {"objective", "errors"}}
            plain[key_of({**row, "options": rest}, _SERIES)].append(row["precisions"]["cpu"]["image_auroc"])
    lines = []
    for series in _series(rows):
        aurocs = [row["precisions"]["cpu"]["image_auroc"] for row in series]
        known = [value for value in plain.get(key_of(series[0], _SERIES), []) if value is not None]
        if known and None not in aurocs:
            p = max(known)
            bar = min(p + 0.15, (1 + p) / 2)
            mean = fmean(aurocs)
            verdict = "reached" if mean >= bar else "**not reached**"
            budget = " ".join(words_of(series[0]["budget"]))
            lines.append(
                [*label_of(series[0]), budget, f"{number(p)} ({len(known)})", number(bar), number(mean), verdict]
            )
    if not lines:
        return ""
    titles = ["data set", "options", "budget", "p (seeds)", "bar", "image AUROC, mean", ""]
    said = "The bar beside `--objective plain --errors l2`: min(p + 0.15, (1 + p)/2), p the better of its seeds."
    return f"{said}\n\n{table(titles, lines)}"


def _by_defect(rows: Sequence[Row]) -> str:
    titles = ["data set", "options", "seed", "defect", "caught", "image AUROC", "pixel AUROC", "AUPRO 0.3"]
    lines = [
        [
            *label_of(row),
            str(row["seed"]),
            defect,
            f"{part['caught']} of {part['frames']}",
            *(number(part[name]) for name in ("image_auroc", "pixel_auroc", "aupro")),
        ]
        for row in rows
        for defect, part in row["precisions"]["cpu"]["by_defect"].items()
    ]
    return table(titles, lines)


def _other(rows: Sequence[Row]) -> str:
    titles = ["data set", "options", "seed", *(name.replace("_", " ") for name in _OTHER), "INVALID"]
    titles += ["test pieces rejected", "good frames: trained, tuning, set aside", "s per 1,000 frames"]
    lines = []
    for row in rows:
        figures, images = row["precisions"]["cpu"], row["training"]["images"]
        invalid = sum(part["INVALID"] for part in figures["confusion"].values())
        lines.append(
            [
                *label_of(row),
                str(row["seed"]),
                *(number(figures[name], 3) for name in _OTHER),
                str(invalid),
                "yes" if figures["test_pieces_rejected"] else "**no**",
                ", ".join(str(images[use]) for use in ("trained", "tuning", "set_aside")),
                f"{figures['seconds_per_1000_frames']:.0f}",
            ]
        )
    return table(titles, lines)
