"""What the rows of the long round say, as Markdown."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from generated import table

Row = dict[str, Any]
_RULES = ("lost", "doubled", "contradicted", "let_go", "stale", "undecided", "growth")
_MOST_GROWTH = {"memory_mb": 2.0, "threads": 0, "descriptors": 1}
_STEPS = ("not accepted", "journalled", "stored", "sent", "acknowledged")


def tables(rows: Sequence[Row]) -> str:
    """Return a table for each study that has rows."""
    writers = {
        "kills": _kills,
        "walks": _walks,
        "calls": _calls,
        "control": _control,
        "parts": _parts,
        "frames": _frames,
        "fuzz": _fuzz,
    }
    made = [
        writer(mine) for study, writer in writers.items() if (mine := [row for row in rows if row["study"] == study])
    ]
    return "\n\n".join(made)


def failures(rows: Sequence[Row]) -> list[str]:
    """Return what must not be: a broken rule, growth, or a control in which no loss was seen."""
    found = [
        f"{row['study']}: {row['violations']}" for row in rows if row["study"] != "control" and row.get("violations")
    ]
    control = [row for row in rows if row["study"] == "control"]
    if control and not any("lost" in row["violations"] for row in control):
        found.append("control: without a journal nothing was seen to be lost")
    for study in ("parts", "frames"):
        for mine in by_run([row for row in rows if row["study"] == study]):
            first, last = mine[len(mine) // 4], mine[-1]
            found += [
                f"{study}: the {process}'s {what} went from {first[process][what]:.1f} to {last[process][what]:.1f}"
                for process in ("agent", "camera")
                for what, most in _MOST_GROWTH.items()
                if last[process][what] - first[process][what] > most
            ]
    found += [f"fuzz: {row['decoder']}: {row['failed']}" for row in rows if row.get("failed")]
    found += [f"frames: {row['waiting']} verdicts stayed" for row in rows if row.get("waiting")]
    return found


def _kills(rows: Sequence[Row]) -> str:
    by_victim = {victim: [row for row in rows if row["victim"] == victim] for victim in ("daemon", "camera", "broker")}
    shown = [[victim, *_kill_figures(mine)] for victim, mine in by_victim.items() if mine]
    return "\n\n".join(
        [
            f"### {len(rows)} times kill -9, each with a part open",
            table(_kill_titles("victim"), [*shown, ["all", *_kill_figures(rows)]]),
            f"Up to commit {rows[-1]['commit']}, on {_machine(rows)}.",
        ]
    )


def _walks(rows: Sequence[Row]) -> str:
    recovered = [row["recovered_s"] for row in rows]
    faults = sum(len(row["actions"]) for row in rows)
    shown = [
        str(len(rows)),
        f"{faults:,}",
        f"{sum(row['parts'] for row in rows):,}",
        *_broken(rows),
        f"{statistics.median(recovered):.1f}",
        f"{max(recovered):.1f}",
    ]
    titles = ["walks", "steps", "parts", *_RULES, "recovered, median s", "longest s"]
    return "\n\n".join(
        [
            "### Random walks: faults of every kind that overlap, and commands, while parts come",
            table(titles, [shown]),
            f"Up to commit {rows[-1]['commit']}, on {_machine(rows)}.",
        ]
    )


def _calls(rows: Sequence[Row]) -> str:
    steps = Counter(row["step"] for row in rows)
    shown = [str(len(rows)), *(str(steps[step]) for step in _STEPS), *_broken(rows)]
    titles = ["kills", *(f"part {step}" for step in _STEPS), *_RULES]
    return f"### kill -9 at the n-th write or sync of the outbox\n\n{table(titles, [shown])}"


def _control(rows: Sequence[Row]) -> str:
    return "\n\n".join(
        [
            "### The same with the outbox deleted between kill and restart: losses must be seen",
            table(_kill_titles("victim"), [["daemon, no journal", *_kill_figures(rows)]]),
        ]
    )


def _kill_titles(first: str) -> list[str]:
    return [first, "kills", *(f"part {step}" for step in _STEPS), *_RULES, "recovered, median s", "longest s"]


def _kill_figures(rows: Sequence[Row]) -> list[str]:
    steps = Counter(row["step"] for row in rows)
    recovered = [row["recovered_s"] for row in rows]
    return [
        str(len(rows)),
        *(str(steps[step]) for step in _STEPS),
        *_broken(rows),
        f"{statistics.median(recovered):.1f}",
        f"{max(recovered):.1f}",
    ]


def _broken(rows: Sequence[Row]) -> list[str]:
    return [str(sum(len(row["violations"].get(rule, ())) for row in rows)) for rule in _RULES]


def _parts(rows: Sequence[Row]) -> str:
    titles = ["run", "parts", "answered in time", "parts/s", "p50 ms", "p99 ms", *_RULES, *_USAGE_TITLES]
    shown = [
        [
            str(number),
            f"{sum(row['parts'] for row in mine):,}",
            f"{sum(row['answered'] for row in mine):,}",
            f"{statistics.median(row['parts_per_s'] for row in mine):.0f}",
            f"{statistics.median(row['p50_ms'] for row in mine):.1f}",
            f"{statistics.median(row['p99_ms'] for row in mine):.1f}",
            *_broken(mine),
            *_usage(mine),
        ]
        for number, mine in enumerate(by_run(rows), 1)
    ]
    total = sum(row["parts"] for row in rows)
    return f"### {total:,} triggered parts through Mosquitto\n\n{table(titles, shown)}\n\nOn {_machine(rows)}."


def _frames(rows: Sequence[Row]) -> str:
    titles = ["run", "frames", "delivered", "frames/s", *_USAGE_TITLES]
    shown = [
        [
            str(number),
            f"{sum(row['frames'] for row in mine):,}",
            f"{sum(row['delivered'] for row in mine):,}",
            f"{statistics.median(row['frames_per_s'] for row in mine):.0f}",
            *_usage(mine),
        ]
        for number, mine in enumerate(by_run(rows), 1)
    ]
    total = sum(row["frames"] for row in rows)
    return f"### {total:,} frames of free run, acknowledged in memory\n\n{table(titles, shown)}\n\nOn {_machine(rows)}."


def _fuzz(rows: Sequence[Row]) -> str:
    titles = [
        "decoder",
        "inputs",
        "seconds",
        "branches seen",
        "inputs that led to new ones",
        "crashed, hung or passed wrongly",
    ]
    shown = [
        [
            row["decoder"].replace("_", " "),
            f"{row['inputs']:,}",
            f"{row['seconds']}",
            f"{row['covered']:,}",
            f"{row['kept']:,}",
            "yes" if row["failed"] else "no",
        ]
        for row in rows
    ]
    return f"### What comes from outside, fuzzed\n\n{table(titles, shown)}\n\nOn {_machine(rows)}."


_USAGE_TITLES = [f"{process}: {what}" for process in ("agent", "camera") for what in ("MB", "threads", "descriptors")]


def _usage(rows: Sequence[Row]) -> list[str]:
    """From the second quarter of a run to its end: a process fills its caches first."""
    first, last = rows[len(rows) // 4], rows[-1]
    return [
        f"{first[process][what]:.0f} to {last[process][what]:.0f}"
        for process in ("agent", "camera")
        for what in ("memory_mb", "threads", "descriptors")
    ]


def by_run(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows of each run; one that was continued has other processes than before."""
    runs = list(dict.fromkeys(row["run"] for row in rows))
    return [[row for row in rows if row["run"] == run] for run in runs]


def _machine(rows: Sequence[Row]) -> str:
    loads = [row["load"] for row in rows]
    made_on = rows[-1]["machine"]
    return f"{made_on['processor']}, {made_on['cpus']} CPUs, load average {min(loads):.0f} to {max(loads):.0f}"
