"""From 10 to 100,000 images: a file may cost its name and its hash, never its pixels."""

import tracemalloc

import cv2
import numpy as np
import pytest

from engines.frame_cache import cache_samples
from engines.reduction import plan_geometry
from engines.survey import survey

FEW, MANY = 100, 900
SIDE_PX = 64
# A frame has 4,096 bytes; path, hash, group and use together are about 1,000.
BYTES_PER_FILE = 1_800


def draw(folder, count):
    folder.mkdir()
    for index in range(count):
        frame = np.full((SIDE_PX, SIDE_PX), 100, np.uint8)
        frame[0, :2] = divmod(index, 256)
        cv2.imwrite(str(folder / f"{index:05d}.png"), frame)
    return folder


@pytest.fixture
def peak_bytes(tmp_path):
    def measure(count):
        folder = draw(tmp_path / str(count), count)
        tracemalloc.start()
        try:
            images = survey(folder, resize="none")
            cache_samples(images, images.samples, plan_geometry(images.frame_shape, None, SIDE_PX), tmp_path / "cache")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure


def test_memory_does_not_grow_by_the_pixels_of_a_file(peak_bytes):
    peak_bytes(FEW)
    few, many = peak_bytes(FEW + 1), peak_bytes(MANY)
    assert (many - few) / (MANY - FEW - 1) < BYTES_PER_FILE
