"""Fixtures that several packages' tests share: generated parts and a recipe trained on them in seconds."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

FRAME_SHAPE = (80, 96, 3)
GOOD_FRAMES = 40


def pytest_addoption(parser):
    parser.addoption("--camera", metavar="URI", help="run the camera contract on this camera, too")


def draw_part(seed: int) -> np.ndarray:
    """Draw a part, (80, 96, 3) uint8: a plate with a ring and two holes, slightly different each time."""
    random = np.random.default_rng(seed)
    frame = np.full(FRAME_SHAPE, (70, 60, 50), np.float32) + random.uniform(-4, 4)
    centre = (48 + int(random.integers(-1, 2)), 40 + int(random.integers(-1, 2)))
    cv2.circle(frame, centre, 28, (150, 165, 180), -1, cv2.LINE_AA)
    cv2.circle(frame, centre, 20, (90, 110, 140), 3, cv2.LINE_AA)
    for side in (-1, 1):
        cv2.circle(frame, (centre[0] + 10 * side, centre[1]), 4, (30, 30, 35), -1, cv2.LINE_AA)
    frame = cv2.GaussianBlur(frame, (0, 0), 0.7) * random.uniform(0.97, 1.03) + random.normal(0, 1.5, FRAME_SHAPE)
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)


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
    from engines.make_recipe import Order, make_recipe
    from engines.training import Schedule

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
    from edge_agent.thresholds import activate

    folder = tmp_path_factory.mktemp("fitted") / "tiny"
    shutil.copytree(tiny_recipe, folder)
    with RecipeEngine(folder) as engine:
        revision = fit(engine, good_frames_folder, FitWish(0.05, confident=False, min_area_px=None, note="test"))
    activate(folder, revision.name)
    return folder
