"""The variants of the ablation: each differs in one thing from the usual training, or from its usual measurement."""

from __future__ import annotations

from collections.abc import Collection

from plans import Lesson, Measurement

from engines.core_inputs import CORE_INPUTS
from engines.corruptions import CLEAN_SHARE, Corruptor
from engines.corruptions.kinds import KINDS, Kind
from engines.error_maps import LEARNED
from engines.objective import Objective, Pair
from engines.objectives import DEFAULT_OBJECTIVE, objective_named

USUAL_LESSON = Lesson(DEFAULT_OBJECTIVE)
CHOSEN = Measurement("as train chooses")
USUAL = (USUAL_LESSON.name, CHOSEN.name)
# Without this, a change of the maps or the box that were chosen would hide what the ingredient is worth.
SAME = Measurement("with the usual maps and box", like=USUAL)
MAPS = (("l2",), ("msgms",), (LEARNED,), ("l2", "msgms"), ("l2", "msgms", LEARNED))
BOXES = (1, 5, 11, 21)
FLOORS = (0.0, 1.0)
WIDTHS = (16, 48)
CLEAN_SHARES = (0.0, 1.0)

Variants = dict[str, list[tuple[Lesson, Measurement]]]


def plan() -> list[tuple[Lesson, list[Measurement]]]:
    """Return every network once, with all that is measured of it, the usual one first."""
    found: dict[str, tuple[Lesson, list[Measurement]]] = {}
    for lesson, measurement in [pair for pairs in _VARIANTS.values() for pair in pairs]:
        measurements = found.setdefault(lesson.name, (lesson, []))[1]
        measurements += [measurement] if lesson is USUAL_LESSON else [measurement, SAME]
    return list(found.values())


def _variants() -> Variants:
    bold, faint = ([name for name, kind in KINDS.items() if _is_bold(kind) == wanted] for wanted in (True, False))
    kept: dict[str, Collection[str]] = {f"without {name}": KINDS.keys() - {name} for name in KINDS}
    kept |= {"bold ones only": bold, "faint ones only": faint}
    seen_by_default = objective_named(DEFAULT_OBJECTIVE).core_input
    return {
        "The usual training": [(USUAL_LESSON, CHOSEN)],
        "Corruptions": [(Lesson(name, kind=_corrupted(names)), CHOSEN) for name, names in kept.items()],
        "Share of frames that stay clean": [
            (Lesson(f"{share:g} clean", kind=_corrupted(KINDS, clean_share=share)), CHOSEN) for share in CLEAN_SHARES
        ],
        "What the core sees": [
            (Lesson(f"sees {name}", kind=_seeing(name)), CHOSEN) for name in CORE_INPUTS if name != seen_by_default
        ],
        "Colour": [(Lesson("grey frames", grey=True), CHOSEN)],
        "Width": [(Lesson(f"width {width}", width=width), CHOSEN) for width in WIDTHS],
        "Error maps and head": [(USUAL_LESSON, Measurement("+".join(errors), errors)) for errors in MAPS],
        "Smoothing box": [(USUAL_LESSON, Measurement(f"box {box}", box_map_px=box)) for box in BOXES],
        "Floor of the scale": [(USUAL_LESSON, Measurement(f"floor {share:g}", floor_share=share)) for share in FLOORS],
    }


def _is_bold(kind: Kind) -> bool:
    return kind.corrupt.__module__.endswith(".bold")


def _corrupted(names: Collection[str], *, clean_share: float = CLEAN_SHARE) -> type[Objective]:
    """Return the usual objective with other corruptions; their shares keep the proportions that they have."""
    kinds = [kind for name, kind in KINDS.items() if name in names]

    class Varied(objective_named(DEFAULT_OBJECTIVE)):  # type: ignore[misc]
        def pair(self, corruptor: Corruptor, seed: tuple[int, ...], count: int) -> Pair:
            pair: Pair = super().pair(corruptor.varied(kinds=kinds, clean_share=clean_share), seed, count)
            return pair

    return Varied


def _seeing(core_input: str) -> type[Objective]:
    return type(f"Seeing_{core_input}", (objective_named(DEFAULT_OBJECTIVE),), {"core_input": core_input})


_VARIANTS = _variants()
GROUPS = {(lesson.name, measurement.name): group for group, pairs in _VARIANTS.items() for lesson, measurement in pairs}
