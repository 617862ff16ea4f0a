"""A contact sheet of the corruptions: what each kind does to good frames, as training does it."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from engines.corruptions import Corruptor
from engines.corruptions.kinds import KINDS, Kind
from engines.corruptions.masks import Random
from engines.images import Frame

_FEWEST_EXAMPLES, _MOST_EXAMPLES = 2, 6
# A faint corruption is a few codes: it must be seen.
_GAIN = 3
_CELL_SIDE_PX, _SHEET_WIDTH_PX = 150, 1900
_LABEL_WIDTH_PX, _HEADER_HEIGHT_PX = 130, 30
_GAP_PX, _EXAMPLE_GAP_PX = 4, 16
_PAPER, _INK, _FAINT = (32, 32, 32), (240, 240, 240), (170, 170, 170)
_TEXTS = ("good", "corrupted", f"difference x{_GAIN}")

_Corrupt = Callable[[Frame, Random], Frame]


def draw_sheet(pictures: Frame, *, rotates: bool, seed: int) -> Frame:
    """Draw one row for each kind of corruption, and one for the mixture that training uses.

    Args:
        pictures: Good frames at map size, (n, h, w, C') uint8; read only.
        rotates: The part lies at any angle.
        seed: The same number gives the same sheet.

    Returns:
        (H, W, 3) uint8, newly allocated: in each row some times a good frame, the corrupted one, the difference.
    """
    corruptor = Corruptor(pictures, rotates=rotates)
    rows = {name: (f"{kind.share:.0%} of all", _alone(kind, corruptor)) for name, kind in KINDS.items()}
    rows["as trained"] = ("1 to 3 defects", corruptor.corrupt)
    examples = _examples_beside(pictures.shape[1:3])
    strips = [_header(pictures.shape[1:3], examples)]
    for number, (name, (remark, corrupt)) in enumerate(rows.items()):
        shown = []
        for example in range(examples):
            random = np.random.default_rng((seed, number, example))
            picture = corruptor.pick(random)
            shown.append(_example(picture, corrupt(picture, random)))
        strips.append(_row(_label(name, remark, shown[0].shape[0]), shown))
    return np.concatenate(strips)


def _alone(kind: Kind, corruptor: Corruptor) -> _Corrupt:
    def corrupt(picture: Frame, random: Random) -> Frame:
        return kind.corrupt(picture, random, corruptor.pick)

    return corrupt


def _examples_beside(map_shape: tuple[int, ...]) -> int:
    return min(_MOST_EXAMPLES, max(_FEWEST_EXAMPLES, _SHEET_WIDTH_PX // (3 * _cell_shape(map_shape)[1])))


def _example(picture: Frame, corrupted: Frame) -> Frame:
    difference = cv2.absdiff(picture, corrupted).reshape(picture.shape).max(axis=2)
    heat = cv2.applyColorMap(cv2.convertScaleAbs(difference, alpha=_GAIN), cv2.COLORMAP_INFERNO)
    return _beside([_cell(picture), _cell(corrupted), _cell(np.asarray(heat, np.uint8))], _GAP_PX)


def _cell(picture: Frame) -> Frame:
    height, width = _cell_shape(picture.shape[:2])
    shown = picture if picture.shape[2] == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    method = cv2.INTER_AREA if height < picture.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(shown, (width, height), interpolation=method), np.uint8)


def _cell_shape(map_shape: tuple[int, ...]) -> tuple[int, int]:
    scale = _CELL_SIDE_PX / math.sqrt(map_shape[0] * map_shape[1])
    return max(1, round(map_shape[0] * scale)), max(1, round(map_shape[1] * scale))


def _header(map_shape: tuple[int, ...], examples: int) -> Frame:
    _, width = _cell_shape(map_shape)
    cells = []
    for text in _TEXTS:
        cell = _paper(_HEADER_HEIGHT_PX, width)
        _write(cell, text, 20, _FAINT, 0.42)
        cells.append(cell)
    return _row(_paper(_HEADER_HEIGHT_PX, _LABEL_WIDTH_PX), [_beside(cells, _GAP_PX)] * examples)


def _label(name: str, remark: str, height: int) -> Frame:
    label = _paper(height, _LABEL_WIDTH_PX)
    _write(label, name, height // 2, _INK, 0.6)
    _write(label, remark, height // 2 + 20, _FAINT, 0.42)
    return label


def _row(label: Frame, examples: list[Frame]) -> Frame:
    row = _beside([label, *examples, _paper(label.shape[0], 0)], _EXAMPLE_GAP_PX)
    return np.concatenate([row, _paper(_GAP_PX, row.shape[1])])


def _beside(pictures: list[Frame], gap: int) -> Frame:
    between = _paper(pictures[0].shape[0], gap)
    parts = [part for picture in pictures for part in (between, picture)]
    return np.concatenate(parts[1:], axis=1)


def _paper(height: int, width: int) -> Frame:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _write(picture: Frame, text: str, baseline: int, colour: tuple[int, int, int], scale: float) -> None:
    cv2.putText(picture, text, (10, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
