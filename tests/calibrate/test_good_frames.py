"""Where the good frames of a fit come from, what counts as one of them, and what of them is not looked at."""

import csv
import os
import shlex
import shutil
from contextlib import closing

import cv2
import numpy as np
import pytest
from parts import draw_part

from calibrate.cli import main
from calibrate.fit import FitWish
from calibrate.fit import fit as fit_revision
from calibrate.good_frames import assign_uses
from calibrate.groups import blocks
from calibrate.known_frames import read_known_frames
from calibrate.recipe_engine import RecipeEngine
from edge_agent.decision import decide
from edge_agent.thresholds import load_thresholds
from engines.errors import DatasetError
from engines.images import pixel_sha256, read_image


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
    assert "Add 157 more" in capsys.readouterr().err


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


def write_groups(folder, group_of):
    names = sorted(p.name for p in folder.glob("*.png"))
    lines = "".join(f"{name},{group_of(n)}\n" for n, name in enumerate(names))
    (folder / "groups.csv").write_text(f"file,group\n{lines}")


def test_a_part_of_which_the_network_knows_a_frame_gives_no_factor(tiny_recipe, good_frames_folder, tmp_path, capsys):
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    write_groups(folder, lambda n: f"part {n // 2}")
    frames = assign_uses(tiny_recipe, folder)
    known = {f.group for f in frames if f.use == "location"}
    factor = {f.group for f in frames if f.use == "factor"}
    assert not known & factor
    assert "belong to groups that trained the network" in capsys.readouterr().err
    write_groups(folder, lambda n: "all")
    with pytest.raises(DatasetError, match="every group of"):
        assign_uses(tiny_recipe, folder)


def test_the_score_of_a_part_is_that_of_its_worst_frame(recipe, good_frames_folder, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for path in sorted(good_frames_folder.glob("*.png")):
        frame = cv2.imread(str(path))
        cv2.imwrite(str(folder / path.name), cv2.add(frame, 1))
    write_groups(folder, lambda n: f"part {n // 2:02d}")
    assert fit(recipe, "--images", folder, rate="0.2") == 0
    largest: dict[str, float] = {}
    rows = [row for row in uses_of(recipe) if row["use"] == "factor"]
    for row in rows:
        largest[row["group"]] = max(largest.get(row["group"], 0.0), float(row["score"]))
    assert len(rows) == 2 * len(largest) == 20
    assert load_thresholds(recipe).factor == pytest.approx(sorted(largest.values())[-2], rel=1e-5)


def test_a_few_known_frames_do_not_say_what_is_usual_among_many_new_ones(recipe, good_frames_folder, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, path in enumerate(sorted(good_frames_folder.glob("*.png"))):
        frame = cv2.imread(str(path))
        cv2.imwrite(str(folder / path.name), frame if number < 3 else cv2.add(frame, 1))
    assert fit(recipe, "--images", folder, rate="0.1") == 0
    assert sum(row["use"] == "location" for row in uses_of(recipe)) >= 15


def test_blocks_follow_the_numbers_in_the_names_and_none_is_short():
    names = [f"frame {number}.png" for number in range(50)]
    found = blocks(sorted(names))
    assert [found[name] for name in names] == ["block 0"] * 20 + ["block 1"] * 30


def test_a_camera_takes_new_frames_so_none_can_be_excluded(recipe, capsys):
    words = ["--camera", "synthetic://plate?size=96x80", "--frames", "20", "--exclude", "000001.png"]
    assert fit(recipe, *words) == 64
    assert "a camera takes new ones" in capsys.readouterr().err


def test_a_copy_under_another_name_is_excluded_by_its_pixels(recipe, good_frames_folder, tmp_path):
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    shutil.copy(folder / "007.png", folder / "zcopy.png")
    assert fit(recipe, "--images", folder, "--exclude", "zcopy.png") == 0
    assert [row["file"] for row in uses_of(recipe) if row["use"] == "excluded"] == ["007.png"]


def test_what_is_ignored_has_no_say_outside(recipe, good_frames_folder, tmp_path):
    random = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for path in sorted(good_frames_folder.glob("*.png")):
        frame = cv2.add(cv2.imread(str(path)), 1)
        frame[:, :30] = random.integers(0, 255, frame[:, :30].shape)
        cv2.imwrite(str(folder / path.name), frame)
    mask = paint(tmp_path / "mask.png", (96, 80), (0, 0, 36, 80))
    assert fit(recipe, "--images", folder, "--ignore", mask, rate="0.1") == 0
    assert fit(recipe, "--images", folder, rate="0.1") == 0
    masked, open_ = load_thresholds(recipe, name="r0001"), load_thresholds(recipe, name="r0002")
    far = (slice(None), slice(None), slice(44, None))
    assert np.median(masked.scale[far]) < 0.7 * np.median(open_.scale[far])


def test_islands_smaller_than_the_smallest_defect_are_refused(recipe, good_frames_folder, tmp_path, capsys):
    mask = np.full((80, 96), 255, np.uint8)
    mask[::20, ::24] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    words = ["--images", good_frames_folder, "--ignore", tmp_path / "mask.png", "--min-area-px", "100"]
    assert fit(recipe, *words) == 65
    assert "every part would pass" in capsys.readouterr().err


def test_the_card_is_drawn_on_frames_that_the_network_never_saw(recipe, good_frames_folder, monkeypatch):
    shown = []
    monkeypatch.setattr("calibrate.fit.run_trials", lambda _engine, paths, _revision: shown.extend(paths) or [])
    assert fit(recipe, "--images", good_frames_folder) == 0
    factor = {row["file"] for row in uses_of(recipe) if row["use"] == "factor"}
    assert {path.name for path in shown} == factor


@pytest.fixture
def dataset(good_frames_folder, tmp_path):
    root = tmp_path / "part"
    for place in ("train/good", "test/good", "test/scratch", "ground_truth/scratch"):
        shutil.copytree(good_frames_folder, root / place)
    return root


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (".", "is a data set and not the folder"),
        ("test", "belongs to the test folder"),
        ("test/scratch", "belongs to the test folder"),
        ("ground_truth/scratch", "belongs to the ground_truth folder of a data set: masks"),
    ],
)
def test_what_a_data_set_holds_beside_good_parts_is_refused(tiny_recipe, dataset, given, says):
    with pytest.raises(DatasetError, match=says):
        assign_uses(tiny_recipe, dataset / given)


@pytest.mark.parametrize("given", ["train/good", "test/good"])
def test_the_good_parts_of_a_data_set_are_taken(tiny_recipe, dataset, given):
    assert len(assign_uses(tiny_recipe, dataset / given)) == 40


def test_masks_beside_their_images_are_no_good_parts(tiny_recipe, good_frames_folder, tmp_path):
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    paint(folder / "007_mask.png", (96, 80), (10, 10, 20, 20))
    with pytest.raises(DatasetError, match=r"masks of defects lie among the images .*007_mask\.png"):
        assign_uses(tiny_recipe, folder)


@pytest.fixture
def mixed(tiny_recipe, good_frames_folder, tmp_path):
    """Make a folder of so many frames that trained the network, and so many that it never saw."""

    def mix(known, new, views=1):
        folder = tmp_path / "mixed"
        folder.mkdir()
        uses = read_known_frames(tiny_recipe)
        taught = [p for p in sorted(good_frames_folder.glob("*.png")) if uses.has_taught(pixel_sha256(read_image(p)))]
        for path in taught[:known]:
            shutil.copy(path, folder / path.name)
        for number in range(new):
            cv2.imwrite(str(folder / f"new-{number:02d}.png"), draw_part(500 + number))
        write_groups(folder, lambda n: f"known {n}" if n < known else f"new {(n - known) // views}")
        return folder

    return mix


@pytest.mark.parametrize(
    ("known", "new", "location", "factor"), [(20, 60, 50, 30), (5, 24, 12, 12), (15, 24, 27, 12), (10, 3, 11, 2)]
)
def test_half_of_the_new_frames_say_what_is_usual_beside_the_known_ones_or_in_their_place(
    tiny_recipe, mixed, known, new, location, factor
):
    uses = [frame.use for frame in assign_uses(tiny_recipe, mixed(known, new))]
    assert (uses.count("location"), uses.count("factor")) == (location, factor)


@pytest.mark.parametrize(("known", "new"), [(0, 36), (2, 30), (12, 18)])
def test_the_parts_that_are_missing_for_the_wish_are_counted_with_the_half_that_says_what_is_usual(
    recipe, mixed, capsys, known, new
):
    images = mixed(known, new)
    for missing in range(37 - new, 0, -1):
        if missing in (37 - new, 2, 1):
            assert fit(recipe, "--images", images) == 65
            assert f"Add {missing} more good " in capsys.readouterr().err
        number = 37 - missing
        with (images / "groups.csv").open("a") as file:
            file.write(f"new-{number:02d}.png,more {number}\n")
        cv2.imwrite(str(images / f"new-{number:02d}.png"), draw_part(500 + number))
    assert fit(recipe, "--images", images) == 0


def brighter(frame):
    return np.clip(np.rint(frame * 1.12 + np.linspace(0, 10, frame.shape[1])[:, None]), 0, 255).astype(np.uint8)


def spotted(frame):
    center, radius = (48, 40), 8
    mask = cv2.circle(np.zeros(frame.shape[:2], np.uint8), center, radius, 255, -1) > 0
    return np.where(mask[..., None], cv2.subtract(frame, (60, 60, 60, 0)), frame)


def test_good_parts_of_another_light_beside_the_old_ones_do_not_hide_defects(recipe, good_frames_folder, tmp_path):
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    for seed in range(1000, 1060):
        cv2.imwrite(str(folder / f"today-{seed}.png"), brighter(draw_part(seed)))
    with closing(RecipeEngine(recipe)) as engine:
        revision = fit_revision(engine, folder, FitWish(0.02), must_reject_test_pieces=False)
        good = [brighter(draw_part(seed)) for seed in range(3000, 3020)]

        def rejected(frames):
            found = [decide(engine.maps(frame), revision, roi_size_wh=engine.recipe.roi_size_wh) for frame in frames]
            return sum(decision.verdict == "FAIL" for decision in found)

        assert rejected(good) <= 2
        assert rejected(map(spotted, good)) >= 16


def test_set_aside_frames_give_the_factor_alone_and_new_ones_are_halved_in_whole_groups(
    tiny_recipe, good_frames_folder, tmp_path, capsys
):
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    assign_uses(tiny_recipe, folder)
    assert "mixture" not in capsys.readouterr().err
    for number in range(24):
        cv2.imwrite(str(folder / f"new-{number:02d}.png"), draw_part(500 + number))
    write_groups(folder, lambda n: f"old {n}" if n < 40 else f"new {(n - 40) // 3}")
    frames = assign_uses(tiny_recipe, folder)
    uses = {frame.path.name: frame.use for frame in frames}
    assert [uses[f"new-{number:02d}.png"] for number in range(24)] == ["location"] * 12 + ["factor"] * 12
    known = read_known_frames(tiny_recipe)
    named = {(known.has_taught(frame.sha256), frame.use) for frame in frames if frame.sha256 in known.uses}
    assert named == {(True, "location"), (False, "factor")}
    assert "from 20 good parts that the recipe knows and 4 that it does not" in capsys.readouterr().err


def test_where_few_are_known_the_new_ones_are_halved_and_not_only_the_last_of_them(
    tiny_recipe, good_frames_folder, tmp_path
):
    folder = tmp_path / "images"
    folder.mkdir()
    known = read_known_frames(tiny_recipe)
    for path in sorted(good_frames_folder.glob("*.png")):
        if not known.has_taught(pixel_sha256(read_image(path))):
            shutil.copy(path, folder / path.name)
    for number in range(20):
        cv2.imwrite(str(folder / f"new-{number:02d}.png"), draw_part(500 + number))
    uses = {frame.path.name: frame.use for frame in assign_uses(tiny_recipe, folder)}
    assert [uses[f"new-{number:02d}.png"] for number in range(20)] == ["location"] * 10 + ["factor"] * 10


def test_new_parts_that_are_missing_are_counted_with_the_half_that_says_what_is_usual(
    recipe, good_frames_folder, tmp_path, capsys
):
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    for number in range(7):
        assert fit(recipe, "--images", folder, rate="0.04") == 65
        assert f"Add {7 - number} more good frames" in capsys.readouterr().err
        cv2.imwrite(str(folder / f"new-{number}.png"), draw_part(500 + number))
    assert fit(recipe, "--images", folder, rate="0.04") == 0


@pytest.mark.parametrize("known", [0, 12])
def test_a_refusal_names_the_way_out_where_the_groups_are_nests(recipe, mixed, capsys, known):
    images = mixed(known, 40)
    write_groups(images, lambda n: f"known {n}" if n < known else f"nest {n % 8}")
    assert fit(recipe, "--images", images) == 65
    told = capsys.readouterr().err
    assert "If the groups are nests or carriers and not parts, and each frame shows another part" in told
    assert "give --group-by none" in told
    assert fit(recipe, "--images", images, "--group-by", "none") == 0
    assert fit(recipe, "--images", images, "--group-by", "block") == 65
    assert "nests" not in capsys.readouterr().err


def test_one_more_good_part_never_promises_less(tiny_recipe, mixed):
    images = mixed(12, 0)
    left = []
    for number in range(30):
        cv2.imwrite(str(images / f"new-{number:02d}.png"), draw_part(500 + number))
        (images / "groups.csv").unlink(missing_ok=True)
        left.append([frame.use for frame in assign_uses(tiny_recipe, images)].count("factor"))
    assert left == sorted(left)


def test_a_wish_that_so_many_frames_of_a_camera_cannot_promise_is_refused_before_any_is_taken(recipe, tmp_path, capsys):
    words = ["--camera", "synthetic://plate?size=96x80", "--images", tmp_path / "kept", "--frames", 500]
    assert fit(recipe, *words, rate="0.01") == 65
    assert "Take --frames 3940, or" in capsys.readouterr().err
    assert fit(recipe, *words, "--group-by", "none", "--confident", rate="0.01") == 65
    assert "Take --frames 597, or" in capsys.readouterr().err
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("known", "new", "views", "more"),
    [(1, 4, 1, 16), (1, 9, 1, 11), (9, 19, 1, 1), (0, 3, 1, 17), (2, 12, 4, 3), (0, 30, 10, 1)],
)
def test_too_few_frames_to_say_what_is_usual_are_refused_with_what_is_missing(
    tiny_recipe, mixed, known, new, views, more
):
    images = mixed(known, new, views)
    for missing in range(more, 0, -1):
        says = rf"and {known} frames that trained it: 10 at least .* Record {missing} more"
        with pytest.raises(DatasetError, match=says):
            assign_uses(tiny_recipe, images)
        for _view in range(views):
            cv2.imwrite(str(images / f"new-{new:02d}.png"), draw_part(500 + new))
            with (images / "groups.csv").open("a") as file:
                file.write(f"new-{new:02d}.png,more {missing}\n")
            new += 1
    assert {frame.use for frame in assign_uses(tiny_recipe, images)} == {"location", "factor"}


@pytest.mark.parametrize(
    ("count", "views", "more", "rate"),
    [(10, 1, 15, 0.091), (18, 1, 11, 0.091), (19, 1, 0, 0.1), (25, 1, 0, 0.077), (16, 2, 6, 0.167)],
)
def test_what_train_says_is_missing_is_what_a_fit_refuses(tmp_path, capsys, count, views, more, rate):
    pytest.importorskip("torch", reason="training needs torch: pip install 'edge-agent[train]'")
    from engines.cli import main as engines

    images = tmp_path / "images"
    images.mkdir()
    names = [f"{number:02d}.png" for number in range(count + more * views)]

    def record(until):
        for number, name in enumerate(names[:until]):
            cv2.imwrite(str(images / name), draw_part(number))
        if views > 1:
            write_groups(images, lambda n: f"part {n // views}")

    record(count)
    words = ["--size", "64", "--width", "16", "--batch", "2", "--errors", "l2", "--steps", "1"]
    assert engines(["train", str(images), "--recipe", str(tmp_path / "recipe"), *words]) == 0
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert ("first" in said) is (more > 0)
    command = shlex.split(said["next"])[2:]
    assert command[-1] == str(rate)
    for missing in range(more, 0, -1):
        record(count + (more - missing) * views)
        assert main(command) == 65
        assert f"Record {missing} more good parts" in capsys.readouterr().err
    if more:
        each = f" with {views} frames each" if views > 1 else ""
        assert f"record {more} more good parts{each} into {images}" in said["first"]
        assert ("groups.csv" in said["first"]) is (views > 1)
    record(len(names))
    assert main(command) == 0


def test_training_pictures_saved_anew_are_doubted(recipe, good_frames_folder, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, path in enumerate(sorted(good_frames_folder.glob("*.png"))):
        name = path.name if number < 30 else f"new-{path.name}"
        cv2.imwrite(str(folder / name), cv2.add(cv2.imread(str(path)), 1))
    words = ["--images", folder, "--note", "new lamp."]
    assert fit(recipe, *words) == 0
    doubt = "new lamp. This rests on no picture that the recipe knows, but on 30 that are called like one of them."
    assert load_thresholds(recipe).calibration.note.startswith(doubt)
    assert f"Note: {doubt} If they are its training pictures saved anew, the promise" in capsys.readouterr().out
    assert fit(recipe, "--images", good_frames_folder, *words[2:]) == 0
    assert load_thresholds(recipe).calibration.note == "new lamp."


def test_names_that_cannot_be_written_down_are_refused_at_once(recipe, good_frames_folder, tmp_path, capsys):
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    (folder / "000.png").rename(folder / os.fsdecode("prüfling.png".encode("latin-1")))
    assert fit(recipe, "--images", folder) == 65
    assert "are not UTF-8: pr\\udcfcfling.png. Rename them" in capsys.readouterr().err
