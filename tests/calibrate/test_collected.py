"""A fit on what a station has collected: for its engine, on the collection that was asked for."""

import shutil

import pytest
from running_station import RunningStation

from calibrate.cli import main
from edge_agent.collection import FOLDER, CollectedFrame, Collection, CollectionStatus
from edge_agent.revisions import revision_names
from edge_agent.thresholds import load_thresholds
from engines.images import list_images, read_image


@pytest.fixture
def recipe(tmp_path, tiny_recipe):
    return shutil.copytree(tiny_recipe, tmp_path / "recipe")


@pytest.fixture
def station(tmp_path, recipe):
    return RunningStation(tmp_path, recipe, 1, "synthetic://plate?size=96x80")


@pytest.fixture
def collection(station, good_frames_folder):
    """40 frames that all passed, and what a person needs to know of them."""
    status = CollectionStatus(recipe="tiny", threshold_rev="r0001", mode="triggered", wanted=40)
    collection = Collection(station.folder / "state" / FOLDER / "20260101T000000Z", status)
    for number, path in enumerate(list_images(good_frames_folder)):
        frame = read_image(path)
        frame[0, 0] = number
        collection.add(CollectedFrame(frame, f"result {number}", f"p{number}", "PASS", 1.0))
    return collection.folder


def fit(station, recipe, *more):
    words = ["fit", str(recipe), "--station", str(station.config), "--false-reject-rate", "0.1"]
    return main([*words, *map(str, more)])


@pytest.fixture
def tensorrt_is_there(tmp_path, monkeypatch):
    """A TensorRT that can be found; nobody shall import it."""
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "tensorrt.py").write_text("raise SystemError('it was imported')\n")
    monkeypatch.syspath_prepend(tmp_path / "libraries")


def test_a_defective_part_that_had_passed_is_left_out_too(station, recipe, collection):
    shutil.copy(collection / "frames" / "000003.png", collection / "defective")
    assert fit(station, recipe) == 0
    calibration = load_thresholds(recipe, name="r0001").calibration
    assert calibration.excluded == ["000003.png"]
    assert not calibration.promise.void


def test_a_label_that_belongs_to_no_frame_is_refused(station, recipe, collection, capsys):
    shutil.copy(collection / "frames" / "000003.png", collection / "defective" / "scratch.png")
    assert fit(station, recipe) == 65
    assert "scratch.png in `good` or `defective` is the name of no collected frame" in capsys.readouterr().err


@pytest.mark.usefixtures("tensorrt_is_there", "collection")
def test_a_fit_for_a_station_is_for_its_engine(station, recipe, capsys):
    assert fit(station, recipe) == 0
    calibration = load_thresholds(recipe, name="r0001").calibration
    assert (calibration.model, calibration.note) == ("cpu", "")
    assert fit(station, recipe, "--engine", "tensorrt") == 64
    said = capsys.readouterr().err
    assert "--engine tensorrt contradicts" in said
    assert "engine.runtime is cpu. Leave out --engine." in said
    assert revision_names(recipe) == ["r0001"]


@pytest.mark.usefixtures("collection")
def test_a_copy_of_the_station_s_recipe_is_refused(tmp_path, station, recipe, capsys):
    copy = shutil.copytree(recipe, tmp_path / "home" / "recipe")
    assert fit(station, copy) == 64
    said = capsys.readouterr().err
    assert f"{copy} is a copy" in said
    assert f"Give the one there, for example {recipe}." in said
    assert revision_names(copy) == []


@pytest.mark.usefixtures("collection")
def test_a_link_to_the_station_s_recipes_is_as_good(tmp_path, station, recipe):
    (tmp_path / "linked").symlink_to(recipe.parent)
    assert fit(station, tmp_path / "linked" / recipe.name) == 0
