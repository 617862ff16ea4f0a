"""The page of a fit: other limits, and what they would have said of archived rejects."""

import json
import re
import shutil

import cv2
import pytest
from parts import draw_part

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


@pytest.mark.parametrize("sensitivity", [0.5, 0.9, 1, 1.3, 10])
def test_the_row_of_the_revision_has_its_limit_and_what_that_catches(fit, recipe, sensitivity):
    page = fit("--sensitivity", sensitivity)
    revision = load_thresholds(recipe)
    promise = revision.calibration.promise
    cells = read_card(recipe, "r0001")["by_defect"]
    caught = f"{sum(cell['caught'] for cell in cells)} of {sum(cell['of'] for cell in cells)}"
    promised, bound, limit, found, _ = row_in_force(page)
    assert (promised, bound) == (f"{100 * promise.expected_rate:.3g} %", f"{100 * promise.bound_95:.3g} %")
    assert (limit, found) == (f"{revision.factor:.1f}", caught)


@pytest.mark.parametrize(("sensitivity", "said"), [(1, "will be rejected: 1 in "), (10, "will be rejected.")])
def test_one_in_so_many_is_said_only_where_a_whole_number_is_near(fit, sensitivity, said):
    (headline,) = re.findall(r'class="headline">(.*?)</p>', fit("--sensitivity", sensitivity))
    assert said in headline


def archive(frame, folder, name, **verdict):
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.png"), frame)
    if verdict:
        (folder / f"{name}.json").write_text(json.dumps(verdict))


def test_only_rejects_of_this_recipe_and_camera_are_judged_again(fit, recipe, good_frames_folder, tmp_path):
    good = cv2.imread(str(good_frames_folder / "000.png"))
    bar = good.copy()
    bar[30:46, 30:50] = 0
    day = tmp_path / "archive" / "2026-11-21"
    archive(bar, day / "FAIL", "1", recipe="tiny", verdict="FAIL")
    archive(good, day / "FAIL", "2", recipe="tiny", verdict="FAIL")
    archive(good, day / "LATE", "3", recipe="tiny", verdict="PASS")
    archive(bar, day / "LATE", "4", recipe="tiny", verdict="FAIL")
    archive(bar, day / "FAIL", "5", recipe="other", verdict="FAIL")
    archive(cv2.resize(bar, (128, 128)), day / "FAIL", "6")
    (day / "FAIL" / "7.png").write_bytes(b"")
    archive(bar, day / "INVALID", "8", recipe="tiny", verdict="INVALID")
    page = fit("--rejects", tmp_path / "archive")
    assert row_in_force(page)[-2] == "2 of 3"
    assert "left out, for they are of another recipe or size or cannot be read: 3." in page


def test_a_folder_of_frames_without_verdicts_is_judged_whole(fit, good_frames_folder, tmp_path):
    archive(cv2.imread(str(good_frames_folder / "000.png")), tmp_path / "rejected", "1")
    page = fit("--rejects", tmp_path / "rejected")
    assert row_in_force(page)[-2] == "0 of 1"
    assert "left out" not in page.split("Frames that stand out")[0]


@pytest.mark.parametrize("words", [("--group-by", "block"), ("--group-by", "part")])
def test_what_the_promise_counts_is_said_everywhere(fit, recipe, tmp_path, capsys, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(160):
        cv2.imwrite(str(folder / f"{number:03d}.png"), draw_part(200 + number))
    rows = [f"{number:03d}.png,{number // 8}" for number in range(160)]
    (folder / "groups.csv").write_text("\n".join(["file,group", *rows]))
    page = fit(*words, "--false-reject-rate", 0.4, images=folder)
    promise = load_thresholds(recipe).calibration.promise
    assert promise.unit == words[1]
    counted = {"part": "10 good parts (80 frames)", "block": "4 blocks of good frames (80 frames)"}[promise.unit]
    printed = capsys.readouterr().out
    assert f"It rests on {counted}" in printed
    assert ("A block is rejected if any of its frames is" in printed) == (promise.unit == "block")
    assert f"{counted} were kept from the network" in page
    plural = counted.split(" ", 1)[1].split(" (")[0]
    assert f"Of new {plural}, about" in page
    assert main(["history", str(recipe)]) == 0
    assert f"{promise.groups} {promise.unit}s" in capsys.readouterr().out
    assert main(["diff", str(recipe), "r0001", "r0001"]) == 0
    assert counted in capsys.readouterr().out
