"""What a person sees of the corruptions: every kind by name, and what it changed."""

import shutil

import cv2
import numpy as np
import pytest

from engines.cli import main
from engines.corruption_sheet import draw_sheet
from engines.corruptions.kinds import KINDS
from engines.errors import DatasetError
from engines.images import read_image
from engines.some_frames import read_some


@pytest.fixture(scope="module")
def pictures(good_frames_folder):
    return read_some(good_frames_folder, (64, 96), resize="none", seed=0, most=8)


def strips(sheet):
    """Rows of cells between the dark gaps, without the header."""
    paper = (sheet == sheet[0, 0]).all(axis=2).all(axis=1)
    edges = np.flatnonzero(np.diff(paper.astype(int)))
    return [sheet[top + 1 : bottom + 1] for top, bottom in zip(edges[::2], edges[1::2], strict=True)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("rotates", [False, True])
def test_a_row_for_each_kind_and_one_for_all(pictures, channels, rotates):
    sheet = draw_sheet(pictures[..., :channels], rotates=rotates, seed=0)
    assert sheet.dtype == np.uint8
    rows = [strip for strip in strips(sheet) if len(strip) > 60]
    assert len(rows) == len(KINDS) + 1
    labels = [row[:, :130] for row in rows]
    assert all((label > 200).any() for label in labels)
    assert len({label.tobytes() for label in labels}) == len(labels)


def test_the_difference_is_dark_where_nothing_changed(pictures):
    sheet = draw_sheet(pictures, rotates=False, seed=0)
    row = strips(sheet)[-1]
    assert len(row) > 60
    # 150 x 150 pixels in the aspect of 96 x 64: three cells, beside the label.
    height, width = 122, 184
    assert row.shape[0] == height
    good, corrupted, difference = (row[:, 130 + 16 + n * (width + 4) :][:, :width].astype(int) for n in range(3))
    changed = np.abs(good - corrupted).max(axis=2) > 12
    assert changed.any()
    assert difference[changed].max(axis=1).mean() > 3 * difference[~changed].max(axis=1).mean()


def test_the_seed_decides(pictures):
    first, again, other = (draw_sheet(pictures, rotates=True, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_inspect_writes_a_sheet(good_frames_folder, tmp_path, capsys):
    target = tmp_path / "sheet.png"
    words = ["inspect", "--corruptions", str(good_frames_folder), "--out", str(target), "--size", "64"]
    assert main(words) == 0
    sheet = read_image(target)
    assert f"{sheet.shape[1]} x {sheet.shape[0]} pixels, 32 images at 64 x 64" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 64, "Give a recipe, a plan, or --corruptions IMAGES"),
        (["--corruptions", "FOLDER", "--out", "a.jpg"], 64, "ends in .png"),
        (["--corruptions", "FOLDER", "--size", "4096x4096"], 64, "--size 96x80 or smaller"),
        (["--corruptions", "FOLDER", "--size", "big"], 64, "--size: big is not understood"),
        (["--corruptions", "FOLDER", "--seed", "-1"], 64, "Give 0 or more"),
        (["--corruptions", "FOLDER/none"], 66, "is not a folder"),
    ],
)
def test_inspect_refuses(good_frames_folder, tmp_path, monkeypatch, capsys, *, words, code, message):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", *(word.replace("FOLDER", str(good_frames_folder)) for word in words)]) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_some_frames_pass_over_damaged_files(tmp_path, good_frames_folder):
    for index in range(6):
        frame = cv2.imread(str(good_frames_folder / f"{index:03d}.png"))
        cv2.imwrite(str(tmp_path / f"{index}.png"), frame)
    (tmp_path / "0.png").write_bytes(b"")
    frames = read_some(tmp_path, 64, resize="none", seed=0, most=32)
    assert frames.shape == (5, 64, 64, 3)
    assert len({frame.tobytes() for frame in frames}) == 5


def test_some_frames_of_mixed_sizes_need_a_way_to_resize(tmp_path, good_frames_folder):
    for index in range(6):
        frame = cv2.imread(str(good_frames_folder / f"{index:03d}.png"))
        cv2.imwrite(str(tmp_path / f"{index}.png"), frame[: 70 + index])
    with pytest.raises(DatasetError, match=r"mixes images of 96 x 70 colour, .* and 1 more\. Give --resize letterbox"):
        read_some(tmp_path, 64, resize="none", seed=0, most=32)
    assert read_some(tmp_path, 64, resize="stretch", seed=0, most=32).shape == (6, 64, 64, 3)


def test_a_folder_without_a_usable_image(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"no image of .* can be used"):
        read_some(tmp_path, 64, resize="none", seed=0, most=32)


def test_masks_among_the_images_are_refused(tmp_path, good_frames_folder):
    for name in ("a.png", "a_mask.png"):
        shutil.copy(good_frames_folder / "000.png", tmp_path / name)
    with pytest.raises(DatasetError, match="masks of defects lie among"):
        read_some(tmp_path, 64, resize="none", seed=0, most=32)


def test_grey_and_colour_are_not_drawn_together(tmp_path, good_frames_folder):
    frame = cv2.imread(str(good_frames_folder / "000.png"))
    cv2.imwrite(str(tmp_path / "a.png"), frame)
    cv2.imwrite(str(tmp_path / "b.png"), frame[:, :, 0])
    with pytest.raises(DatasetError, match=r"mixes images of 96 x 80 colour, 96 x 80 grey\. Convert them to one kind"):
        read_some(tmp_path, 64, resize="stretch", seed=0, most=32)
