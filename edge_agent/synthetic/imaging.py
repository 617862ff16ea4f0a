"""How the part is seen: surface, light, position in the fixture, lens and sensor."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.synthetic.defects import Defect
from edge_agent.synthetic.plate import Drawing, Plane, Plate

_METAL, _INK, _FLOOR, _BENCH = 0.56, 0.16, 0.07, 0.13
_CHAMFER = 1.6
_FULL_WELL = 9000.0
_READ_NOISE = 1.1 / 255
_BENCH_SEED = 4071


@dataclass(frozen=True)
class Pose:
    """Where the part lies in the fixture: a shift in units of the drawing and a small rotation."""

    dx: float
    dy: float
    degrees: float

    @classmethod
    def draw(cls, random: np.random.Generator) -> Pose:
        """Return a position within the fixture's play."""
        dx, dy = np.clip(random.normal(0, 0.8, 2), -2, 2)
        return cls(float(dx), float(dy), float(np.clip(random.normal(0, 0.3), -0.8, 0.8)))

    def move(self, plane: npt.NDArray[np.float32], plate: Plate, outside: float = 0.0) -> npt.NDArray[np.float32]:
        """Return a picture of the drawing shifted and rotated, newly allocated."""
        width, height = plate.size_wh
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), self.degrees, 1.0)
        matrix = matrix + np.array(((0, 0, self.dx), (0, 0, self.dy))) * plate.scale
        moved = cv2.warpAffine(
            plane, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=outside
        )
        return np.asarray(moved, np.float32)


class Surface:
    """Brushed metal and the bench below it, larger than a frame, so that every part is cut from another place.

    Owns its planes; a cut is a copy.
    """

    def __init__(self, plate: Plate, random: np.random.Generator) -> None:
        width, height = plate.size_wh
        grain = random.standard_normal((2 * height, 2 * width), np.float32)
        strokes = cv2.GaussianBlur(grain, (0, 0), sigmaX=14 * plate.scale, sigmaY=0.55)
        self._brushed: Plane = (strokes / strokes.std()).astype(np.float32)
        same_for_all = np.random.default_rng(_BENCH_SEED)
        rough = cv2.GaussianBlur(same_for_all.standard_normal((height, width), np.float32), (0, 0), 1.4 * plate.scale)
        self._rough: Plane = (rough / rough.std()).astype(np.float32)
        self._size_wh = plate.size_wh

    def metal(self, random: np.random.Generator) -> Plane:
        """Return the reflectance of one part's face, (H, W) float32."""
        width, height = self._size_wh
        x, y = int(random.integers(width)), int(random.integers(height))
        depth = np.float32(random.uniform(0.014, 0.022))
        cut: Plane = self._brushed[y : y + height, x : x + width] * depth + np.float32(_METAL)
        return cut

    def bench(self) -> Plane:
        """Return the reflectance of the fixture, (H, W) float32, always the same."""
        bench: Plane = np.float32(_BENCH) + np.float32(0.012) * self._rough
        return bench


def reflectance(drawing: Drawing, plate: Plate, surface: Surface, pose: Pose, random: np.random.Generator) -> Plane:
    """Return the part in its fixture under even light, (H, W) float32, newly allocated."""
    body, holes, chamfer = plate.body(), plate.holes(drawing), plate.holes(drawing, _CHAMFER)
    height = body - 0.6 * chamfer - 0.4 * holes
    face = surface.metal(random)
    face += _relief(height, random)
    face += (_INK - face) * (plate.mark(drawing) * np.float32(random.uniform(0.78, 0.9)))
    face += (_FLOOR - face) * holes
    covered = pose.move(body, plate)
    bench = surface.bench()
    bench += (pose.move(face, plate) - bench) * covered
    return bench


def _relief(height: Plane, random: np.random.Generator) -> Plane:
    """Edges that face the lamp are bright, the others dark."""
    round_edge = cv2.GaussianBlur(height, (0, 0), 0.8)
    angle = np.deg2rad(random.normal(-125, 4))
    slope_x = cv2.Sobel(round_edge, cv2.CV_32F, 1, 0, ksize=3, scale=float(np.cos(angle)) * 0.11)
    slope_y = cv2.Sobel(round_edge, cv2.CV_32F, 0, 1, ksize=3, scale=float(np.sin(angle)) * 0.11)
    return np.asarray(slope_x + slope_y, np.float32)


def expose(
    scene: Plane, defect: Defect | None, pose: Pose, view: tuple[Plate, int], random: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Light the scene and take the picture; `view` is the plate and the number of channels.

    Returns:
        Frame, (H, W, C) uint8, C-contiguous, C = 1 (grey), 3 (BGR) or 4 (BGRx), newly allocated.
    """
    plate, channels = view
    lit = scene * _light(plate, random)
    colours = _colour_temperature(random) if channels > 1 else np.ones(1)
    sigma = random.uniform(0.35, 0.8) * max(plate.scale, 0.5)
    frame = np.full((*scene.shape, channels), 255, np.uint8)
    gain = None if defect is None or defect.gain is None else pose.move(defect.gain, plate, outside=1.0)
    for place, colour in enumerate(colours):
        plane = lit * np.float32(colour)
        if gain is not None and defect is not None:
            # Brown takes more from blue (0) than from red (2).
            plane *= gain ** np.float32(1 + defect.tint * (1 - place)) if channels > 1 else gain
        frame[:, :, place] = _sense(np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32), random)
    return frame


def _light(plate: Plate, random: np.random.Generator) -> Plane:
    width, height = plate.size_wh
    level = np.clip(random.normal(1.0, 0.045), 0.87, 1.13)
    tilt_x, tilt_y = random.normal(0, 0.035, 2)
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, np.newaxis]
    fall_off = np.float32(random.uniform(0.05, 0.09)) * (x * x + y * y)
    light: Plane = np.float32(level) * (1 + np.float32(tilt_x) * x + np.float32(tilt_y) * y - fall_off)
    return light


def _colour_temperature(random: np.random.Generator) -> npt.NDArray[np.float64]:
    warmth = random.normal(0, 0.015)
    return np.array([1.03 - warmth, 1.0, 0.97 + warmth])


def _sense(plane: Plane, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Shot noise grows with the root of the light, read noise does not."""
    noise = random.standard_normal(plane.shape, np.float32)
    noise *= np.sqrt(np.maximum(plane, 0) / np.float32(_FULL_WELL) + np.float32(_READ_NOISE**2))
    noise += plane
    noise *= np.float32(255)
    noise += np.float32(0.5)
    return np.clip(noise, 0, 255, out=noise).astype(np.uint8)
