"""The list of looks at test sets: whoever chooses by them fools himself, so each one leaves a line."""

from __future__ import annotations

import os
from pathlib import Path

from generated import number

_HEADER = """# Looks at test sets

Settings are chosen on splits of `train/good` with synthetic defects, never on a `test/`. So that this can be checked,
every evaluation on a real data set is a line here. `benchmarks/detection.py` writes it as soon as it has seen the
figures; who evaluates by hand adds one by hand. DATA is the folder of the data sets.

| date | commit | data set | command | image AUROC |
|---|---|---|---|---|
"""


def note_look(path: Path, *, day: str, commit: str, dataset: str, command: str, image_auroc: float | None) -> None:
    """Add a line and wait until it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        path.write_text(_HEADER, encoding="utf-8")
    line = f"| {day} | {commit} | {dataset} | `{command}` | {number(image_auroc)} |\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
