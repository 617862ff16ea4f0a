"""JSON and arrays that may hold anything: whatever is wrong with them is a ValueError, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def parse_json(text: str | bytes, *, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Parse JSON as `json.loads` does.

    Raises:
        ValueError: It is not JSON, or is nested more deeply than Python can follow.
    """
    try:
        return json.loads(text, parse_constant=parse_constant)
    except RecursionError as problem:
        raise ValueError("it is nested too deeply") from problem


def read_array(path: Path) -> npt.NDArray[Any]:
    """Read an array from a `.npy` file, newly allocated.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no array, less than it claims, or Python objects.
    """
    try:
        with path.open("rb") as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except OSError:
        raise
    except Exception as problem:
        # NumPy reads the first line as Python, and whatever its parser raises comes through.
        raise ValueError(f"it holds no array: {problem}") from problem
