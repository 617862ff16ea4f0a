"""What a recipe is when it takes another one's place: the thresholds in force then, not those of when it was opened."""

import shutil
from dataclasses import replace

import pytest

from edge_agent.live_recipe import open_live_recipe
from edge_agent.revisions import activate, save_thresholds
from edge_agent.ring import FrameRing
from edge_agent.station import EnginePart
from edge_agent.thresholds import load_thresholds
from engines.errors import NotRejectedError, ThresholdsError


@pytest.fixture
def folder(fitted_recipe, tmp_path):
    return shutil.copytree(fitted_recipe, tmp_path / "recipe")


@pytest.fixture
def open_live(exit_stack):
    def opened(folder):
        live = open_live_recipe(folder, EnginePart(threads=1))
        exit_stack.callback(live.close)
        return live

    return opened


@pytest.fixture
def live(fitted_recipe, open_live, exit_stack):
    """A recipe at its ring."""
    live, ring = open_live(fitted_recipe), FrameRing.create((80, 96, 3), 2)
    exit_stack.callback(ring.close)
    live.bind(ring)
    return live


def revise(folder, factor):
    """Put thresholds with another factor in force; returns their name."""
    revision = load_thresholds(folder)
    calibration = revision.calibration.model_copy(update={"factor": factor})
    name = save_thresholds(folder, replace(revision, calibration=calibration), images_csv="", versions={}).name
    activate(folder, name)
    return name


def test_thresholds_that_were_activated_while_it_was_prepared_are_in_force(live, folder, open_live):
    other = open_live(folder)
    name = revise(folder, live.thresholds.factor * 1.01)
    live.become(other)
    assert live.thresholds.name == name
    live.run_test_piece()


def lose(folder):
    (folder / "thresholds" / "current").unlink()


@pytest.mark.parametrize(
    ("spoil", "problem"), [(lambda folder: revise(folder, 1e6), NotRejectedError), (lose, ThresholdsError)]
)
def test_where_they_cannot_be_trusted_the_old_recipe_goes_on(live, folder, open_live, spoil, problem):
    other = open_live(folder)
    spoil(folder)
    with pytest.raises(problem):
        live.become(other)
    assert live.thresholds.name == "r0001"
    live.check_test_pieces()
