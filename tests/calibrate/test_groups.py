"""What belongs to one part stays one part, and leaves with it."""

import csv
import shutil

import pytest

from calibrate.good_frames import assign_uses
from calibrate.known_frames import read_known_frames


@pytest.fixture
def recipe(tmp_path, tiny_recipe):
    """A recipe that was trained with two views of each part."""
    folder = shutil.copytree(tiny_recipe, tmp_path / "recipe")
    with (folder / "images.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["use"], row["file"]))
    lines = [f"{row['file']},{row['use']} part {n // 2},{row['use']},{row['sha256']}\n" for n, row in enumerate(rows)]
    (folder / "images.csv").write_text("file,group,use,sha256\n" + "".join(lines))
    return folder


def groups_of(frames, use):
    return {frame.group for frame in frames if frame.use == use}


def test_views_of_one_part_are_one_part_without_the_file_that_said_so(recipe, good_frames_folder, tmp_path):
    whole = assign_uses(recipe, good_frames_folder)
    assert groups_of(whole, "factor") == {f"set_aside part {number}" for number in range(10)}
    assert len(groups_of(assign_uses(recipe, good_frames_folder, group_by="none"), "factor")) == 20

    alone = tmp_path / "alone"
    alone.mkdir()
    uses = read_known_frames(recipe).uses
    for frame in whole:
        if uses[frame.sha256] == "set_aside":
            shutil.copy(frame.path, alone / f"renamed-{frame.path.name}")
    frames = assign_uses(recipe, alone)
    assert groups_of(frames, "location") | groups_of(frames, "factor") == groups_of(whole, "factor")


def test_groups_of_training_that_share_a_picture_are_one(recipe):
    text = (recipe / "images.csv").read_text()
    first, second = [line for line in text.splitlines() if "set_aside part" in line][1:3]
    again = ",".join(["again.png", "set_aside part 1", *first.split(",")[2:]])
    (recipe / "images.csv").write_text(f"{text}{again}\n")
    groups = read_known_frames(recipe).groups
    assert groups[first.split(",")[3]] == groups[second.split(",")[3]] == "set_aside part 0"
