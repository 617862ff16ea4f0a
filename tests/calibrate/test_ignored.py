import cv2
import numpy as np
import pytest

from calibrate.ignored import read_ignored
from engines.errors import DatasetError
from engines.recipe import load_recipe


def half(value):
    picture = np.zeros((80, 96), np.uint8)
    picture[:, :48] = value
    return picture


@pytest.fixture
def recipe(tiny_recipe):
    return load_recipe(tiny_recipe)


def test_an_opaque_picture_ignores_what_is_white_and_nothing_else(recipe, tmp_path):
    cv2.imwrite(str(tmp_path / "ignore.png"), cv2.cvtColor(half(255), cv2.COLOR_GRAY2BGRA))
    ignored = read_ignored(tmp_path / "ignore.png", recipe, min_area=4)
    assert ignored[:, :32].all()
    assert not ignored[:, 32:].any()


@pytest.mark.parametrize("value", [0, 1])
def test_a_picture_without_white_is_refused(recipe, tmp_path, value):
    cv2.imwrite(str(tmp_path / "ignore.png"), half(value))
    with pytest.raises(DatasetError, match=rf"has no white, its largest value is {value}: .*white, 255"):
        read_ignored(tmp_path / "ignore.png", recipe, min_area=4)
