"""Defective frames among the good ones: named, and without a say in what is usual."""

import csv
import shutil

import cv2
import numpy as np
import pytest

from calibrate import usual_frames
from calibrate.cli import main
from calibrate.suspects import stand_out
from calibrate.usual_frames import UsualFrames
from edge_agent.thresholds import load_thresholds
from engines.moments import RunningMoments

SHAPE = (2, 48, 64)


def good_maps(number):
    random = np.random.default_rng(number)
    return np.stack([cv2.GaussianBlur(random.gamma(4, 1, SHAPE[1:]).astype(np.float32), (0, 0), 2) for _ in range(2)])


def with_defect(maps, size=8, times=4):
    maps = maps.copy()
    maps[:, 10 : 10 + size, 20 : 20 + size] *= times
    return maps


def lit(maps, number):
    """What parts show that differ as a whole: their scores differ more."""
    return maps * np.float32(np.exp(np.random.default_rng(number).normal(0, 0.2)))


def test_a_score_far_above_the_others_stands_out():
    scores = [*np.random.default_rng(0).lognormal(1, 0.2, 60), 30.0]
    assert stand_out(scores).tolist() == [False] * 60 + [True]


@pytest.mark.parametrize("scores", [[], [1.0], [1.0] * 8 + [1e6], [2.0] * 50, [-5.0] * 20 + [0.0] * 20])
def test_few_or_equal_scores_accuse_nobody(scores):
    assert not stand_out(scores).any()


def test_half_of_the_scores_may_be_anything():
    random = np.random.default_rng(1)
    scores = [*random.lognormal(1, 0.2, 60), *random.lognormal(6, 0.2, 20)]
    assert stand_out(scores)[60:].all()
    assert stand_out(scores)[:60].sum() <= 1


def moments_of(maps):
    moments = RunningMoments()
    for one in maps:
        moments.add(one)
    return moments.location_and_scale()


@pytest.mark.parametrize("block", [16, 64])
def test_intruders_do_not_count(monkeypatch, block):
    monkeypatch.setattr(usual_frames, "_BLOCK_BYTES", block * good_maps(0).nbytes)
    monkeypatch.setattr(usual_frames, "_FEWEST_IN_BLOCK", 1)
    usual = UsualFrames(min_area=9, share=0.05)
    clean = [good_maps(number) for number in range(60)]
    for number, maps in enumerate(clean):
        if number in (7, 40):
            usual.add(f"intruder {number}", with_defect(good_maps(1000 + number)))
        usual.add(f"good {number}", maps)
    location, scale = usual.location_and_scale()
    assert {"intruder 7", "intruder 40"} <= set(usual.left_out)
    assert len(usual.left_out) <= 4
    kept = [maps for number, maps in enumerate(clean) if f"good {number}" not in usual.left_out]
    expected_location, expected_scale = moments_of(kept)
    np.testing.assert_array_equal(location, expected_location)
    np.testing.assert_array_equal(scale, expected_scale)


def test_so_many_as_may_not_be_rejected_are_a_kind_of_good_part():
    usual = UsualFrames(min_area=9, share=0.05)
    frames = [with_defect(good_maps(number)) if number % 6 == 0 else good_maps(number) for number in range(60)]
    for number, maps in enumerate(frames):
        usual.add(str(number), maps)
    found = usual.location_and_scale()
    assert {str(number) for number in range(0, 60, 6)} <= set(usual.standing_out)
    assert not usual.left_out
    np.testing.assert_array_equal(found, moments_of(frames))


@pytest.mark.parametrize("frames", [12, 19, 40])
def test_in_a_small_fit_a_defective_frame_does_not_hide_itself(frames):
    usual = UsualFrames(min_area=9, share=0.05)
    for number in range(frames):
        maps = lit(good_maps(number), number)
        usual.add(str(number), with_defect(maps, times=200) if number == 5 else maps)
    usual.location_and_scale()
    assert usual.left_out == {"5"}


@pytest.mark.parametrize("share", [0.001, 0.01])
def test_that_good_scores_have_a_tail_is_no_reason_to_keep_a_stray(share):
    usual = UsualFrames(min_area=9, share=share)
    usual.add("stray", with_defect(good_maps(1000)))
    for number in range(400):
        usual.add(str(number), good_maps(number))
    usual.location_and_scale()
    assert "stray" in usual.left_out
    assert 1 < len(usual.left_out) <= 2 + 400 * share


def test_a_single_frame_in_the_last_block_is_judged_by_those_before(monkeypatch):
    monkeypatch.setattr(usual_frames, "_BLOCK_BYTES", 1)
    usual = UsualFrames(min_area=9, share=0.05)
    for number in range(32):
        usual.add(f"good {number}", good_maps(number))
    usual.add("intruder", with_defect(good_maps(1000)))
    usual.location_and_scale()
    assert "intruder" in usual.left_out


def test_without_outliers_it_is_what_running_moments_are():
    usual = UsualFrames(min_area=9, share=0.05)
    maps = [good_maps(0) * factor for factor in (0.9, 1.0, 1.1)]
    for number, one in enumerate(maps):
        usual.add(str(number), one)
    for found, expected in zip(usual.location_and_scale(), moments_of(maps), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_padding_is_not_judged():
    padding = np.zeros(SHAPE[1:], bool)
    padding[:, 32:] = True
    usual = UsualFrames(min_area=9, share=0.05)
    for number in range(40):
        maps = good_maps(number)
        if number == 20:
            maps[:, :, 33:] += 100
        usual.add(str(number), maps, padding)
    _, scale = usual.location_and_scale()
    assert "20" not in usual.left_out
    assert np.isinf(scale[:, padding]).all()


@pytest.fixture
def folder(good_frames_folder, tmp_path):
    """Good frames and two with a black bar, which nobody has noticed."""
    folder = shutil.copytree(good_frames_folder, tmp_path / "images")
    for number in (3, 5):
        frame = cv2.imread(str(folder / f"{number:03d}.png"))
        frame[30:46, 30:50] = 0
        cv2.imwrite(str(folder / f"z-bar-{number}.png"), frame)
    return folder


def fit(recipe, folder, *more):
    return main(["fit", str(recipe), "--images", str(folder), "--false-reject-rate", "0.15", *more])


def test_suspects_are_named_and_stay_until_a_person_takes_them_out(tiny_recipe, folder, tmp_path, capsys):
    recipe = shutil.copytree(tiny_recipe, tmp_path / "recipe")
    assert fit(recipe, folder, "--html", str(tmp_path / "fit.html")) == 0
    printed = capsys.readouterr().out
    for said in (printed, (tmp_path / "fit.html").read_text(encoding="utf-8")):
        assert "have no say; more than may be rejected do" in " ".join(said.split())
    first = load_thresholds(recipe)
    assert {"z-bar-3.png", "z-bar-5.png"} <= set(first.calibration.suspects)
    assert "Suspects" in printed
    assert first.calibration.promise.frames == 21

    assert fit(recipe, folder, "--exclude", "z-bar-3.png", "--exclude", "z-bar-5.png") == 0
    second = load_thresholds(recipe)
    assert second.calibration.excluded == ["z-bar-3.png", "z-bar-5.png"]
    assert second.calibration.promise.frames == 20
    assert second.factor < first.factor
    assert "Given that these show no good part, and were left out: z-bar-3.png, z-bar-5.png" in capsys.readouterr().out
    with (recipe / "thresholds" / "r0002" / "images.csv").open(newline="") as file:
        uses = {row["file"]: row["use"] for row in csv.DictReader(file)}
    assert uses["z-bar-3.png"] == "excluded"


def test_a_name_that_is_not_there_is_refused(tiny_recipe, folder, tmp_path, capsys):
    recipe = shutil.copytree(tiny_recipe, tmp_path / "recipe")
    assert fit(recipe, folder, "--exclude", "no.png") == 64
    assert "has no no.png" in capsys.readouterr().err
