"""The page of a fit: other limits, and what they would have said of archived rejects."""

import re
import shutil

import pytest

from calibrate.cli import main
from calibrate.sensitivity import read_card
from edge_agent.thresholds import load_thresholds


@pytest.fixture
def recipe(tiny_recipe, tmp_path):
    return shutil.copytree(tiny_recipe, tmp_path / "recipe")


@pytest.fixture
def fit(recipe, good_frames_folder, tmp_path):
    """Fit with more words, and return the page."""
    page = tmp_path / "fit.html"

    def run(*more, images=good_frames_folder):
        words = ["--images", str(images), "--false-reject-rate", "0.1", "--html", str(page), *map(str, more)]
        assert main(["fit", str(recipe), *words]) == 0
        return page.read_text(encoding="utf-8")

    return run


def row_in_force(page):
    (line,) = re.findall(r"<tr>(?:(?!<tr>).)*in this revision</td></tr>", page)
    return re.findall(r"<t[hd]>(.*?)</t[hd]>", line)


@pytest.mark.parametrize("sensitivity", [0.5, 0.9, 1, 1.3])
def test_the_row_of_the_revision_has_its_limit_and_what_that_catches(fit, recipe, sensitivity):
    page = fit("--sensitivity", sensitivity)
    revision = load_thresholds(recipe)
    promise = revision.calibration.promise
    cells = read_card(recipe, "r0001")["by_defect"]
    caught = f"{sum(cell['caught'] for cell in cells)} of {sum(cell['of'] for cell in cells)}"
    promised, bound, limit, found, _ = row_in_force(page)
    assert (promised, bound) == (f"{100 * promise.expected_rate:.3g} %", f"{100 * promise.bound_95:.3g} %")
    assert (limit, found) == (f"{revision.factor:.1f}", caught)
