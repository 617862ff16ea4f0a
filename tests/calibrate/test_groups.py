"""What belongs to one part stays one part, and leaves with it."""

import csv
import shutil

import cv2
import pytest

from calibrate.good_frames import assign_uses
from calibrate.groups import write_blocks
from calibrate.known_frames import read_known_frames
from engines.errors import DatasetError


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


def views(folder, good_frames_folder, groups):
    """60 frames that the network does not know."""
    folder.mkdir()
    for number in range(60):
        frame = cv2.imread(str(good_frames_folder / f"{number % 40:03d}.png"))
        frame[0, 0] = number + 100
        cv2.imwrite(str(folder / f"{number:03d}.png"), frame)
    lines = "".join(f"{number:03d}.png,{groups(number)}\n" for number in range(60))
    (folder / "groups.csv").write_text(f"file,group\n{lines}")
    return folder


def excluded(frames):
    return sorted(frame.path.stem for frame in frames if frame.use == "excluded")


def test_a_part_of_which_one_view_is_defective_leaves_with_all_its_views(
    tiny_recipe, good_frames_folder, tmp_path, capsys
):
    folder = views(tmp_path / "images", good_frames_folder, lambda number: f"part {number // 4:02d}")
    frames = assign_uses(tiny_recipe, folder, exclude=["009.png", "010.png", "020.png"])
    assert excluded(frames) == ["008", "009", "010", "011", "020", "021", "022", "023"]
    assert not groups_of(frames, "excluded") & (groups_of(frames, "location") | groups_of(frames, "factor"))
    assert "left out, too: 5 other frames of parts" in capsys.readouterr().err
    with pytest.raises(DatasetError, match=r"no part of .* is left"):
        assign_uses(tiny_recipe, folder, exclude=[f"{number:03d}.png" for number in range(0, 60, 4)])


def test_of_a_block_only_the_defective_frame_leaves(tiny_recipe, good_frames_folder, tmp_path, capsys):
    folder = views(tmp_path / "images", good_frames_folder, lambda number: "one part")
    assert excluded(assign_uses(tiny_recipe, folder, exclude=["009.png"], group_by="none")) == ["009"]
    for number in range(40):
        shutil.copy(good_frames_folder / f"{number:03d}.png", folder / f"{number + 60:03d}.png")
    write_blocks(folder)
    assert excluded(assign_uses(tiny_recipe, folder, exclude=["009.png"])) == ["009"]
    assert excluded(assign_uses(tiny_recipe, folder, exclude=["009.png"], group_by="block")) == ["009"]
    assert "left out, too" not in capsys.readouterr().err
