"""A whole station at a GigE Vision camera that is unplugged: the agent runs in the environment that `make gige` makes."""

import os
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from gige.fake_camera import AS_ORDINARY_USER, SHAPE, URI
from mosquitto import Mosquitto, find_mosquitto
from running_station import RunningStation, TestPlc

AGENT = Path(__file__).parents[2] / ".cache" / "gige" / "bin" / "edge-agent"
pytestmark = [
    pytest.mark.skipif(not AGENT.exists(), reason="needs the environment of GigE Vision: run `make gige`"),
    pytest.mark.skipif(find_mosquitto() is None, reason="needs Mosquitto: apt-get install mosquitto"),
]


@pytest.fixture
def folder():
    """A folder of the ordinary user; pytest's own are closed to him."""
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


@pytest.fixture
def recipe(folder):
    """Thresholds for the moving ramp that the fake camera draws; what they reject is of no interest here."""
    pytest.importorskip("torch", reason="training needs torch: pip install 'edge-agent[train]'")
    from calibrate.fit import FitWish, fit
    from calibrate.recipe_engine import RecipeEngine
    from edge_agent.revisions import activate
    from engines.make_recipe import make_recipe
    from engines.order import Order
    from engines.schedule import Schedule

    frames, recipe = folder / "good", folder / "ramp"
    frames.mkdir()
    rows, columns = np.indices(SHAPE[:2])
    for number in range(40):
        cv2.imwrite(str(frames / f"{number:03}.png"), ((rows + columns + 6 * number) % 256).astype(np.uint8))
    make_recipe(
        Order(
            images=frames,
            recipe=recipe,
            name=None,
            map_shape=(64, 64),
            roi_xywh_px=None,
            errors=["l2"],
            resize="none",
            rotates=False,
            schedule=Schedule(steps=60, minutes=None, batch=8, seed=0, width=16),
        )
    )
    with closing(RecipeEngine(recipe)) as engine:
        revision = fit(engine, frames, FitWish(0.05, confident=False, min_area_px=None, note="test"))
    activate(recipe, revision.name)
    return recipe


@pytest.fixture
def station(folder, recipe, gige_camera, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    broker = Mosquitto(tmp_path)
    broker.start()
    station = RunningStation(folder, recipe, broker.port, URI, camera={"mode": "free_run"})
    station.plc = TestPlc(broker.port, station.topics)
    station.command = [*AS_ORDINARY_USER, AGENT]
    if AS_ORDINARY_USER:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534)
    yield station
    station.plc.stop()
    station.kill()
    broker.kill()


def test_a_station_misses_its_unplugged_camera_within_2_s_and_inspects_again(station, gige_camera, awake_s):
    plc = station.start().plc
    plc.wait_for_state("executing")
    before = plc.verdict()
    gige_camera.unplug()
    unplugged_s = awake_s()
    plc.wait_for_state("error", "camera_lost")
    assert awake_s() - unplugged_s < 2
    while not plc.verdicts.empty():
        before = plc.verdict()
    gige_camera.plug_in()
    plc.wait_for_state("executing")
    # The ramp of the fake camera begins anew, and may come to the last picture of before.
    while (after := plc.verdict())["reasons"] == ["frozen_frame"]:
        pass
    assert after["frame_seq"] > before["frame_seq"]
    assert (after["is_simulated"], after["reasons"]) == (False, [])
