"""The card: defects of known size and contrast, what is caught of them, and the page that shows it."""

import json
import shutil
from contextlib import closing

import cv2
import numpy as np
import pytest

from calibrate import sensitivity
from calibrate.cli import main
from calibrate.probe_defects import KINDS, Probe, draw_probe
from calibrate.recipe_engine import RecipeEngine
from calibrate.sensitivity import Trial, card, card_lines, read_card, run_trials, sizes_px, wilson
from edge_agent.decision import score, z_map
from edge_agent.thresholds import load_thresholds


def grey(code, shape=(120, 160, 3)):
    return np.full(shape, code, np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("code", "sign"), [(200, -1), (40, 1)])
def test_a_probe_has_its_contrast_and_lies_in_its_place(kind, code, sign):
    frame = grey(code)
    shown, covered = draw_probe(frame, Probe(kind, 24, 30, (80.0, 50.0), 0.4))
    change = shown.astype(int) - frame
    assert sign * change.max(axis=2).flat[np.abs(change).max(axis=2).argmax()] == pytest.approx(30, abs=1)
    rows, columns = np.nonzero(covered)
    assert rows.mean() == pytest.approx(50, abs=1)
    assert columns.mean() == pytest.approx(80, abs=1)
    assert (np.sign(change[change != 0]) == sign).all()
    assert (frame == code).all()


@pytest.mark.parametrize(("kind", "across"), [("spot", 24), ("scratch", 24), ("smudge", 20)])
def test_a_probe_has_its_size(kind, across):
    _, covered = draw_probe(grey(200), Probe(kind, 24, 30, (80.0, 60.0), 0.0))
    assert np.ptp(np.nonzero(covered)[1]) + 1 == pytest.approx(across, abs=3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("middle", [(0.0, 0.0), (159.9, 119.9), (80.3, 60.7)])
def test_the_smallest_probe_changes_a_pixel_wherever_it_lies(kind, middle):
    shown, covered = draw_probe(grey(200), Probe(kind, 1, 60, middle, 1.0))
    assert covered.any()
    assert (shown != 200).any()


def test_wilson_intervals_are_those_of_the_textbook():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_a_card_counts_by_kind_size_contrast_and_place():
    trials = [
        Trial("spot", 4, 25, (0, 0), 10.0),
        Trial("spot", 4, 25, (2, 1), 3.0),
        Trial("smudge", 8, 60, (2, 1), 9.0),
    ]
    content = card(trials, factor=5.0)
    counts = {(c["kind"], c["size_px"], c["contrast"]): (c["caught"], c["of"]) for c in content["by_defect"] if c["of"]}
    assert counts == {("spot", 4, 25): (1, 2), ("smudge", 8, 60): (1, 1)}
    places = {(c["row"], c["column"]): (c["caught"], c["of"]) for c in content["by_place"] if c["of"]}
    assert places == {(0, 0): (1, 1), (2, 1): (1, 2)}
    assert "50% (9% to 91%)" in "\n".join(card_lines(content))


@pytest.fixture
def engine(fitted_recipe):
    with closing(RecipeEngine(fitted_recipe)) as engine:
        yield engine


def test_large_strong_defects_are_caught_and_what_was_there_before_does_not_count(
    engine, good_frames_folder, monkeypatch, tmp_path
):
    monkeypatch.setattr(sensitivity, "SAMPLES", 4)
    thresholds = load_thresholds(engine.folder)
    paths = sorted(good_frames_folder.glob("*.png"))[:8]
    trials = run_trials(engine, paths, thresholds)
    assert len(trials) == 3 * len(sizes_px(engine)) * 3 * 4
    largest = max(sizes_px(engine))
    strong = [t.score > thresholds.factor for t in trials if (t.size_px, t.contrast) == (largest, 60)]
    faint = [t.score > thresholds.factor for t in trials if t.contrast == 10]
    assert np.mean(strong) > np.mean(faint)
    again = run_trials(engine, paths, thresholds)
    assert again == trials, "the same frames give the same card"
    bar = cv2.imread(str(paths[0]))
    bar[30:46, 30:50] = 0
    cv2.imwrite(str(tmp_path / "bar.png"), bar)
    spoilt = run_trials(engine, [tmp_path / "bar.png"], thresholds)
    of_the_bar = score(z_map(engine.maps(bar), thresholds), thresholds.min_area_map_px)
    assert min(trial.score for trial in spoilt) < of_the_bar / 2, "the bar itself was counted"


def test_nothing_is_drawn_where_nothing_is_inspected(engine, good_frames_folder):
    thresholds = load_thresholds(engine.folder)
    thresholds.scale[:, :, :44] = np.inf
    trials = run_trials(engine, sorted(good_frames_folder.glob("*.png"))[:4], thresholds)
    assert {trial.place[1] for trial in trials} == {2}


def test_fit_keeps_the_card_and_writes_a_page_of_its_own(tiny_recipe, good_frames_folder, tmp_path, capsys):
    recipe, page = shutil.copytree(tiny_recipe, tmp_path / "recipe"), tmp_path / "fit.html"
    words = ["--images", str(good_frames_folder), "--false-reject-rate", "0.05", "--html", str(page)]
    assert main(["fit", str(recipe), *words]) == 0
    assert "Sensitivity card" in capsys.readouterr().out
    content = read_card(recipe, "r0001")
    assert content["factor"] == load_thresholds(recipe).factor
    assert json.dumps(content)
    text = page.read_text()
    for words in ("1 in 21", "nothing below 1 in 21", "To promise 0.1 %, 999 good frames", "in this revision"):
        assert words in text
    assert "http" not in text.replace("http://www.w3.org", "")
    assert "$" not in text
