"""The defect mask on its way to the PLC: nearest scaling to camera pixels, COCO RLE or 1-bit PNG.

A mask is scaled as runs, never as pixels: the map's runs are found once and stretched, so that an ROI of a million
pixels costs no more than the map it came from.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge_agent.inspection import Mask
from engines.errors import MessageError

INLINE_LIMIT_BYTES = 2048
MAX_SIDE_PX = 65_535
_BITS = 5
_MORE = 1 << _BITS
_SIGN = 1 << (_BITS - 1)
_FIRST_CHARACTER = 48
_LAST_CHARACTER = 111
_GROUPS = 7
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EncodedMask:
    """A defect mask in camera pixels: COCO's RLE string in ASCII, or a whole PNG file."""

    encoding: Literal["coco_rle", "png"]
    size_wh: tuple[int, int]
    data: bytes


def encode_mask(mask: Mask, size_wh: tuple[int, int], *, inline_limit_bytes: int = INLINE_LIMIT_BYTES) -> EncodedMask:
    """Scale a mask to the ROI and encode it for its verdict.

    Args:
        mask: Defects, (h, w) bool at map resolution; read only, not kept.
        size_wh: The ROI's size in camera pixels.
        inline_limit_bytes: A longer RLE string becomes a PNG.
    """
    if not mask.any():
        return _empty_mask(size_wh)
    runs = _scaled_runs(mask, size_wh)
    # Every run takes at least two characters and at most one a column joins another: hopeless strings are not built.
    if 2 * (int(runs.of_column.sum()) - size_wh[0]) <= inline_limit_bytes:
        text = _rle_string(_run_lengths(runs, size_wh))
        if len(text) <= inline_limit_bytes:
            return EncodedMask("coco_rle", size_wh, text)
    return EncodedMask("png", size_wh, encode_png(mask, size_wh))


@lru_cache(maxsize=4)
def _empty_mask(size_wh: tuple[int, int]) -> EncodedMask:
    return EncodedMask("coco_rle", size_wh, _rle_string(np.array([size_wh[0] * size_wh[1]], np.int64)))


def decode_mask(encoded: EncodedMask) -> Mask:
    """Return the mask, (height, width) bool in camera pixels.

    Raises:
        MessageError: The data are damaged or of another size.
    """
    if encoded.encoding == "coco_rle":
        return decode_rle(encoded.data, encoded.size_wh)
    mask = decode_png(encoded.data)
    height, width = mask.shape
    if (width, height) != encoded.size_wh:
        raise MessageError(
            f"mask PNG is {width} x {height} but its verdict says {encoded.size_wh[0]} x {encoded.size_wh[1]}.",
            fix="Check that the mask and the verdict have the same result_id.",
        )
    return mask


def encode_rle(mask: Mask, size_wh: tuple[int, int] | None = None) -> bytes:
    """Return COCO's compressed RLE string of a mask, column by column, as pycocotools' `encode` makes it."""
    height, width = mask.shape
    size = size_wh or (width, height)
    return _rle_string(_run_lengths(_scaled_runs(mask, size), size))


def decode_rle(data: bytes, size_wh: tuple[int, int]) -> Mask:
    """Return the mask of a COCO RLE string, (height, width) bool.

    Raises:
        MessageError: The string is damaged or does not fill the size.
    """
    width, height = size_wh
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise MessageError(f"mask size {size_wh} is not possible.", fix="Check the sender's `size_wh`.")
    counts = _parse_rle(data)
    if (counts < 0).any() or int(counts.sum()) != width * height:
        raise MessageError(
            f"COCO RLE describes {int(counts.sum())} pixels but {width} x {height} needs {width * height}.",
            fix="Check that `data` was not cut and that `size_wh` is (width, height).",
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def encode_png(mask: Mask, size_wh: tuple[int, int] | None = None) -> bytes:
    """Return a 1-bit greyscale PNG of a mask, scaled to a size (nearest)."""
    height, width = mask.shape
    out_width, out_height = size_wh or (width, height)
    packed = np.packbits(mask[:, _nearest(width, out_width)], axis=1)
    rows = np.zeros((height, packed.shape[1] + 1), np.uint8)
    rows[:, 1:] = packed
    pixels = rows[_nearest(height, out_height)].tobytes()
    header = struct.pack(">IIBBBBB", out_width, out_height, 1, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(pixels, 1)), _chunk(b"IEND", b"")
    return _PNG_SIGNATURE + b"".join(chunks)


def decode_png(data: bytes) -> Mask:
    """Return the mask of a PNG, (h, w) bool, True where it is not black.

    Raises:
        MessageError: The bytes are not an image.
    """
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
    if image is None:
        raise MessageError(f"mask of {len(data)} bytes is not a PNG.", fix="Check what publishes on the mask topic.")
    return np.asarray(image, dtype=bool)


def _nearest(source: int, target: int) -> Integers:
    """Return for every target index the source index whose cell holds its centre."""
    return (2 * np.arange(target, dtype=np.int64) + 1) * source // (2 * target)


@dataclass(frozen=True)
class _Runs:
    """Runs of True by source column: rows of the scaled mask, and for each of its columns which runs are its own."""

    starts: Integers
    ends: Integers
    first_of_column: Integers
    of_column: Integers


def _scaled_runs(mask: Mask, size_wh: tuple[int, int]) -> _Runs:
    (height, width), (out_width, out_height) = mask.shape, size_wh
    columns, starts, ends = _column_runs(mask)
    first_row = np.searchsorted(_nearest(height, out_height), np.arange(height + 1))
    starts, ends = first_row[starts], first_row[ends]
    # Where the mask shrinks, a run may lie between two rows.
    seen = starts < ends
    of_column = np.bincount(columns[seen], minlength=width)
    first_of_column = np.cumsum(of_column) - of_column
    source = _nearest(width, out_width)
    return _Runs(starts[seen], ends[seen], first_of_column[source], of_column[source])


def _run_lengths(runs: _Runs, size_wh: tuple[int, int]) -> Integers:
    """Return COCO's counts (zeros, ones, zeros, ...) of the scaled mask, column by column."""
    width, height = size_wh
    total = width * height
    repeats = runs.of_column
    column = np.repeat(np.arange(width), repeats)
    if len(column) == 0:
        return np.array([total], np.int64)
    within = np.arange(len(column)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    run = np.repeat(runs.first_of_column, repeats) + within
    starts, ends = column * height + runs.starts[run], column * height + runs.ends[run]
    # A run that ends at the bottom goes on at the top of the next column.
    apart = np.flatnonzero(ends[:-1] != starts[1:])
    starts, ends = starts[np.concatenate(([0], apart + 1))], ends[np.append(apart, len(ends) - 1)]
    edges = np.stack((starts, ends), axis=1).ravel()
    counts = np.diff(edges, prepend=0)
    return counts if edges[-1] == total else np.append(counts, total - edges[-1])


def _column_runs(mask: Mask) -> tuple[Integers, Integers, Integers]:
    """Return column, first row and row after the last of every run of True, ordered by column, then row."""
    height, width = mask.shape
    padded = np.zeros((width, height + 2), np.int8)
    padded[:, 1:-1] = mask.T
    changes = np.flatnonzero(np.diff(padded.ravel()))
    columns, rows = np.divmod(changes, height + 2)
    return columns[::2], rows[::2], rows[1::2]


def _rle_string(counts: Integers) -> bytes:
    """Return the counts as COCO's string: from the fourth on as differences to the last but one, 5 bits a character.

    Source: rleToString of cocoapi's common/maskApi.c.
    """
    rest = counts.copy()
    rest[3:] -= counts[1:-2]
    characters = np.zeros((len(counts), _GROUPS), np.uint8)
    used = np.zeros((len(counts), _GROUPS), bool)
    open_counts = np.ones(len(counts), bool)
    for group in range(_GROUPS):
        low = rest & (_MORE - 1)
        rest >>= _BITS
        used[:, group] = open_counts
        open_counts = open_counts & np.where(low & _SIGN, rest != -1, rest != 0)
        characters[:, group] = low + _FIRST_CHARACTER + np.where(open_counts, _MORE, 0)
        if not open_counts.any():
            break
    return characters[used].tobytes()


def _parse_rle(data: bytes) -> Integers:
    """Return the counts of COCO's string (rleFrString of cocoapi's common/maskApi.c)."""
    counts: list[int] = []
    value = shift = 0
    for character in data:
        if not _FIRST_CHARACTER <= character <= _LAST_CHARACTER or shift >= _GROUPS * _BITS:
            raise MessageError(
                f"COCO RLE has a wrong character: {chr(character)!r}.", fix="Check the sender's encoder."
            )
        bits = character - _FIRST_CHARACTER
        value |= (bits & (_MORE - 1)) << shift
        shift += _BITS
        if not bits & _MORE:
            if bits & _SIGN:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift or not counts:
        raise MessageError("COCO RLE ends in the middle of a count.", fix="Check that `data` was not cut.")
    return np.array(counts, np.int64)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
