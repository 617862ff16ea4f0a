import csv
import re
import shutil

import cv2
import numpy as np
import pytest
from parts import draw_part

from calibrate.cli import main
from calibrate.known_frames import read_known_frames
from edge_agent.revisions import revision_names, save_thresholds
from edge_agent.thresholds import ThresholdRevision, load_thresholds
from engines.errors import ThresholdsError


@pytest.fixture
def recipe(tmp_path, tiny_recipe):
    shutil.copytree(tiny_recipe, tmp_path / "tiny")
    return tmp_path / "tiny"


def fit(recipe, images, *more, rate="0.05"):
    return main(["fit", str(recipe), "--images", str(images), "--false-reject-rate", rate, *more])


def test_a_fit_promises_what_its_parts_support_and_is_in_force(recipe, good_frames_folder, capsys):
    assert fit(recipe, good_frames_folder) == 0
    revision = load_thresholds(recipe)
    promise = revision.calibration.promise
    assert (promise.groups, promise.frames) == (20, 20)
    assert promise.expected_rate == pytest.approx(1 / 21)
    printed = capsys.readouterr().out
    assert "about 4.76% will be rejected" in printed
    assert promise.unit == "frame"
    assert "of new good frames, about" in printed
    assert "It rests on 20 good frames that the network never saw" in printed


def test_only_frames_that_the_network_never_saw_give_the_factor(recipe, good_frames_folder):
    assert fit(recipe, good_frames_folder) == 0
    uses = read_known_frames(recipe).uses
    with (recipe / "thresholds" / "r0001" / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {uses[row["sha256"]] for row in rows if row["use"] == "factor"} == {"set_aside"}
    assert {uses[row["sha256"]] for row in rows if row["use"] == "location"} == {"trained", "tuning"}
    factor = load_thresholds(recipe).factor
    assert max(float(row["score"]) for row in rows if row["use"] == "factor") == pytest.approx(factor, rel=1e-5)


@pytest.mark.parametrize(("copies", "code"), [(3, 0), (1, 65)])
def test_damaged_files_are_named_and_skipped_while_they_are_few(
    recipe, good_frames_folder, tmp_path, capsys, copies, code
):
    for path in good_frames_folder.glob("*.png"):
        for copy in range(copies):
            shutil.copy(path, tmp_path / f"{path.stem}-{copy}.png")
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n")
    assert fit(recipe, tmp_path) == code
    assert "damaged.png" in capsys.readouterr().err


def test_a_wish_beyond_the_parts_is_refused_and_changes_nothing(recipe, good_frames_folder, capsys):
    assert fit(recipe, good_frames_folder, rate="0.01") == 65
    told = capsys.readouterr().err
    assert "Add 157 more good frames (99 must set the limit, and half of new ones say what is usual)" in told
    assert revision_names(recipe) == []


def test_images_that_all_trained_the_network_are_refused(recipe, good_frames_folder, tmp_path, capsys):
    uses = read_known_frames(recipe).uses
    with (recipe / "images.csv").open(newline="") as file:
        trained = [row["file"] for row in csv.DictReader(file) if uses[row["sha256"]] == "trained"]
    folder = tmp_path / "trained"
    folder.mkdir()
    for name in trained:
        shutil.copy(good_frames_folder / name, folder / name)
    assert fit(recipe, folder) == 65
    assert "trained the network" in capsys.readouterr().err


def test_the_group_is_the_unit_of_the_promise(recipe, good_frames_folder, tmp_path, capsys):
    folder = tmp_path / "grouped"
    shutil.copytree(good_frames_folder, folder)
    names = sorted(path.name for path in folder.glob("*.png"))
    with (folder / "groups.csv").open("w") as file:
        file.write("file,group\n" + "".join(f"{name},block{int(name[:3]) // 10}\n" for name in names))
    assert fit(recipe, folder) == 65
    assert "good parts" in capsys.readouterr().err


def factor_groups(recipe):
    with (recipe / "thresholds" / "r0001" / "images.csv").open(newline="") as file:
        return {row["group"] for row in csv.DictReader(file) if row["use"] == "factor"}


def test_a_part_copied_six_times_is_one_part(recipe, good_frames_folder, tmp_path):
    folder = tmp_path / "copies"
    folder.mkdir()
    for path in good_frames_folder.glob("*.png"):
        for copy in range(6):
            shutil.copy(path, folder / f"{path.stem}_{copy}.png")
    assert fit(recipe, folder) == 0
    promise = load_thresholds(recipe).calibration.promise
    assert (promise.groups, promise.frames) == (20, 20)


def test_groups_that_share_a_picture_are_one_part(recipe, good_frames_folder, tmp_path, capsys):
    folder = tmp_path / "linked"
    shutil.copytree(good_frames_folder, folder)
    uses = read_known_frames(recipe).uses
    with (recipe / "images.csv").open(newline="") as file:
        aside = sorted(row["file"] for row in csv.DictReader(file) if uses[row["sha256"]] == "set_aside")
    shutil.copy(folder / aside[0], folder / "again.png")
    groups = {path.name: path.stem for path in folder.glob("*.png")}
    groups |= {aside[1]: "block", "again.png": "block"}
    (folder / "groups.csv").write_text("file,group\n" + "".join(f"{f},{g}\n" for f, g in groups.items()))
    assert fit(recipe, folder, rate="0.06") == 0
    promise = load_thresholds(recipe).calibration.promise
    assert (promise.groups, promise.frames) == (19, 20)
    assert len(factor_groups(recipe)) == 19


def test_an_image_that_groups_csv_lacks_is_refused(recipe, good_frames_folder, tmp_path, capsys):
    folder = tmp_path / "partial"
    shutil.copytree(good_frames_folder, folder)
    (folder / "groups.csv").write_text("file,group\n000.png,a\n")
    assert fit(recipe, folder) == 65
    assert "lacks 39 images of its folder: 001.png" in capsys.readouterr().err


def test_one_training_frame_does_not_say_what_is_usual(recipe, good_frames_folder, tmp_path):
    folder = tmp_path / "one"
    shutil.copytree(good_frames_folder, folder)
    with (recipe / "images.csv").open(newline="") as file:
        seen = [row["file"] for row in csv.DictReader(file) if row["use"] != "set_aside"]
    for name in seen[1:]:
        (folder / name).unlink()
    assert fit(recipe, folder, rate="0.1") == 0
    with (recipe / "thresholds" / "r0001" / "images.csv").open(newline="") as file:
        uses = [row["use"] for row in csv.DictReader(file) if row["file"] != seen[0]]
    assert uses.count("location") == uses.count("factor") == 10


def test_a_smallest_defect_larger_than_the_region_is_refused(recipe, good_frames_folder, capsys):
    assert fit(recipe, good_frames_folder, "--min-area-px", str(96 * 80 + 1)) == 64
    assert "--min-area-px 7681 is more than the inspected region holds, 96 x 80" in capsys.readouterr().err


def test_only_folders_named_like_revisions_are_revisions(recipe, good_frames_folder):
    for name in ("r0001-old", "r12", "report", "r00001"):
        (recipe / "thresholds" / name).mkdir(parents=True)
    assert revision_names(recipe) == ["r00001"]
    (recipe / "thresholds" / "r00001").rmdir()
    assert fit(recipe, good_frames_folder) == 0
    assert revision_names(recipe) == ["r0001"]


@pytest.mark.parametrize("value", [1e-40, 0, -1, np.nan])
def test_a_scale_that_nothing_can_be_divided_by_is_refused(recipe, good_frames_folder, value):
    assert fit(recipe, good_frames_folder) == 0
    revision = load_thresholds(recipe)
    scale = revision.scale.copy()
    scale[0, 0, 0] = value
    calibration = revision.calibration.model_copy(update={"revision": "r0002"})
    save_thresholds(recipe, ThresholdRevision(revision.location, scale, calibration), images_csv="", versions={})
    with pytest.raises(ThresholdsError, match="positive with a finite reciprocal"):
        load_thresholds(recipe, name="r0002")


def test_new_frames_alone_are_halved(recipe, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    for seed in range(100, 140):
        cv2.imwrite(str(folder / f"{seed}.png"), draw_part(seed))
    assert fit(recipe, folder) == 0
    assert load_thresholds(recipe).calibration.promise.groups == 20


def test_each_fit_is_a_new_revision_and_no_activate_leaves_the_old_in_force(recipe, good_frames_folder):
    assert fit(recipe, good_frames_folder) == 0
    assert fit(recipe, good_frames_folder, "--no-activate", "--note", "lens cleaned") == 0
    assert revision_names(recipe) == ["r0001", "r0002"]
    assert load_thresholds(recipe).name == "r0001"
    assert load_thresholds(recipe, name="r0002").calibration.note == "lens cleaned"
    assert main(["activate", str(recipe), "r0002"]) == 0
    assert load_thresholds(recipe).name == "r0002"
    assert main(["activate", str(recipe), "r0009"]) == 78
    assert load_thresholds(recipe).name == "r0002"


def test_thresholds_under_which_a_test_piece_passes_are_refused(recipe, good_frames_folder, tmp_path, capsys):
    folder = tmp_path / "spoiled"
    shutil.copytree(good_frames_folder, folder)
    for seed in range(12):
        noise = np.random.default_rng(seed).integers(0, 256, (80, 96, 3), np.uint8)
        cv2.imwrite(str(folder / f"new{seed:02d}.png"), draw_part(500 + seed) if seed < 6 else noise)
    assert fit(recipe, folder, rate="0.05") == 78
    told = capsys.readouterr().err
    assert "would pass" in told
    assert re.search(r"look first at \S+\.png", told)
    assert revision_names(recipe) == []


@pytest.mark.parametrize(("file", "damage"), [("scale.npy", b"x"), ("calibration.yaml", b""), ("location.npy", None)])
def test_a_damaged_revision_is_refused_with_the_file_named(recipe, good_frames_folder, capsys, file, damage):
    fit(recipe, good_frames_folder)
    path = recipe / "thresholds" / "r0001" / file
    path.unlink() if damage is None else path.write_bytes(damage)
    assert main(["evaluate", str(recipe), str(good_frames_folder)]) == 78
    assert file in capsys.readouterr().err


def test_evaluating_without_thresholds_exits_78(recipe, good_frames_folder, capsys):
    assert main(["evaluate", str(recipe), str(good_frames_folder)]) == 78
    assert "no threshold revision in force" in capsys.readouterr().err
