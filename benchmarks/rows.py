"""Rows of a measurement, one JSON object a line: written once, as a whole, and found again by what was asked."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
_DIGITS = 6


def read_rows(path: Path) -> list[Row]:
    """Return the rows in the order of writing; none where there is no file.

    A line that a crash cut off is no row: what it measured is measured again.
    """
    if not path.is_file():
        return []
    found = (_read(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [row for row in found if row is not None]


def append_row(path: Path, row: Row) -> None:
    """Add a row and wait until it is on the disk; what other programs added meanwhile stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(rounded(row), allow_nan=False) + "\n"
    with path.open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def key_of(row: Row, names: Sequence[str]) -> str:
    """Return what tells this row from others: the named entries, as text."""
    return json.dumps({name: row[name] for name in names}, sort_keys=True)


def latest(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Return the last row of each key, in the order of their first ones."""
    return list({key_of(row, names): row for row in rows}.values())


def rounded(value: Any) -> Any:
    """Return a copy in which every number has at most six digits that count."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.{_DIGITS}g}")
    return value


def _read(line: str) -> Row | None:
    try:
        row: Row = json.loads(line)
    except ValueError:
        return None
    return row
