"""Defects of the synthetic part, each from barely visible (strength 0) to plain (strength 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.synthetic.plate import BODY, Drawing, Plane, Plate

DEFECT_KINDS = ("scratch", "stain", "missing", "displaced")
_CHAMFER = 1.5
_TRIES, _CLEAR, _SMALLEST_PX = 20, 0.5, 25


@dataclass(frozen=True)
class Defect:
    """What one defect changes.

    `drawing` replaces the part's. `gain` is (H, W) float32, what reflected light is multiplied with (1 where nothing
    is), and `tint` the share of that which is a colour, brown. `mask` is (H, W) float32 in [0, 1], where the defect is.
    All are newly allocated and without the part's shift and rotation.
    """

    drawing: Drawing
    mask: Plane
    gain: Plane | None = None
    tint: float = 0.0


def add_defect(kind: str, strength: float, drawing: Drawing, plate: Plate, random: np.random.Generator) -> Defect:
    """Return what a defect of this kind and strength does to a part."""
    match kind:
        case "scratch":
            return _scratch(strength, drawing, plate, random)
        case "stain":
            return _stain(strength, drawing, plate, random)
        case "missing":
            return _missing(strength, drawing, plate, random)
        case "displaced":
            return _displaced(strength, drawing, plate, random)
        case _:
            raise ValueError(f"Defect '{kind}' is unknown; use one of {', '.join(DEFECT_KINDS)}.")


def _scratch(strength: float, drawing: Drawing, plate: Plate, random: np.random.Generator) -> Defect:
    width = max(1, round(random.uniform(0.7, 2.2) * plate.scale))
    line = _visible(lambda: _on_metal(_line(width, plate, random), drawing, plate))
    # The groove throws light to one side: a bright line beside a dark one.
    depth = (0.05 + 0.55 * strength) * random.choice((-1.0, 1.0), p=(0.35, 0.65))
    shadow = np.roll(line, (width, width), (0, 1))
    gain = 1 + np.float32(depth) * line - np.float32(0.4 * depth) * shadow
    return Defect(drawing, line, gain)


def _line(width_px: int, plate: Plate, random: np.random.Generator) -> Plane:
    left, top, right, bottom = BODY
    length = random.uniform(18.0, 70.0)
    angle, bend = random.uniform(0.0, np.pi), random.normal(0.0, 0.35)
    along = np.linspace(-0.5, 0.5, 12)
    xs = random.uniform(left + 25, right - 25) + length * along * np.cos(angle + bend * along)
    ys = random.uniform(top + 25, bottom - 25) + length * along * np.sin(angle + bend * along)
    points = np.array([plate.fixed(x, y) for x, y in zip(xs, ys, strict=True)], np.int32)
    canvas = np.zeros(plate.size_wh[::-1], np.uint8)
    cv2.polylines(canvas, [points], False, 255, width_px, cv2.LINE_AA, 6)  # noqa: FBT003
    return _plane(canvas)


def _stain(strength: float, drawing: Drawing, plate: Plate, random: np.random.Generator) -> Defect:
    blot = _visible(lambda: _on_metal(_blot(plate, random), drawing, plate))
    gain = 1 - np.float32(0.04 + 0.4 * strength) * blot
    return Defect(drawing, blot, gain, tint=random.uniform(0.2, 0.8))


def _blot(plate: Plate, random: np.random.Generator) -> Plane:
    left, top, right, bottom = BODY
    centre = random.uniform(left + 28, right - 28), random.uniform(top + 28, bottom - 28)
    around = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    rim = np.ones_like(around)
    for wave in range(2, 6):
        rim += random.normal(0, 0.35 / wave) * np.cos(wave * around + random.uniform(0, 2 * np.pi))
    radius = random.uniform(6.0, 17.0)
    xs = centre[0] + radius * rim * np.cos(around) * random.uniform(0.7, 1.3)
    ys = centre[1] + radius * rim * np.sin(around)
    canvas = np.zeros(plate.size_wh[::-1], np.uint8)
    points = np.array([plate.fixed(x, y) for x, y in zip(xs, ys, strict=True)], np.int32)
    cv2.fillPoly(canvas, [points], 255, cv2.LINE_AA, 6)
    return _plane(cv2.GaussianBlur(canvas, (0, 0), random.uniform(0.8, 2.5) * plate.scale))


def _missing(strength: float, drawing: Drawing, plate: Plate, random: np.random.Generator) -> Defect:
    """A hole that was not drilled, or, when faint, with too small a drill."""
    chosen = int(random.integers(len(drawing.bores)))
    bore = drawing.bores[chosen]
    left_over = max(0.0, 0.93 - 1.1 * strength)
    changed = replace(bore, radius=bore.radius * left_over)
    return _changed_feature(drawing, _with_bore(drawing, chosen, changed.radius, bore.x, bore.y), plate)


def _displaced(strength: float, drawing: Drawing, plate: Plate, random: np.random.Generator) -> Defect:
    distance, angle = 0.9 + 7.0 * strength, random.uniform(0, 2 * np.pi)
    dx, dy = distance * np.cos(angle), distance * np.sin(angle)
    chosen = int(random.integers(len(drawing.bores) + 2))
    if chosen < len(drawing.bores):
        bore = drawing.bores[chosen]
        moved = _with_bore(drawing, chosen, bore.radius, bore.x + dx, bore.y + dy)
    elif chosen == len(drawing.bores):
        moved = replace(drawing, slot=replace(drawing.slot, x=drawing.slot.x + dx, y=drawing.slot.y + dy))
    else:
        moved = replace(drawing, mark_xy=(drawing.mark_xy[0] + dx, drawing.mark_xy[1] + dy))
    return _changed_feature(drawing, moved, plate)


def _with_bore(drawing: Drawing, index: int, radius: float, x: float, y: float) -> Drawing:
    bore = replace(drawing.bores[index], radius=radius, x=x, y=y)
    return replace(drawing, bores=(*drawing.bores[:index], bore, *drawing.bores[index + 1 :]))


def _changed_feature(before: Drawing, after: Drawing, plate: Plate) -> Defect:
    holes = np.abs(plate.holes(before, _CHAMFER) - plate.holes(after, _CHAMFER))
    marks = np.abs(plate.mark(before) - plate.mark(after))
    return Defect(after, np.maximum(holes, marks))


def _visible(draw: Callable[[], Plane]) -> Plane:
    """Draw until it does not vanish in a hole; the last try stands."""
    for _ in range(_TRIES):
        plane = draw()
        if np.count_nonzero(plane > _CLEAR) >= _SMALLEST_PX:
            break
    return plane


def _on_metal(plane: Plane, drawing: Drawing, plate: Plate) -> Plane:
    return plane * plate.body() * (1 - plate.holes(drawing, _CHAMFER))


def _plane(canvas: npt.NDArray[Any]) -> Plane:
    return canvas.astype(np.float32) * np.float32(1 / 255)
