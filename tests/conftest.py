"""Fixtures that several packages' tests share: generated parts and a recipe trained on them in seconds."""

import importlib.util
import os
import shutil
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from awake_clock import AwakeClock
from gige.fake_camera import FakeGigeCamera
from parts import draw_part

GOOD_FRAMES = 40
# What torch's own code is tested by; the rest of the suite runs without the extra `train`.
collect_ignore = (
    []
    if importlib.util.find_spec("torch")
    else [
        f"engines/test_{name}.py"
        for name in (
            "core_inputs",
            "error_maps",
            "graph",
            "interruption",
            "losses",
            "objectives",
            "recipe_files",
            "tile_planes",
            "tiled_recipe",
            "train_command",
            "training",
        )
    ]
    + ["fakes/test_torch2trt.py"]
)


def pytest_report_header():
    return f"OpenCV {cv2.__version__}, numpy {np.__version__}"


def pytest_addoption(parser):
    parser.addoption("--camera", metavar="URI", help="run the camera contract on this camera, too")
    parser.addoption(
        "--data",
        type=Path,
        default=os.environ.get("EDGE_DATA"),
        metavar="DIR",
        help="real parts in MVTec AD layout (default: EDGE_DATA)",
    )


@pytest.fixture
def awake_s():
    """A clock for bounds on what is told in seconds; call it."""
    clock = AwakeClock()
    yield clock
    clock.stop()


@pytest.fixture
def gige_camera():
    """A GigE Vision camera on the loopback interface, plugged in."""
    if not FakeGigeCamera.is_installed():
        pytest.skip("needs a fake GigE Vision camera: make gige, or apt-get install aravis-tools")
    camera = FakeGigeCamera()
    camera.plug_in()
    yield camera
    camera.unplug()


@pytest.fixture(scope="session")
def good_frames_folder(tmp_path_factory) -> Path:
    """A folder of 40 generated good frames, 96 x 80 pixels in colour; read only."""
    folder = tmp_path_factory.mktemp("good")
    for seed in range(GOOD_FRAMES):
        cv2.imwrite(str(folder / f"{seed:03d}.png"), draw_part(seed))
    return folder


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory, good_frames_folder) -> Path:
    """A recipe folder trained on `good_frames_folder`, maps 64 x 64; read only: copy it before changing it."""
    pytest.importorskip("torch", reason="training needs torch: pip install 'edge-agent[train]'")
    from engines.make_recipe import make_recipe
    from engines.order import Order
    from engines.schedule import Schedule

    folder = tmp_path_factory.mktemp("recipes") / "tiny"
    order = Order(
        images=good_frames_folder,
        recipe=folder,
        name=None,
        map_shape=(64, 64),
        roi_xywh_px=None,
        errors=["l2", "msgms"],
        resize="none",
        rotates=False,
        schedule=Schedule(steps=150, minutes=None, batch=8, seed=0, width=16),
    )
    make_recipe(order)
    return folder


@pytest.fixture(scope="session")
def fitted_recipe(tmp_path_factory, tiny_recipe, good_frames_folder) -> Path:
    """`tiny_recipe` with thresholds in force that reject no good frame; read only."""
    from calibrate.fit import FitWish, fit
    from calibrate.recipe_engine import RecipeEngine
    from edge_agent.revisions import activate

    folder = tmp_path_factory.mktemp("fitted") / "tiny"
    shutil.copytree(tiny_recipe, folder)
    with closing(RecipeEngine(folder)) as engine:
        revision = fit(engine, good_frames_folder, FitWish(0.05, confident=False, min_area_px=None, note="test"))
    activate(folder, revision.name)
    return folder
