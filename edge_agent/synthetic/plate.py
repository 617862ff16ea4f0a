"""The drawing of the part: a milled metal plate with bores, a slot, and a printed number.

All lengths are in units of the drawing, 256 x 256; `Plate` scales them to the frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]

# cv2 draws at fractions of a pixel when coordinates come with this many binary digits.
_SHIFT = 6
_UNIT = 1 << _SHIFT
DRAWING = 256.0
BODY = (30.0, 42.0, 226.0, 214.0)


@dataclass(frozen=True)
class Bore:
    """A drilled hole with a chamfer."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Slot:
    """A milled slot with round ends, from (x, y) to the right."""

    x: float
    y: float
    length: float
    radius: float


@dataclass(frozen=True)
class Drawing:
    """The features of one part; a good part has those of `GOOD_PART` within small tolerances."""

    bores: tuple[Bore, ...]
    slot: Slot
    mark_xy: tuple[float, float]


GOOD_PART = Drawing(
    bores=(
        Bore(54.0, 66.0, 9.0),
        Bore(202.0, 66.0, 9.0),
        Bore(54.0, 190.0, 9.0),
        Bore(202.0, 190.0, 9.0),
        Bore(86.0, 128.0, 21.0),
        Bore(132.0, 70.0, 4.5),
        Bore(160.0, 70.0, 4.5),
    ),
    slot=Slot(128.0, 152.0, 56.0, 7.5),
    mark_xy=(126.0, 116.0),
)


@dataclass(frozen=True)
class Plate:
    """Draws the part at one frame size.

    Planes are (H, W) float32 in [0, 1], newly allocated, without the part's shift and rotation.
    """

    size_wh: tuple[int, int]

    @property
    def scale(self) -> float:
        """Frame pixels per unit of length that is neither x nor y, such as a radius."""
        return min(self.size_wh) / DRAWING

    def body(self) -> Plane:
        """Return where the plate is, with rounded corners."""
        left, top, right, bottom = BODY
        canvas = self._canvas()
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        inset = 9.0
        points = []
        for (x, y), (dx, dy) in zip(corners, [(1, 1), (-1, 1), (-1, -1), (1, -1)], strict=True):
            points.append(self.fixed(x + dx * inset, y + dy * inset))
        cv2.fillPoly(canvas, [np.array(points, np.int32)], 255, cv2.LINE_AA, _SHIFT)
        thickness = max(1, round(2 * inset * self.scale))
        cv2.polylines(canvas, [np.array(points, np.int32)], True, 255, thickness, cv2.LINE_AA, _SHIFT)  # noqa: FBT003
        return _plane(canvas)

    def holes(self, drawing: Drawing, grow: float = 0.0) -> Plane:
        """Return where material was taken away; `grow` widens every edge, for a chamfer."""
        canvas = self._canvas()
        for bore in drawing.bores:
            self._disc(canvas, bore.x, bore.y, bore.radius + grow)
        self._stadium(canvas, drawing.slot, grow)
        return _plane(canvas)

    def mark(self, drawing: Drawing) -> Plane:
        """Return where the number and the arrow are printed."""
        canvas = self._canvas()
        x, y = drawing.mark_xy
        text, font, size = "AX-4071", cv2.FONT_HERSHEY_SIMPLEX, 0.52 * self.scale
        origin = round(x * self.size_wh[0] / DRAWING), round(y * self.size_wh[1] / DRAWING)
        cv2.putText(canvas, text, origin, font, size, 255, max(1, round(1.3 * self.scale)), cv2.LINE_AA)
        arrow = [(x - 52.0, y + 66.0), (x - 44.0, y + 50.0), (x - 36.0, y + 66.0)]
        points = np.array([self.fixed(px, py) for px, py in arrow], np.int32)
        cv2.fillPoly(canvas, [points], 255, cv2.LINE_AA, _SHIFT)
        return _plane(canvas)

    def fixed(self, x: float, y: float) -> tuple[int, int]:
        """Return a point of the drawing in cv2's fixed-point frame coordinates."""
        width, height = self.size_wh
        return round(x * width / DRAWING * _UNIT), round(y * height / DRAWING * _UNIT)

    def _canvas(self) -> npt.NDArray[np.uint8]:
        width, height = self.size_wh
        return np.zeros((height, width), np.uint8)

    def _disc(self, canvas: npt.NDArray[np.uint8], x: float, y: float, radius: float) -> None:
        if radius > 0:
            cv2.circle(canvas, self.fixed(x, y), round(radius * self.scale * _UNIT), 255, -1, cv2.LINE_AA, _SHIFT)

    def _stadium(self, canvas: npt.NDArray[np.uint8], slot: Slot, grow: float) -> None:
        radius = slot.radius + grow
        if radius <= 0:
            return
        ends = [(slot.x, slot.y), (slot.x + slot.length, slot.y)]
        for x, y in ends:
            self._disc(canvas, x, y, radius)
        upright = radius * min(self.size_wh) / self.size_wh[1]
        corners = [(x, y + side * upright) for side, row in ((-1, ends), (1, ends[::-1])) for x, y in row]
        points = np.array([self.fixed(x, y) for x, y in corners], np.int32)
        cv2.fillPoly(canvas, [points], 255, cv2.LINE_AA, _SHIFT)


def within_tolerance(random: np.random.Generator) -> Drawing:
    """Return the drawing of one good part: every feature is a little off, as a machine leaves it."""
    bores = []
    for bore in GOOD_PART.bores:
        dx, dy, dr = random.normal(0.0, (0.15, 0.15, 0.08))
        bores.append(Bore(bore.x + dx, bore.y + dy, bore.radius + dr))
    dx, dy = random.normal(0.0, 0.15, 2)
    slot = replace(GOOD_PART.slot, x=GOOD_PART.slot.x + dx, y=GOOD_PART.slot.y + dy)
    return replace(GOOD_PART, bores=tuple(bores), slot=slot)


def _plane(canvas: npt.NDArray[np.uint8]) -> Plane:
    return canvas.astype(np.float32) * np.float32(1 / 255)
