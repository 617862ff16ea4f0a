"""The card against the truth: how real defects are measured, and into which group they fall."""

from contextlib import closing

import cv2
import numpy as np
import pytest
from card_groups import compare_groups, fisher
from card_tables import tables
from real_defects import GoodFrames, RealDefect, measure_defects, shape_of

from calibrate.dataset import list_labelled
from calibrate.probe_defects import Probe, draw_probe
from calibrate.recipe_engine import RecipeEngine
from calibrate.sensitivity import Trial, card
from edge_agent.thresholds import load_thresholds


def trials(kind, size, contrast, caught, of):
    return [Trial(kind, size, contrast, (0, 0), 2.0 if n < caught else 0.5) for n in range(of)]


CARD = card(
    [
        *trials("spot", 8, 10, 0, 12),
        *trials("smudge", 8, 10, 2, 12),
        *trials("scratch", 8, 10, 12, 12),
        *trials("spot", 16, 60, 12, 12),
        *trials("smudge", 16, 60, 12, 12),
        *trials("scratch", 16, 60, 6, 12),
    ],
    factor=1.0,
)


def real(size, contrast, *, caught=True, is_long=False):
    return RealDefect("hole", size, is_long, contrast, caught, rejected=True)


@pytest.mark.parametrize(
    ("defect", "group"),
    [
        (real(8, 10), (8, 10, False, ["spot", "smudge"])),
        (real(2, 1), (8, 10, False, ["spot", "smudge"])),
        (real(11.2, 15.7), (8, 10, False, ["spot", "smudge"])),
        (real(11.4, 39), (16, 60, False, ["spot", "smudge"])),
        (real(22.6, 200), (16, 60, False, ["spot", "smudge"])),
        (real(22.7, 200), (16, 60, True, ["spot", "smudge"])),
        (real(16, 60, is_long=True), (16, 60, False, ["scratch"])),
    ],
)
def test_a_defect_belongs_to_the_nearest_size_and_contrast(defect, group):
    (row,) = compare_groups(CARD, [defect])
    assert (row["size_px"], row["contrast"], row["beyond"], row["kinds"]) == group


def test_a_share_is_held_against_the_interval_of_the_drawn_ones():
    defects = [real(8, 10, caught=n < 1) for n in range(12)] + [real(16, 60, caught=n < 3) for n in range(12)]
    faint, strong = compare_groups(CARD, defects)
    assert (faint["drawn_caught"], faint["drawn"], faint["caught"], faint["real"]) == (2, 24, 1, 12)
    assert faint["within"]
    assert faint["chance"] > 0.9
    assert not strong["within"]
    assert strong["chance"] < 0.001


def test_all_of_all_lies_in_the_interval_of_all():
    (row,) = compare_groups(CARD, [real(16, 60)])
    assert row["within"]


@pytest.mark.parametrize(
    ("counts", "p"), [((8, 10, 1, 6), 0.0350), ((1, 10, 11, 14), 0.0028), ((5, 10, 5, 10), 1.0), ((0, 3, 0, 4), 1.0)]
)
def test_fishers_exact_test_is_that_of_the_textbook(counts, p):
    assert fisher(*counts) == pytest.approx(p, abs=1e-4)


@pytest.mark.parametrize(("kind", "is_long"), [("spot", False), ("scratch", True), ("smudge", False)])
def test_drawn_defects_have_the_shape_that_they_are_held_against(kind, is_long):
    _, covered = draw_probe(np.full((120, 160, 3), 200, np.uint8), Probe(kind, 30, 60, (80.2, 60.3), 0.7))
    length, found = shape_of(covered)
    assert length == pytest.approx(30, abs=6)
    assert found == is_long


def test_real_defects_are_measured_in_their_masks(fitted_recipe, dataset):
    thresholds = load_thresholds(fitted_recipe)
    frames = [frame for frame in list_labelled(dataset) if not frame.is_good]
    with closing(RecipeEngine(fitted_recipe)) as engine:
        good = GoodFrames(engine, sorted((dataset / "train" / "good").glob("*.png")))
        defects = measure_defects(engine, thresholds, frames, good)
    assert [defect.label for defect in defects] == ["dot"] * 4 + ["hole"] * 4
    assert not any(defect.is_long for defect in defects)
    assert [defect.size_px for defect in defects] == pytest.approx([7] * 4 + [15] * 4, abs=0.5)
    assert all(defect.contrast > 60 for defect in defects)
    assert all(defect.caught and defect.rejected for defect in defects if defect.label == "hole")


@pytest.mark.parametrize("contrast", [10, 25, 60])
def test_the_contrast_of_a_drawn_defect_is_found_again(fitted_recipe, dataset, contrast):
    with closing(RecipeEngine(fitted_recipe)) as engine:
        good = GoodFrames(engine, sorted((dataset / "train" / "good").glob("*.png")))
        frame = cv2.imread(str(dataset / "test" / "good" / "000.png"))
        shown, covered = draw_probe(frame, Probe("spot", 12, contrast, (48.0, 40.0), 0.0))
        assert good.contrast(shown, covered, covered) == pytest.approx(contrast, abs=6)


def test_the_tables_say_what_lies_outside():
    row = {
        "dataset": "part",
        "seed": 0,
        "contrast_check": {"10": 10.0, "25": 25.0, "60": 59.0},
        "size_px": [4, 33],
        "real_size_px": [1.0, 2.0, 3.0],
        "real_contrast": [8.0, 9.0, 10.0],
        "defects": 2,
        "by_label": {"hole": {"caught": 1, "rejected": 2}},
        "groups": compare_groups(CARD, [real(16, 60, caught=False), real(8, 10, caught=False)]),
        "groups_larger": [],
    }
    text = tables([row])
    assert "| part | 0 | as it is | 0 of 2 (0 %) | - | 1 of 2 (50 %) | 0, 2 |" in text
    assert "| part | 0 | spot or smudge | 16 px | 60 | 100 % [86 %, 100 %] | 0 of 1 | 0.04 |" in text
