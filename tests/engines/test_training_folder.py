"""A data set's folders are told apart: only its good training frames are trained on."""

import shutil

import pytest

from engines.errors import DatasetError
from engines.images import list_images
from engines.training_folder import check_no_masks, check_training_folder

PLACES = ("train/good", "test/good", "test/crack", "ground_truth/crack")


@pytest.fixture
def dataset(tmp_path, good_frames_folder):
    root = tmp_path / "part"
    for place in PLACES:
        (root / place).mkdir(parents=True)
        shutil.copy(good_frames_folder / "000.png", root / place / "000.png")
    return root


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "is a data set and not the folder"),
        ("train", "is a data set and not the folder"),
        ("test", "belongs to the test folder of a data set: frames by which recipes are judged"),
        ("test/good", "belongs to the test folder"),
        ("test/crack", "belongs to the test folder"),
        ("test/crack/../../test/crack", "belongs to the test folder"),
        ("ground_truth", "belongs to the ground_truth folder of a data set: masks"),
        ("ground_truth/crack", "masks"),
    ],
)
@pytest.mark.parametrize("without", ["nothing", "ground_truth", "train"])
def test_every_folder_of_a_data_set_but_the_good_ones_is_refused(dataset, given, message, without):
    shutil.rmtree(dataset / without, ignore_errors=True)
    if not (dataset / given).is_dir():
        return
    with pytest.raises(DatasetError, match=message) as caught:
        check_training_folder(dataset / given)
    good = dataset / "train" / "good"
    assert caught.value.fix == (f"Give {good}." if without != "train" else "Give a folder that holds good parts only.")


def test_what_lies_beside_the_good_training_frames_is_refused(dataset):
    shutil.copytree(dataset / "test" / "crack", dataset / "train" / "crack")
    with pytest.raises(
        DatasetError, match=r"train folder of a data set, but not to its good frames\. Give .*train/good"
    ):
        check_training_folder(dataset / "train" / "crack")
    check_training_folder(dataset / "train" / "good")


def test_the_good_test_frames_are_taken_where_they_are_asked_for(dataset):
    check_training_folder(dataset / "test" / "good", may_be_test_good=True)
    for given in ("test", "test/crack", "ground_truth/crack"):
        with pytest.raises(DatasetError, match="belongs to the"):
            check_training_folder(dataset / given, may_be_test_good=True)


def test_the_good_frames_are_accepted(dataset, monkeypatch):
    check_training_folder(dataset / "train" / "good")
    monkeypatch.chdir(dataset / "train")
    check_training_folder((dataset / "train" / "good").relative_to(dataset / "train"))


def test_a_folder_that_is_only_called_test_is_accepted(tmp_path, good_frames_folder):
    (tmp_path / "test" / "monday").mkdir(parents=True)
    shutil.copy(good_frames_folder / "000.png", tmp_path / "test" / "monday")
    check_training_folder(tmp_path / "test" / "monday")


def test_images_beside_a_data_set_are_accepted(dataset):
    shutil.copytree(dataset / "train" / "good", dataset / "recorded")
    check_training_folder(dataset / "recorded")


def test_images_in_sub_folders_only(tmp_path, good_frames_folder):
    for index in range(7):
        (tmp_path / f"shift{index}").mkdir()
        shutil.copy(good_frames_folder / "000.png", tmp_path / f"shift{index}")
    with pytest.raises(DatasetError, match=r"only its folders do: shift0, .*, shift4 and 2 more\. Give the folder"):
        check_training_folder(tmp_path)


def test_masks_among_the_images_are_refused(tmp_path, good_frames_folder):
    for name in ("a.png", "b.jpg", "b_mask.png", "face_mask.png"):
        shutil.copy(good_frames_folder / "000.png", tmp_path / name)
    with pytest.raises(DatasetError, match=r"lie among the images of .* \(1\): b_mask\.png\."):
        check_no_masks(tmp_path, list_images(tmp_path))
    # A part that is called so is no mask.
    (tmp_path / "b_mask.png").unlink()
    check_no_masks(tmp_path, list_images(tmp_path))


def test_a_folder_of_masks_alone_is_refused(tmp_path, good_frames_folder):
    for name in ("000_mask.png", "001_mask.png"):
        shutil.copy(good_frames_folder / "000.png", tmp_path / name)
    with pytest.raises(DatasetError, match=r"\(2\): 000_mask\.png, 001_mask\.png\."):
        check_no_masks(tmp_path, list_images(tmp_path))
