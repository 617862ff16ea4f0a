"""`edge-agent replay`: prove that a change is safe on recorded frames."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from edge_agent.inspection import REASONS
from edge_agent.replay import compare, read_results, replay
from edge_agent.station import load_station
from engines.command_line import track
from engines.files import replace_file
from engines.images import list_images

HELP = "judge recorded frames at full speed, and compare with an earlier run"
EXIT_CHANGED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="station file")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="recorded frames; folders below it are taken too")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write one JSON line a frame there")
    parser.add_argument("--expect", type=Path, metavar="FILE", help="results of an earlier run; exit 1 if any differs")


def run(arguments: argparse.Namespace) -> int:
    station = load_station(arguments.config)
    count = len(list_images(arguments.folder, recursive=True))
    expected = read_results(arguments.expect) if arguments.expect else None
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edge-agent-replay-") as scratch:
        frames = replay(station, arguments.folder, Path(scratch) / "outbox.db")
        lines = [frame.line for frame in track(frames, label="replaying", total=count)]
    seconds = time.monotonic() - began
    if arguments.results:
        replace_file(arguments.results, "".join(f"{json.dumps(line)}\n" for line in lines).encode())
    verdicts = Counter(line["verdict"] for line in lines)
    counted = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in ("PASS", "FAIL", "INVALID"))
    print(f"{len(lines)} frames in {seconds:.1f} s: {counted}.")
    _explain_invalid(lines)
    if expected is None:
        return 0
    changes = compare(lines, expected)
    for change in changes:
        print(change)
    if changes:
        print(
            f"{len(changes)} frames differ from the expected run. If that was intended, write the expected results again.",
            file=sys.stderr,
        )
        return EXIT_CHANGED
    print("No verdict and no mask changed.")
    return 0


def _explain_invalid(lines: list[dict[str, Any]]) -> None:
    first = {reason: line["source"] for line in reversed(lines) for reason in line["reasons"]}
    counts = Counter(reason for line in lines for reason in line["reasons"])
    for reason, count in counts.most_common():
        print(f"  {count} x {reason}: {REASONS.get(reason, '')} (first: {first[reason]})")
