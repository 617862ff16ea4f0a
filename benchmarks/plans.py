"""What is to be trained and measured in a study. Nothing here imports torch: see `engines.processor`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rows import Row

from engines.objectives import DEFAULT_OBJECTIVE

if TYPE_CHECKING:
    from engines.objective import Objective

KEY = ("dataset", "lesson", "measurement", "size", "steps", "seed")


@dataclass(frozen=True)
class Lesson:
    """What one network is taught.

    Attributes:
        name: What tells it from the others.
        objective: Name of the objective, or of the one that `kind` varies.
        kind: The objective's class, where it is none of the registry.
        width: Channels of the first level; None takes the default of `edge-engines train`.
        grey: The frames are shown without colour.
    """

    name: str
    objective: str = DEFAULT_OBJECTIVE
    kind: type[Objective] | None = None
    width: int | None = None
    grey: bool = False


@dataclass(frozen=True)
class Measurement:
    """How a trained network is turned into verdicts.

    Attributes:
        name: What tells it from the others.
        errors: Names of the error maps; None leaves the choice to synthetic defects, as `edge-engines train` does.
        box_map_px: Side of the smoothing box; None leaves the choice to synthetic defects.
        floor_share: Floor of the scale as a share of its mean; None leaves the product's.
        like: Network and measurement whose maps and box are taken.
    """

    name: str
    errors: Sequence[str] | None = None
    box_map_px: int | None = None
    floor_share: float | None = None
    like: tuple[str, str] | None = None


Plan = Sequence[tuple[Lesson, Sequence[Measurement]]]


@dataclass(frozen=True)
class Study:
    """A program that measures many variants.

    Attributes:
        name: Of the program, of its rows and of its page.
        title: Of the page.
        plan: Gives all networks, and what is measured of each; torch may be imported then, not before.
        candidates: Sets of error maps among which boxes are chosen; None takes those of `edge-engines train`.
        tables: Makes Markdown of the rows.
    """

    name: str
    title: str
    plan: Callable[[], Plan]
    candidates: Sequence[Sequence[str]] | None
    tables: Callable[[Sequence[Row]], str]
