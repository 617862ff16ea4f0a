"""The document of `gpu.py`: for each GPU what was checked, what it took, and what could not be had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from generated import number, percent, table

TITLE = "On a CUDA GPU"
NOTHING_YET = "Nothing has been measured yet."
Row = dict[str, Any]


def tables(rows: Sequence[Row]) -> str:
    """Return the generated part; the latest run on each GPU."""
    return "\n\n".join(part for row in rows for part in parts(row)) or NOTHING_YET


def parts(row: Row) -> list[str]:
    found = [f"## {row['gpu']}", origin(row)]
    for case in row["cases"]:
        found += [f"### {case['case']}, means of {case['box']} x {case['box']}", lanes(case)]
    found += ["### TensorRT", *tensorrt(row["tensorrt"])]
    for title, lines in (("Not had", row["left_out"]), ("Did not hold", row["failed"])):
        if lines:
            found += [f"### {title}", "\n".join(f"* {line}" for line in lines)]
    return found


def origin(row: Row) -> str:
    versions = [f"{name} {version}" for name, version in row["versions"].items() if version]
    versions += [f"kernel for {binding} by {compiler}" for binding, compiler in row["compilers"].items()]
    memory = "shares the CPU's memory" if row["integrated"] else "has memory of its own"
    begin, end = row["load"]
    return (
        f"    {row['command']}\n\n"
        f"{row['date']}, commit `{row['commit']}`; {row['machine']['processor']}, {row['machine']['cpus']} CPUs, load "
        f"average {begin} to {end}. The GPU {memory}; driver {row['driver'] or 'not known'}, which has CUDA "
        f"{row['cuda']}. {', '.join(versions)}."
    )


def lanes(case: Row) -> str:
    """Return a case's table: every lane with its checks and its times, then the copies."""
    lines = []
    for check in case["checks"]:
        held = f"**{len(check['failures'])} failures**" if check["failures"] else f"{check['frames']} frames, all equal"
        lines.append([check["binding"], check["way"], check["launch"], held, *times(case["ms"][line_name(check)])])
    checked = {line_name(check) for check in case["checks"]}
    for name, figures in case["ms"].items():
        if name not in checked:
            binding, _, what = name.partition(", ")
            lines.append([binding, what, "-", "-", *times(figures)])
    return table(["binding", "frame", "launch", "against NumPy", "p50 ms", "p99 ms", "runs"], lines)


def line_name(check: Row) -> str:
    return f"{check['binding']}, {check['way']}, {check['launch']}"


def tensorrt(row: Row) -> list[str]:
    """Return what became of TensorRT."""
    if row["why_not"]:
        return [f"{row['flavour'] or 'TensorRT'}: not run: {row['why_not']}"]
    lines = [
        [
            engine["engine"],
            str(engine["frames"]),
            percent(engine["largest_difference"], 3),
            "-" if engine["equal_verdicts"] is None else str(engine["equal_verdicts"]),
            *times(row["ms"][engine["engine"]]),
        ]
        for engine in row["engines"]
    ]
    plan = row["plan"]
    built = f"{row['flavour']}, {plan['typing']}ly typed, {plan['layers']} layers, {plan['int8_convolutions']} in INT8"
    titles = ["engine", "golden frames", "largest difference", "equal verdicts", "p50 ms", "p99 ms", "runs"]
    notes = [row["no_verdicts"]] if row["no_verdicts"] else []
    return [f"{built}, built in {plan['seconds']} s.", table(titles, lines), *notes]


def times(figures: dict[str, float]) -> list[str]:
    return [number(figures["p50_ms"], 3), number(figures["p99_ms"], 3), f"{figures['runs']:.0f}"]
