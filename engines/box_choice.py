"""The side of the smoothing box: the one that best tells synthetic defects from good frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from engines.images import Frame
from engines.moments import RunningMoments
from engines.runtime import Maps
from engines.synthetic_defects import add_defect

BOXES = (5, 11, 21)
_COPIES_OF_A_FRAME = 8
_MOST_FRAMES = 40


@dataclass(frozen=True)
class BoxChoice:
    """The chosen side in map pixels, and the AUROC of each candidate."""

    box_map_px: int
    auroc: dict[int, float]


def choose_box(error_maps: Callable[[Frame], Iterator[Maps]], trained: Frame, tuning: Frame, *, seed: int) -> BoxChoice:
    """Choose among boxes of 5, 11 and 21 by defects drawn on frames that the network was not trained on.

    Args:
        error_maps: Maps without box, (K, h, w) float32 each, of frames at map size, in order.
        trained: Frames that trained the network, (n, h, w, C') uint8: what each pixel does on good parts.
        tuning: Frames that did not, (m, h, w, C') uint8, neither set aside.
        seed: Fixes the defects.
    """
    usual = {box: RunningMoments() for box in BOXES}
    for maps in error_maps(trained[:_MOST_FRAMES]):
        for box in BOXES:
            usual[box].add(smooth(maps, box))
    frames = tuning[:_MOST_FRAMES]
    defective = np.stack(
        [
            add_defect(frame, (seed, index, copy))
            for index, frame in enumerate(frames)
            for copy in range(_COPIES_OF_A_FRAME)
        ]
    )
    good = _scores(error_maps(frames), usual)
    bad = _scores(error_maps(defective), usual)
    auroc = {box: _auroc(good[box], bad[box]) for box in BOXES}
    # The smaller box where two are equal: it shows the defect's place better.
    best = max(BOXES, key=lambda box: (round(auroc[box], 4), -box))
    return BoxChoice(best, auroc)


def smooth(maps: Maps, box: int) -> Maps:
    """Average (K, h, w) float32 maps over a box; at the border over the pixels that exist. Newly allocated."""
    height, width = maps.shape[1:]
    pixels = cv2.boxFilter(
        np.ones((height, width), np.float32), -1, (box, box), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    return np.stack(
        [cv2.boxFilter(m, -1, (box, box), normalize=False, borderType=cv2.BORDER_CONSTANT) / pixels for m in maps]
    )


def _scores(maps_of_frames: Iterable[Maps], usual: dict[int, RunningMoments]) -> dict[int, list[float]]:
    limits = {box: usual[box].location_and_scale() for box in usual}
    scores: dict[int, list[float]] = {box: [] for box in usual}
    for maps in maps_of_frames:
        for box, (location, scale) in limits.items():
            scores[box].append(float(((smooth(maps, box) - location) / scale).sum(axis=0).max()))
    return scores


def _auroc(good: list[float], bad: list[float]) -> float:
    above = np.asarray(bad)[:, None] - np.asarray(good)[None, :]
    return float(((above > 0) + 0.5 * (above == 0)).mean())
