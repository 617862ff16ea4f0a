"""Which error maps to sum and how far to smooth them: what best tells synthetic defects from good frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from engines.auroc import auroc
from engines.command_line import track
from engines.images import Frame
from engines.moments import RunningMoments
from engines.runtime import Maps
from engines.synthetic_defects import add_defect
from engines.tiling import Tiling

BOXES = (5, 11, 21)
# The largest first: three kinds of map are the safest, for defects that nobody has thought of. SSIM knows how noisy the
# surface is; `l2` sees only how far off a value is, and on a rough surface its largest values drown the other maps.
CANDIDATES = (
    ("ssim", "msgms", "learned"),
    ("l2", "msgms", "learned"),
    ("ssim", "msgms"),
    ("l2", "msgms"),
    ("learned",),
)
_WORTH_IT = 0.01
_COPIES_OF_A_FRAME = 8
_MOST_FRAMES = 40
# A tenth of what is not set aside is tuning.
_TRAINED_FOR_ONE = 9
_PIXELS_OF_A_FRAME = 200
_LEAST_CHANGE_CODES = 4
_LEAST_CHANGE_SHARE = 0.25

MapsOf = Callable[[Frame], Iterator[Maps]]
_Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MapChoice:
    """The chosen maps and box, and how well each candidate told defects from good frames.

    Attributes:
        errors: Names of the error maps that are summed.
        box_map_px: Side of the smoothing box in map pixels.
        quality: By candidate, such as `l2+msgms 11`: the mean of two AUROCs, of whole frames by the largest z and of
            defective pixels by their z.
    """

    errors: list[str]
    box_map_px: int
    quality: dict[str, float]


def choose_maps(
    maps_of: MapsOf,
    names: Sequence[str],
    candidates: Sequence[Sequence[str]],
    *,
    trained: Frame,
    tuning: Frame,
    seed: int,
    tiling: Tiling | None = None,
) -> MapChoice:
    """Choose among sets of error maps and boxes of 5, 11 and 21 by defects drawn on frames not trained on.

    Args:
        maps_of: Gives the maps without box, (K, h, w) float32 each, of frames at map size, in order.
        names: Names of these K maps.
        candidates: Sets of names, the largest first: a smaller one must be better by 0.01.
        trained: Frames that trained the network, (n, h, w, C') uint8: what each pixel does on good parts.
        tuning: Frames that did not, (m, h, w, C') uint8, neither set aside.
        seed: Fixes the defects.
        tiling: Tiles are for small defects: each is drawn inside one, and as large as if that were the frame.
    """
    options = [_Option(list(candidate), box) for candidate in candidates for box in BOXES]
    random = np.random.default_rng((seed, len(tuning)))
    frames = tuning[:_MOST_FRAMES]
    limits_of = _limits(maps_of, trained, frames)
    for index, frame in enumerate(track(frames, label="choosing maps", total=len(frames))):
        limits = limits_of[index % 2]
        copies = [_with_defect(frame, (seed, index, copy), tiling) for copy in range(_COPIES_OF_A_FRAME)]
        both = np.stack([frame, *copies])
        for shown, maps in zip(both, maps_of(both), strict=True):
            z = {box: (smooth(maps, box) - location) / scale for box, (location, scale) in limits.items()}
            for option in options:
                planes = [names.index(name) for name in option.errors]
                option.add(z[option.box_map_px][planes].sum(axis=0), _changed(frame, shown), random)
    quality = {option.label: option.quality() for option in options}
    best = options[0]
    for option in options[1:]:
        margin = _WORTH_IT if len(option.errors) < len(best.errors) else 0.0
        if quality[option.label] > quality[best.label] + margin:
            best = option
    return MapChoice(best.errors, best.box_map_px, quality)


def smooth(maps: Maps, box: int) -> Maps:
    """Average (K, h, w) float32 maps over a box; at the border over the pixels that exist. Newly allocated."""
    height, width = maps.shape[1:]
    pixels = cv2.boxFilter(
        np.ones((height, width), np.float32), -1, (box, box), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    return np.stack(
        [cv2.boxFilter(m, -1, (box, box), normalize=False, borderType=cv2.BORDER_CONSTANT) / pixels for m in maps]
    )


class _Option:
    """One candidate, and what it makes of good and of defective frames and pixels."""

    def __init__(self, errors: list[str], box_map_px: int) -> None:
        self.errors, self.box_map_px = errors, box_map_px
        self.label = f"{'+'.join(errors)} {box_map_px}"
        self._scores: dict[bool, list[_Values]] = {False: [], True: []}
        self._pixels: dict[bool, list[_Values]] = {False: [], True: []}

    def add(self, z: _Values, defective: npt.NDArray[np.bool_], random: np.random.Generator) -> None:
        self._scores[bool(defective.any())].append(z.max(keepdims=True).reshape(1))
        for bad in (False, True):
            values = z[defective == bad]
            if values.size:
                self._pixels[bad].append(values[random.integers(values.size, size=_PIXELS_OF_A_FRAME)])

    def quality(self) -> float:
        return 0.5 * (_auroc(self._scores) + _auroc(self._pixels))


def _limits(maps_of: MapsOf, trained: Frame, tuning: Frame) -> list[dict[int, tuple[Maps, Maps]]]:
    """Return location and scale for each box, first those for the even tuning frames, then those for the odd ones.

    They rest on trained frames and on the tuning frames of the other half, in the proportion in which a fit has them.
    Of trained ones alone they would be too small: a network knows the frames that trained it, and the longer it trained
    the better, so that the maps of all others would stick out.
    """
    known = trained[: _TRAINED_FOR_ONE * (len(tuning) + 1) // 2]
    maps = track(maps_of(known), label="usual errors", total=len(known))
    shared = _add({box: RunningMoments() for box in BOXES}, maps)
    halves = [_add(deepcopy(shared), maps_of(tuning[first::2])) for first in (1, 0)]
    return [{box: moments.location_and_scale() for box, moments in half.items()} for half in halves]


def _add(moments: dict[int, RunningMoments], maps: Iterator[Maps]) -> dict[int, RunningMoments]:
    for each in maps:
        for box, of_box in moments.items():
            of_box.add(smooth(each, box))
    return moments


def _with_defect(frame: Frame, seed: tuple[int, ...], tiling: Tiling | None) -> Frame:
    if tiling is None or tiling.count == 1:
        return add_defect(frame, seed)
    window = tiling.windows[np.random.default_rng((*seed, tiling.count)).integers(tiling.count)]
    result = frame.copy()
    result[window] = add_defect(frame[window], seed)
    return result


def _changed(frame: Frame, shown: Frame) -> npt.NDArray[np.bool_]:
    """Return where a defect was drawn, (h, w) bool."""
    change = np.abs(shown.astype(np.int16) - frame).mean(axis=2)
    return np.asarray(change > max(_LEAST_CHANGE_CODES, _LEAST_CHANGE_SHARE * change.max()))


def _auroc(values: dict[bool, list[_Values]]) -> float:
    if not values[True]:
        return 0.5
    good, bad = (np.concatenate(values[which]) for which in (False, True))
    return auroc(good, bad)
