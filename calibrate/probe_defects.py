"""Defects of known kind, size and contrast, drawn on good frames to see what the thresholds catch.

A generator of its own: neither training's corruptions nor the synthetic defects that choose its settings share a shape
with it, so that the card does not show what the network has practised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.inspection import Mask
from engines.images import Frame

Kind = Literal["spot", "scratch", "smudge"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_MIDDLE_CODE = 128
# A coordinate's fraction bits in OpenCV's drawing.
_SHIFT = 4
_SCRATCH_SLENDERNESS = 10


@dataclass(frozen=True)
class Probe:
    """One defect.

    Attributes:
        kind: `spot`: a disc with a clear edge; `scratch`: a straight line a tenth as wide as long; `smudge`: a soft spot.
        size_px: Diameter or length in camera pixels.
        contrast: By how many of the 255 codes its middle differs from what it covers.
        middle_px: (x, y) in camera pixels.
        angle: Of a scratch, in radians.
    """

    kind: Kind
    size_px: float
    contrast: float
    middle_px: tuple[float, float]
    angle: float


def draw_probe(frame: Frame, probe: Probe) -> tuple[Frame, Mask]:
    """Return a copy of a frame with the defect, and where it is, (H, W) bool.

    It darkens what is bright and lightens what is dark, so that its contrast is not cut off.

    Args:
        frame: (H, W, C) uint8; read only.
        probe: What to draw.
    """
    weight = _weight(frame.shape[:2], probe)
    covered = weight >= 0.5 * weight.max()
    sign = -1.0 if frame[covered].mean() >= _MIDDLE_CODE else 1.0
    changed = frame + (sign * probe.contrast) * weight[:, :, np.newaxis]
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8), covered


def _weight(shape: tuple[int, int], probe: Probe) -> npt.NDArray[np.float32]:
    """Return how much of the defect each pixel shows, (H, W) float32 in [0, 1]; its middle shows all of it."""
    x, y = probe.middle_px
    weight = np.zeros(shape, np.float32)
    if probe.kind == "smudge":
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        # At half the diameter a third is left.
        spread = (probe.size_px / 2) ** 2 / np.log(3)
        soft = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / spread)
        return np.asarray(soft / soft.max(), np.float32)
    scale = 1 << _SHIFT
    if probe.kind == "spot":
        centre, radius = (round(x * scale), round(y * scale)), round(probe.size_px / 2 * scale)
        cv2.circle(weight, centre, radius, 1.0, -1, cv2.LINE_AA, _SHIFT)
    else:
        reach = np.array([np.cos(probe.angle), np.sin(probe.angle)]) * probe.size_px / 2
        ends = [tuple(np.rint((np.array([x, y]) + side * reach) * scale).astype(int).tolist()) for side in (-1, 1)]
        width = max(1, round(probe.size_px / _SCRATCH_SLENDERNESS))
        cv2.line(weight, ends[0], ends[1], 1.0, width, cv2.LINE_AA, _SHIFT)
    if weight.max() <= 0:
        # Smaller than a pixel: one pixel shows it.
        weight[min(shape[0] - 1, int(y)), min(shape[1] - 1, int(x))] = 1.0
    return weight
