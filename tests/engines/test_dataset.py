import shutil

import cv2
import numpy as np
import pytest

from engines.dataset import cache_samples, fit_frame, survey, to_uint8
from engines.errors import DatasetError, NoInputError, UsageError
from engines.reduction import Geometry, reduce_frame


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def folder(tmp_path, good_frames_folder):
    copy = tmp_path / "images"
    shutil.copytree(good_frames_folder, copy)
    return copy


def test_every_unreadable_file_is_named_at_once(folder):
    (folder / "a_text.png").write_text("no image")
    content = (folder / "000.png").read_bytes()
    (folder / "b_truncated.png").write_bytes(content[: len(content) // 2])
    cv2.imwrite(str(folder / "c_tiny.png"), noise((1, 1, 3)))
    cv2.imwrite(str(folder / "d_deep.png"), np.zeros((80, 96), np.uint16))
    with pytest.raises(DatasetError, match=r"4 of 44 images") as caught:
        survey(folder, resize="none")
    for name in ("a_text.png", "b_truncated.png", "c_tiny.png", "d_deep.png"):
        assert name in str(caught.value)
    assert caught.value.exit_code == 65


def test_mixed_sizes_are_listed_with_counts_and_examples(folder):
    cv2.imwrite(str(folder / "large.png"), noise((100, 120, 3)))
    with pytest.raises(DatasetError, match="--resize letterbox") as caught:
        survey(folder, resize="none")
    assert "96 x 80 colour: 40 images, such as 000.png" in str(caught.value)
    assert "120 x 100 colour: 1 image, such as large.png" in str(caught.value)


@pytest.mark.parametrize("mode", ["letterbox", "stretch"])
def test_resize_takes_mixed_sizes_to_the_median(folder, mode):
    for index in range(3):
        cv2.imwrite(str(folder / f"large{index}.png"), noise((100, 120, 3), index))
    images = survey(folder, resize=mode)
    assert images.frame_shape == (80, 96, 3)
    assert all(images.read(sample).shape == (80, 96, 3) for sample in images.samples)


def test_resize_does_not_mix_grey_and_colour(folder):
    cv2.imwrite(str(folder / "grey.png"), noise((80, 96)))
    with pytest.raises(DatasetError, match="--resize changes sizes only"):
        survey(folder, resize="stretch")


def test_too_few_different_pictures(tmp_path, good_frames_folder):
    for index in range(12):
        shutil.copy(good_frames_folder / f"{index % 9:03d}.png", tmp_path / f"{index}.png")
    with pytest.raises(DatasetError, match=r"9 good images \(12 files, but only 9 different"):
        survey(tmp_path, resize="none")


def test_an_empty_folder(tmp_path):
    with pytest.raises(NoInputError):
        survey(tmp_path, resize="none")


def test_half_of_fewer_than_100_is_set_aside_and_files_decide_nothing(folder):
    before = survey(folder, resize="none")
    assert [len(before.of(use)) for use in ("trained", "tuning", "set_aside")] == [18, 2, 20]
    (folder / "000.png").rename(folder / "zzz.png")
    cv2.imwrite(str(folder / "001.bmp"), cv2.imread(str(folder / "001.png")))
    (folder / "001.png").unlink()
    assert survey(folder, resize="none").uses == before.uses


def test_groups_are_never_divided(folder):
    lines = ["file,group", *(f"{index:03d}.png,part{index // 4}" for index in range(40))]
    (folder / "groups.csv").write_text("\n".join(lines) + "\n")
    images = survey(folder, resize="none")
    uses = {}
    for sample in images.samples:
        uses.setdefault(sample.group, set()).add(images.uses[sample.sha256])
    assert len(uses) == 10
    assert all(len(use) == 1 for use in uses.values())


def written_groups(folder, groups):
    (folder / "groups.csv").write_text("file,group\n" + "".join(f"{name},{group}\n" for name, group in groups.items()))


def test_a_group_for_no_image_is_refused(folder):
    groups = {path.name: path.stem for path in folder.glob("*.png")}
    written_groups(folder, {**groups, **{f"gone{index}.png": "a" for index in range(7)}})
    with pytest.raises(DatasetError, match=r"names 7 files that are no images") as caught:
        survey(folder, resize="none")
    assert "gone0.png, gone1.png, gone2.png, gone3.png, gone4.png and 2 more" in str(caught.value)


def test_an_image_without_a_group_is_refused(folder):
    groups = {path.name: path.stem for path in folder.glob("*.png")}
    del groups["003.png"], groups["017.png"]
    written_groups(folder, groups)
    with pytest.raises(DatasetError, match=r"lacks 2 images of its folder: 003.png, 017.png. Add a line"):
        survey(folder, resize="none")


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


def test_the_cache_holds_reduced_frames(folder, tmp_path):
    images = survey(folder, resize="none")
    geometry = Geometry(images.frame_shape, (10, 8, 70, 66), (64, 64))
    cache = cache_samples(images, images.samples[:3], geometry, tmp_path / "cache")
    for index in range(3):
        expected = to_uint8(reduce_frame(images.read(images.samples[index]), geometry))
        np.testing.assert_array_equal(cache[index], expected)


@pytest.mark.parametrize(
    ("roi", "maps", "box"),
    [
        ((0, 0, 128, 128), (64, 64), 2),
        ((0, 0, 384, 320), (64, 64), 4),
        ((0, 0, 400, 400), (256, 256), 1),
        ((0, 0, 127, 131), (64, 64), 1),
        ((0, 0, 64, 64), (64, 64), 1),
        ((0, 0, 48, 48), (64, 64), 1),
        ((0, 0, 390, 195), (64, 64), 3),
    ],
)
def test_the_box_average_is_the_largest_exact_one(roi, maps, box):
    assert Geometry((400, 400, 3), roi, maps).box == box


def test_the_box_average_is_exact():
    frame = noise((128, 192, 3))
    geometry = Geometry(frame.shape, (0, 0, 192, 128), (64, 96))
    slow = np.zeros((64, 96, 3))
    for row in range(64):
        for column in range(96):
            slow[row, column] = frame[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].astype(float).mean((0, 1))
    np.testing.assert_array_equal(reduce_frame(frame, geometry), slow)


@pytest.mark.parametrize(
    ("roi", "maps"),
    [
        ((-1, 0, 64, 64), (64, 64)),
        ((0, 0, 97, 64), (64, 64)),
        ((0, 0, 64, 0), (64, 64)),
        ((0, 0, 64, 64), (64, 72)),
        ((0, 0, 64, 64), (48, 64)),
    ],
)
def test_an_impossible_geometry_is_refused(roi, maps):
    with pytest.raises(UsageError):
        Geometry((80, 96, 3), roi, maps).check()
