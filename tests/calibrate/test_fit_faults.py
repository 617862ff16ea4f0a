"""A fit while something around it is not as it should be: the disk, the engine, the clock, the camera, another fit."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timedelta
from hashlib import sha256

import cv2
import numpy as np
import pytest
from parts import draw_part

from calibrate.cli import main
from calibrate.fit import FitWish
from calibrate.fit import fit as fit_revision
from calibrate.recipe_engine import RecipeEngine
from edge_agent.frame_limits import check_frame
from edge_agent.revisions import LOG, activate, read_log, revision_names
from edge_agent.thresholds import load_thresholds, name_in_force
from engines.errors import FrameError
from engines.recipe import MODEL_FILES, THRESHOLDS_FOLDER, write_manifest

APART = """
import resource, sys
from calibrate import sensitivity
from calibrate.cli import main
from calibrate.fit import FitWish
from calibrate.fit import fit as fit_revision
from calibrate.recipe_engine import RecipeEngine
largest_file, sensitivity.SAMPLES = int(sys.argv.pop(1)), int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
sys.exit(main())
"""
UNLIMITED = 2**40


@pytest.fixture
def recipe(tmp_path, tiny_recipe):
    return shutil.copytree(tiny_recipe, tmp_path / "recipe")


@pytest.fixture
def recipe_in_force(recipe, good_frames_folder):
    assert fit(recipe, good_frames_folder) == 0
    return recipe


def words(recipe, images, rate="0.05"):
    return ["fit", str(recipe), "--images", str(images), "--false-reject-rate", rate]


def fit(recipe, images, **more):
    return main(words(recipe, images, **more))


def fit_apart(recipe, images, *, largest_file=UNLIMITED, samples=1):
    command = [sys.executable, "-c", APART, str(largest_file), str(samples), *words(recipe, images)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def content_of(recipe):
    return {path: sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in recipe.rglob("*")}


def test_a_recipe_that_may_not_be_written_to_is_refused_before_any_work(
    recipe, good_frames_folder, monkeypatch, capsys
):
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: recipe not in (path, path.parent) and allowed(path, mode))
    assert fit(recipe, good_frames_folder) == 74
    said = capsys.readouterr().err
    assert "may not be written to, and there the new thresholds belong. On a station join the group" in said
    assert revision_names(recipe) == []


@pytest.mark.parametrize(("largest_file", "samples"), [(20_000, 1), (40_000, 12)], ids=["arrays", "card"])
def test_a_disk_that_fills_leaves_everything_as_it_was(recipe_in_force, good_frames_folder, largest_file, samples):
    before = content_of(recipe_in_force)
    fitting = fit_apart(recipe_in_force, good_frames_folder, largest_file=largest_file, samples=samples)
    _, said = fitting.communicate(timeout=120)
    assert fitting.returncode == 74
    assert "cannot be written" in said
    assert "Free space on that disk" in said
    assert "Traceback" not in said
    assert content_of(recipe_in_force) == before
    assert load_thresholds(recipe_in_force).name == "r0001"


def test_a_disk_that_fills_before_a_revision_is_in_force_leaves_the_old_one_in_force(
    recipe_in_force, good_frames_folder
):
    log = recipe_in_force / THRESHOLDS_FOLDER / LOG
    log.write_text(log.read_text() + 70_000 * "\n")
    fitting = fit_apart(recipe_in_force, good_frames_folder, largest_file=60_000)
    _, said = fitting.communicate(timeout=120)
    assert fitting.returncode == 74
    assert "r0002 is saved but not in force: File too large. Free space" in said
    assert name_in_force(recipe_in_force) == "r0001"
    assert main(["activate", str(recipe_in_force), "r0002"]) == 0
    assert [change.before for change in read_log(recipe_in_force)] == [None, "r0001"]


def test_a_reader_who_leaves_early_does_not_keep_the_revision_from_being_in_force(recipe, good_frames_folder):
    fitting = fit_apart(recipe, good_frames_folder)
    fitting.stdout.close()
    fitting.stdout = None
    fitting.communicate(timeout=120)
    assert fitting.returncode == 74
    assert name_in_force(recipe) == "r0001"


def test_a_page_that_cannot_be_written_does_not_hide_the_revision(
    recipe, good_frames_folder, tmp_path, capsys, monkeypatch
):
    page, result = tmp_path / "fit.html", tmp_path / "fit.json"

    def activate_while_the_name_is_taken(*revision, **note):
        page.mkdir()
        return activate(*revision, **note)

    monkeypatch.setattr("calibrate.commands.fit.activate", activate_while_the_name_is_taken)
    assert main([*words(recipe, good_frames_folder), "--html", str(page), "--json", str(result)]) == 74
    said = capsys.readouterr()
    assert "Threshold revision r0001" in said.out
    assert str(page) in said.err
    assert name_in_force(recipe) == json.loads(result.read_text())["revision"] == "r0001"


@pytest.mark.parametrize("option", ["--html", "--json"])
def test_a_result_that_cannot_be_written_is_refused_before_anything_is_in_force(
    recipe, good_frames_folder, tmp_path, capsys, option
):
    assert main([*words(recipe, good_frames_folder), option, str(tmp_path / "nowhere" / "file")]) == 64
    assert f"{option}: " in capsys.readouterr().err
    assert revision_names(recipe) == []


def test_one_frame_without_a_picture_does_not_let_others_pass_the_check_of_the_light(
    recipe, good_frames_folder, tmp_path
):
    assert fit(recipe, good_frames_folder) == 0
    before = load_thresholds(recipe).calibration.frame_limits
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    cv2.imwrite(str(folder / "warming-up.png"), np.random.default_rng(0).integers(0, 2, (80, 96, 3), np.uint8))
    assert fit(recipe, folder, rate="0.1") == 0
    calibration = load_thresholds(recipe).calibration
    assert calibration.suspects == ["warming-up.png"]
    assert calibration.frame_limits == before


def test_a_limit_that_rests_on_a_suspect_is_said(recipe, good_frames_folder, tmp_path, capsys):
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    spoiled = cv2.imread(str(folder / "000.png"))
    spoiled[30:46, 30:50] //= 2
    cv2.imwrite(str(folder / "spoiled.png"), spoiled)
    assert fit(recipe, folder) == 0
    assert "The limit is the score of spoiled.png" in capsys.readouterr().out
    assert main([*words(recipe, folder), "--exclude", "spoiled.png"]) == 0
    assert "The limit is" not in capsys.readouterr().out


def test_frames_of_one_part_only_are_doubted(recipe, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    part = draw_part(1)
    for number in range(60):
        noise = np.random.default_rng(number).integers(0, 3, part.shape, np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.add(part, noise))
    assert fit(recipe, folder) == 0
    assert "Most good frames of the training would be rejected" in capsys.readouterr().out


def test_a_kind_of_good_part_does_not_let_a_frame_without_a_picture_pass(recipe, good_frames_folder, tmp_path):
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    for path in sorted(folder.iterdir())[::5]:
        cv2.imwrite(str(path), cv2.convertScaleAbs(cv2.imread(str(path)), alpha=0.8, beta=30))
    cv2.imwrite(str(folder / "warming-up.png"), np.random.default_rng(0).integers(0, 2, (80, 96, 3), np.uint8))
    with closing(RecipeEngine(recipe)) as engine:
        calibration = fit_revision(engine, folder, FitWish(0.1), must_reject_test_pieces=False).calibration
    with pytest.raises(FrameError, match="brightness"):
        check_frame(cv2.imread(str(folder / "warming-up.png")), calibration.frame_limits)


def test_a_fifth_of_the_good_parts_is_no_fault_of_the_light(recipe, good_frames_folder, tmp_path):
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    bright = []
    for path in sorted(folder.iterdir())[::5]:
        bright.append(cv2.convertScaleAbs(cv2.imread(str(path)), alpha=0.12, beta=224))
        cv2.imwrite(str(path), bright[-1])
    with closing(RecipeEngine(recipe)) as engine:
        revision = fit_revision(engine, folder, FitWish(0.1), must_reject_test_pieces=False)
    for frame in bright:
        check_frame(frame, revision.calibration.frame_limits)


@pytest.mark.parametrize(
    ("factor", "says"),
    [(np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (-1, "errors are positive"), (0, "0 to 0")],
)
def test_an_engine_whose_maps_cannot_be_is_refused(recipe, good_frames_folder, capsys, factor, says):
    onnx = pytest.importorskip("onnx")
    path = recipe / MODEL_FILES["cpu"]
    model = onnx.load(path)
    (last,) = (node for node in model.graph.node if "anomaly_maps" in node.output)
    last.output[list(last.output).index("anomaly_maps")] = "right"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(factor, np.float32), "factor"))
    model.graph.node.append(onnx.helper.make_node("Mul", ["right", "factor"], ["anomaly_maps"]))
    onnx.save(model, path)
    write_manifest(recipe, versions={})
    assert fit(recipe, good_frames_folder) == 69
    said = capsys.readouterr().err
    assert says in said
    assert str(good_frames_folder) in said
    assert "edge-engines verify" in said
    assert revision_names(recipe) == []


def test_two_fits_at_once_make_two_revisions_one_after_the_other(recipe, good_frames_folder):
    both = [fit_apart(recipe, good_frames_folder) for _ in range(2)]
    ends = [fitting.communicate(timeout=120) for fitting in both]
    assert [fitting.returncode for fitting in both] == [0, 0], ends
    assert revision_names(recipe) == ["r0001", "r0002"]
    assert [load_thresholds(recipe, name=name).name for name in ("r0001", "r0002")] == ["r0001", "r0002"]
    log = read_log(recipe)
    assert {change.revision for change in log} == {"r0001", "r0002"}
    assert [change.before for change in log] == [None, log[0].revision]
    assert name_in_force(recipe) == log[1].revision


def test_a_clock_that_jumps_back_loses_and_disorders_nothing(
    recipe_in_force, good_frames_folder, monkeypatch, tmp_path
):
    class AnHourAgo(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(hours=1)

    monkeypatch.setattr("calibrate.fit.datetime", AnHourAgo)
    monkeypatch.setattr("edge_agent.revisions.datetime", AnHourAgo)
    assert fit(recipe_in_force, good_frames_folder, rate="0.2") == 0
    first, second = (load_thresholds(recipe_in_force, name=name).calibration for name in ("r0001", "r0002"))
    assert second.created < first.created
    history = tmp_path / "history.json"
    assert main(["history", str(recipe_in_force), "--json", str(history)]) == 0
    content = json.loads(history.read_text())
    assert list(content["revisions"]) == ["r0001", "r0002"]
    assert [change["revision"] for change in content["log"]] == ["r0001", "r0002"]
    assert content["in_force"] == "r0002"
    assert main(["rollback", str(recipe_in_force)]) == 0
    assert name_in_force(recipe_in_force) == "r0001"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda frame: cv2.resize(frame, (98, 80)),
            "a frame is 98 x 80 colour but the recipe takes 96 x 80 colour. Use frames of one size",
        ),
        (
            lambda frame: cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY),
            "but the recipe takes 96 x 80 colour. Record it with the camera and format of the recipe",
        ),
    ],
    ids=["size", "camera"],
)
def test_a_frame_of_another_size_or_camera_is_refused_by_name(
    recipe, good_frames_folder, tmp_path, capsys, change, says
):
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    cv2.imwrite(str(folder / "other.png"), change(draw_part(500)))
    assert fit(recipe, folder) == 65
    said = capsys.readouterr().err
    assert says in said
    assert "other.png" in said
    assert revision_names(recipe) == []


def test_one_frame_many_times_is_one_good_part(recipe, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(60):
        cv2.imwrite(str(folder / f"{number:02d}.png"), draw_part(500))
    assert fit(recipe, folder) == 65
    said = capsys.readouterr().err
    assert "counted once: 59.png has the pixels of 00.png" in said
    assert "holds 1 good parts" in said
    assert revision_names(recipe) == []
