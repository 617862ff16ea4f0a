"""Where the good frames of a fit come from, what counts as one of them, and what of them is not looked at."""

import csv
import shutil

import cv2
import numpy as np
import pytest

from calibrate.cli import main
from calibrate.good_frames import assign_uses
from edge_agent.thresholds import load_thresholds


@pytest.fixture
def recipe(tmp_path, tiny_recipe):
    return shutil.copytree(tiny_recipe, tmp_path / "recipe")


def fit(recipe, *more, rate="0.05"):
    return main(["fit", str(recipe), "--false-reject-rate", rate, *map(str, more)])


def uses_of(recipe, revision="r0001"):
    with (recipe / "thresholds" / revision / "images.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_camera_gives_the_good_frames_in_blocks_and_they_can_be_kept(recipe, good_frames_folder, tmp_path, capsys):
    kept = tmp_path / "kept"
    camera = f"folder://{good_frames_folder}?loop=true"
    assert fit(recipe, "--camera", camera, "--frames", 240, "--images", kept, "--group-by", "none", rate="0.1") == 0
    assert len(list(kept.glob("*.png"))) == 240
    assert "counted once" in capsys.readouterr().err
    assert fit(recipe, "--camera", "synthetic://plate?size=96x80", "--frames", 120, rate="0.3") == 0
    groups = {row["group"] for row in uses_of(recipe, "r0002")}
    assert groups == {f"block {number}" for number in range(6)}
    assert load_thresholds(recipe).calibration.promise.groups == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "where are the good frames"),
        (["--images", "x", "--frames", "5"], "where are the good frames"),
        (["--camera", "synthetic://plate"], "needs --frames"),
    ],
)
def test_half_a_question_is_refused(recipe, words, says, capsys):
    assert fit(recipe, *words) == 64
    assert says in capsys.readouterr().err


def test_too_few_for_the_wish_is_said_before_anything_is_computed(recipe, good_frames_folder, monkeypatch, capsys):
    monkeypatch.setattr("calibrate.fit.UsualFrames", lambda *_: pytest.fail("location and scale were begun"))
    assert fit(recipe, "--images", good_frames_folder, rate="0.01") == 65
    assert "Add 79 more" in capsys.readouterr().err


def test_frames_can_be_grouped_in_blocks_by_part_or_not_at_all(tiny_recipe, good_frames_folder, tmp_path):
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    for name in sorted(p.name for p in folder.glob("*.png")):
        frame = cv2.imread(str(folder / name))
        cv2.imwrite(str(folder / name), cv2.add(frame, 1))
    by_frame = assign_uses(tiny_recipe, folder, group_by="none")
    assert len({frame.group for frame in by_frame}) == 40
    assert [frame.use for frame in by_frame].count("factor") == 20
    with (folder / "groups.csv").open("w") as file:
        file.write("file,group\n" + "".join(f"{n:03d}.png,part {n // 4}\n" for n in range(40)))
    assert len({frame.group for frame in assign_uses(tiny_recipe, folder)}) == 10
    assert len({frame.group for frame in assign_uses(tiny_recipe, folder, group_by="none")}) == 40


def test_grouping_by_part_needs_the_file_that_says_so(recipe, good_frames_folder, capsys):
    assert fit(recipe, "--images", good_frames_folder, "--group-by", "part") == 65
    assert "no groups.csv" in capsys.readouterr().err


def paint(path, size_wh, region=None):
    mask = np.zeros((size_wh[1], size_wh[0]), np.uint8)
    if region is not None:
        x, y, width, height = region
        mask[y : y + height, x : x + width] = 255
    cv2.imwrite(str(path), mask)
    return path


def test_what_is_ignored_is_never_inspected(recipe, good_frames_folder, tmp_path, capsys):
    mask = paint(tmp_path / "mask.png", (96, 80), (0, 0, 48, 80))
    assert fit(recipe, "--images", good_frames_folder, "--ignore", mask) == 0
    revision = load_thresholds(recipe)
    assert np.isinf(revision.scale[:, :, :32]).all()
    assert np.isfinite(revision.scale[:, :, 32:]).all()
    assert revision.calibration.ignored_share == pytest.approx(0.5)
    assert "Never inspected: 50 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "region", "says"),
    [((80, 96), (0, 0, 10, 10), "is 80 x 96, but frames"), ((96, 80), (0, 0, 96, 80), "ignores the whole")],
)
def test_a_mask_of_another_size_or_of_everything_is_refused(
    recipe, good_frames_folder, tmp_path, size, region, says, capsys
):
    mask = paint(tmp_path / "mask.png", size, region)
    assert fit(recipe, "--images", good_frames_folder, "--ignore", mask) == 65
    assert says in capsys.readouterr().err
    assert not (recipe / "thresholds" / "current").exists()
