import numpy as np
import pytest

from engines.dataset import fit_frame
from engines.errors import DatasetError


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("seen", "mode", "valid"),
    [
        ((80, 96, 3), "none", (0, 0, 96, 80)),
        ((80, 96, 3), "letterbox", (0, 0, 96, 80)),
        ((160, 96, 3), "letterbox", (24, 0, 48, 80)),
        ((40, 96, 3), "letterbox", (0, 20, 96, 40)),
        ((40, 96, 3), "stretch", (0, 0, 96, 80)),
    ],
)
def test_fit_frame_says_where_the_part_is(seen, mode, valid):
    frame = np.full(seen, 200, np.uint8)
    fitted, rectangle = fit_frame(frame, (80, 96, 3), mode)
    assert fitted.shape == (80, 96, 3)
    assert fitted.flags.c_contiguous
    assert rectangle == valid


def test_fit_frame_keeps_a_grey_frame_grey():
    assert fit_frame(noise((40, 50, 1)), (80, 100, 1), "letterbox")[0].shape == (80, 100, 1)


def test_fit_frame_refuses_another_size_and_other_channels():
    with pytest.raises(DatasetError, match="--resize"):
        fit_frame(noise((40, 96, 3)), (80, 96, 3), "none")
    with pytest.raises(DatasetError, match="grey"):
        fit_frame(noise((80, 96, 1)), (80, 96, 3), "stretch")
