import cv2
import numpy as np
import pytest
from parts import draw_part

from calibrate.dataset import LabelledFrame, list_labelled, load_mask
from engines.errors import DatasetError, NoInputError
from engines.images import list_images

SHAPE = (80, 96)


def masked(path, mask):
    cv2.imwrite(str(path), mask)
    return LabelledFrame(path=path, label="bar", mask_path=path, group="")


def bar(value):
    mask = np.zeros(SHAPE, np.uint8)
    mask[30:46, 20:40] = value
    return mask


@pytest.mark.parametrize("conversion", [cv2.COLOR_GRAY2BGR, cv2.COLOR_GRAY2BGRA])
def test_a_mask_in_colour_opaque_or_not_marks_what_the_grey_one_does(tmp_path, conversion):
    found = load_mask(masked(tmp_path / "mask.png", cv2.cvtColor(bar(255), conversion)), SHAPE)
    np.testing.assert_array_equal(found, bar(255) > 0)


@pytest.mark.parametrize("value", [0, 1, 127])
@pytest.mark.parametrize("conversion", [None, cv2.COLOR_GRAY2BGRA])
def test_a_mask_that_marks_nothing_is_refused_by_name(tmp_path, value, conversion):
    mask = bar(value) if conversion is None else cv2.cvtColor(bar(value), conversion)
    with pytest.raises(DatasetError, match=rf"mask.png marks nothing.* its largest value is {value}. .*white, 255"):
        load_mask(masked(tmp_path / "mask.png", mask), SHAPE)


def test_hidden_folders_are_no_defect_types(tmp_path):
    for label in ("good", ".ipynb_checkpoints", "bar", ".empty"):
        (tmp_path / "test" / label).mkdir(parents=True)
        if label != ".empty":
            cv2.imwrite(str(tmp_path / "test" / label / "0.png"), draw_part(0))
    frames = list_labelled(tmp_path)
    assert [frame.label for frame in frames] == ["bar", "good"]
    assert list_images(tmp_path / "test", recursive=True) == [frame.path for frame in frames], "what an agent runs on"


def test_folders_without_an_image_are_named(tmp_path):
    for label in ("bar", "dent", "good"):
        (tmp_path / "test" / label).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "test/good/0.png"), draw_part(0))
    with pytest.raises(NoInputError, match=r"test has folders without an image: bar, dent\. .* or remove it"):
        list_labelled(tmp_path)


def test_masks_under_a_name_that_test_does_not_know_are_refused(tmp_path):
    for label in ("good", "bar", "dent"):
        (tmp_path / "test" / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "test" / label / "0.png"), draw_part(0))
    for label in ("bars", "dent"):
        (tmp_path / "ground_truth" / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "ground_truth" / label / "0_mask.png"), bar(255))
    with pytest.raises(DatasetError, match=r"ground_truth has masks of bars and none of bar, as test calls it\. Give"):
        list_labelled(tmp_path)
    (tmp_path / "ground_truth" / "bars").rename(tmp_path / "ground_truth" / "bar")
    (tmp_path / "ground_truth" / "no_longer_tested").mkdir()
    assert [frame.mask_path is not None for frame in list_labelled(tmp_path)] == [True, True, False]
