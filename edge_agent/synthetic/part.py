"""The synthetic part: one call gives one frame with its truth, the same for the same seed and index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.synthetic.defects import DEFECT_KINDS, Defect, add_defect
from edge_agent.synthetic.imaging import Pose, Surface, expose, reflectance
from edge_agent.synthetic.plate import Drawing, Plate, within_tolerance
from engines.images import Frame

GOOD = "good"
_SURFACE, _PART, _IMAGE = range(3)
_MASK_LIMIT = 0.3


@dataclass(frozen=True)
class Truth:
    """What a frame shows: `good` or the kind of defect, where it is, (H, W) bool, and how plain, in [0, 1]."""

    label: str
    mask: npt.NDArray[np.bool_]
    strength: float


@dataclass(frozen=True)
class Scene(Truth):
    """A frame, (H, W, C) uint8, C-contiguous, with its truth; both newly allocated."""

    frame: Frame


class SyntheticPart:
    """A metal plate as a camera over a fixture sees it: light, position, blur and noise differ from frame to frame.

    Every seed shows the same part number, so frames of one seed can train a recipe and those of another test it.
    """

    def __init__(
        self,
        seed: int = 1,
        size_wh: tuple[int, int] = (256, 256),
        channels: int = 3,
        defect_share: float = 0.0,
        kinds: Sequence[str] = DEFECT_KINDS,
    ) -> None:
        """Prepare the surfaces.

        Args:
            seed: At least 0.
            size_wh: Frame width and height, px.
            channels: 1 (grey), 3 (BGR) or 4 (BGRx).
            defect_share: Share of the frames that have a defect, in [0, 1]; each has one.
            kinds: Which of `DEFECT_KINDS` there are.
        """
        self._seed = seed
        self._plate = Plate(size_wh)
        self._channels = channels
        self._defect_share = defect_share
        self._kinds = tuple(kinds)
        self._surface = Surface(self._plate, np.random.default_rng((seed, _SURFACE)))

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every frame."""
        width, height = self._plate.size_wh
        return height, width, self._channels

    def render(self, index: int) -> Scene:
        """Draw a frame; the same index gives the same pixels."""
        drawing, pose, defect, truth = self._part(index)
        random = np.random.default_rng((self._seed, _IMAGE, index))
        scene = reflectance(defect.drawing if defect else drawing, self._plate, self._surface, pose, random)
        frame = expose(scene, defect, pose, (self._plate, self._channels), random)
        return Scene(truth.label, truth.mask, truth.strength, frame)

    def truth(self, index: int) -> Truth:
        """Return what `render` would show, without drawing it."""
        return self._part(index)[3]

    def _part(self, index: int) -> tuple[Drawing, Pose, Defect | None, Truth]:
        random = np.random.default_rng((self._seed, _PART, index))
        drawing, pose = within_tolerance(random), Pose.draw(random)
        if random.random() >= self._defect_share or not self._kinds:
            nothing = np.zeros(self._plate.size_wh[::-1], np.bool_)
            return drawing, pose, None, Truth(GOOD, nothing, 0.0)
        kind, strength = str(random.choice(self._kinds)), float(random.random())
        defect = add_defect(kind, strength, drawing, self._plate, random)
        mask = pose.move(defect.mask, self._plate)
        return drawing, pose, defect, Truth(kind, mask >= max(_MASK_LIMIT * float(mask.max()), 1e-6), strength)
