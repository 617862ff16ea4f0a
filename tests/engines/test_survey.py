"""What a folder of images must hold, and what is said about one that does not."""

import os
import shutil

import cv2
import numpy as np
import pytest

from engines.errors import DatasetError, NoInputError
from engines.survey import survey


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
    assert "d_deep.png has uint16 pixels; 8 bits a channel are needed" in str(caught.value)
    assert caught.value.exit_code == 65


def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_read(folder):
    (folder / "gone.png").symlink_to(folder / "unplugged" / "gone.png")
    (folder / "round.png").symlink_to("round.png")
    with pytest.raises(DatasetError, match=r"2 of 42 images") as caught:
        survey(folder, resize="none")
    assert "gone.png cannot be read: No such file or directory" in str(caught.value)
    assert "round.png cannot be read" in str(caught.value)


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


@pytest.mark.parametrize("resize", ["none", "stretch"])
def test_grey_and_colour_are_told_apart_from_sizes_and_never_mixed(folder, resize):
    for index in range(3):
        cv2.imwrite(str(folder / f"grey{index}.png"), noise((80, 96), index))
    with pytest.raises(DatasetError, match=r"mixes grey and colour images:\n") as caught:
        survey(folder, resize=resize)
    said = str(caught.value)
    assert "96 x 80 colour: 40 images, such as 000.png" in said
    assert "96 x 80 grey: 3 images, such as grey0.png" in said
    assert "Convert them to one kind" in said
    assert "or train a recipe on each kind alone; --resize changes sizes only" in said


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_groups_as_a_spreadsheet_saves_them_are_read(folder, encoding):
    lines = "".join(f"{path.name},Teil fünf {number // 2}\r\n" for number, path in enumerate(sorted(folder.iterdir())))
    (folder / "groups.csv").write_bytes(f"file,group\r\n{lines}".encode(encoding))
    assert len({sample.group for sample in survey(folder, resize="none").samples}) == 20


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_groups_in_another_encoding_are_refused(folder, encoding):
    (folder / "groups.csv").write_bytes("file,group\n000.png,Teil fünf\n".encode(encoding))
    with pytest.raises(DatasetError, match=r'groups\.csv cannot be read as a table: .*\. Save it as "CSV UTF-8"'):
        survey(folder, resize="none")


def test_a_table_that_cannot_be_parsed_is_refused(folder):
    (folder / "groups.csv").write_text(f'file,group\n000.png,"{"a" * 200_000}"\n')
    with pytest.raises(DatasetError, match="field larger than field limit"):
        survey(folder, resize="none")


@pytest.mark.parametrize(
    ("line", "says"),
    [("000.png", ":2 names no group"), ("000.png,", ":2 names no group"), ("000.png, ", "group"), (",a", "no file")],
)
def test_a_line_without_its_group_is_refused(folder, line, says):
    (folder / "groups.csv").write_text(f"file,group\n{line}\n")
    with pytest.raises(DatasetError, match=says):
        survey(folder, resize="none")


def test_names_that_cannot_be_written_down_are_refused_before_a_picture_is_read(folder):
    (folder / "000.png").rename(folder / os.fsdecode("prüfling.png".encode("latin-1")))
    (folder / "001.png").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=r"names of 1 images in .* are not UTF-8: pr\\udcfcfling\.png\. Rename"):
        survey(folder, resize="none")


@pytest.fixture
def many(folder):
    """120 different good frames: enough to let one damaged file pass."""
    for path in sorted(folder.iterdir()):
        frame = cv2.imread(str(path))
        for shift in (1, 2):
            cv2.imwrite(str(folder / f"{path.stem}-{shift}.png"), frame - np.uint8(shift))
    return folder


def damage(folder, name):
    (folder / name).write_bytes(min(folder.iterdir()).read_bytes()[:-9])


@pytest.mark.parametrize(("damaged", "stops"), [(0, False), (1, False), (2, True)])
def test_up_to_one_percent_of_damaged_files_are_named_and_skipped(many, damaged, stops):
    for index in range(damaged):
        damage(many, f"x{index}.png")
    if stops:
        with pytest.raises(DatasetError, match=r"2 of 122 images .* more than 1%:\n  .*x0.png ends too early"):
            survey(many, resize="none")
        return
    images = survey(many, resize="none")
    assert images.skipped == damaged
    assert len(images.samples) == len(images.uses) == 120
    assert ["x0.png ends too early" in remark for remark in images.remarks] == [True] * damaged


def test_exactly_one_percent_is_not_more(many):
    for path in sorted(many.iterdir())[:21]:
        path.unlink()
    damage(many, "x.png")
    assert len(list(many.iterdir())) == 100
    assert survey(many, resize="none").skipped == 1


def test_a_damaged_file_may_have_a_group(many):
    damage(many, "x.png")
    written_groups(many, {path.name: path.stem for path in many.glob("*.png")})
    assert survey(many, resize="none").skipped == 1


def test_duplicates_are_named_and_used_once(folder):
    before = survey(folder, resize="none")
    assert before.remarks == ()
    for index in range(13):
        shutil.copy(folder / f"{index:03d}.png", folder / f"again{index:02d}.png")
    images = survey(folder, resize="none")
    (remark,) = images.remarks
    lines = remark.splitlines()
    assert lines[0] == "files that repeat another, so that each picture is used once: 13"
    assert lines[1] == "  again00.png shows the pixels of 000.png"
    assert len(lines) == 12
    assert lines[-1] == "  and 3 more duplicates"
    assert images.uses == before.uses
    assert sum(len(images.of(use)) for use in ("trained", "tuning", "set_aside")) == 40


def test_ignored_sub_folders_are_named(folder):
    for name in ("more", ".hidden", "empty"):
        (folder / name / "deep").mkdir(parents=True)
    for name in ("more", ".hidden"):
        shutil.copy(folder / "000.png", folder / name / "deep" / "a.png")
    (remark,) = survey(folder, resize="none").remarks
    assert remark.endswith("are not used: more")


def test_a_frame_of_a_line_camera_can_be_too_long(tmp_path):
    for index in range(10):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((64, 16_400), index, np.uint8))
    with pytest.raises(DatasetError, match=r"16400 x 64 grey; a frame has at most 16384 pixels a side\. Record"):
        survey(tmp_path, resize="none")
