import cv2
import numpy as np
import pytest

from engines.images import read_image
from engines.map_choice import BOXES, choose_maps


@pytest.fixture(scope="module")
def pictures(good_frames_folder):
    frames = [read_image(good_frames_folder / f"{index:03d}.png") for index in range(8)]
    return np.stack([cv2.resize(frame, (64, 64)) for frame in frames])


@pytest.fixture
def maps_of(pictures):
    """Two maps: `sees` shows how far a frame is from the first one, `blind` is noise; both are noisy."""
    random = np.random.default_rng(0)
    good = pictures[0].astype(int)

    def maps_of(frames):
        for frame in frames:
            noise = random.random((2, 64, 64), np.float32)
            noise[0] += np.abs(frame - good).mean(2, dtype=np.float32) / 40
            yield noise

    return maps_of


def choose(maps_of, frames, *candidates):
    return choose_maps(maps_of, ["sees", "blind"], candidates, trained=frames, tuning=frames, seed=0)


@pytest.mark.parametrize("order", [1, -1])
def test_the_maps_that_see_are_chosen(maps_of, pictures, order):
    same = np.repeat(pictures[:1], 6, axis=0)
    choice = choose(maps_of, same, *[["blind"], ["sees"]][::order])
    assert choice.errors == ["sees"]
    assert choice.quality[f"sees {choice.box_map_px}"] == max(choice.quality.values()) > 0.7


def test_more_maps_stay_where_fewer_are_hardly_better(maps_of, pictures):
    same = np.repeat(pictures[:1], 6, axis=0)

    def twice(frames):
        for maps in maps_of(frames):
            yield np.stack([maps[0], maps[0] * 2])

    assert choose(twice, same, ["sees", "blind"], ["sees"]).errors == ["sees", "blind"]


def test_among_equally_many_the_better_ones_are_taken(maps_of, pictures):
    same = np.repeat(pictures[:1], 6, axis=0)
    choice = choose(maps_of, same, ["blind"], ["sees"])
    assert choice.errors == ["sees"]


def test_blind_maps_tell_nothing_apart_and_the_smallest_box_is_taken(pictures):
    def maps_of(frames):
        for _ in frames:
            yield np.ones((2, 64, 64), np.float32)

    choice = choose(maps_of, pictures[:4], ["sees", "blind"])
    assert set(choice.quality.values()) == {0.5}
    assert choice.box_map_px == min(BOXES)


def test_a_map_that_is_quieter_on_frames_that_trained_the_network_does_not_outshout_the_others(pictures):
    """Measured on those frames alone, its noise on all others would count as a hundred times the usual."""
    random = np.random.default_rng(0)
    good = pictures[0].astype(int)
    trained, tuning = np.repeat(pictures[:1], 40, axis=0), np.repeat(pictures[:1], 8, axis=0)
    known = iter([True] * len(trained))

    def maps_of(frames):
        for frame in frames:
            noise = random.random((2, 64, 64), np.float32)
            noise[0] += np.abs(frame - good).mean(2, dtype=np.float32) / 40
            noise[1] *= 0.01 if next(known, False) else 1.0
            yield noise

    choice = choose_maps(
        maps_of, ["sees", "blind"], [["sees", "blind"], ["sees"]], trained=trained, tuning=tuning, seed=0
    )
    assert choice.quality["sees+blind 5"] > choice.quality["sees 5"] - 0.1


def test_one_tuning_frame_is_enough(maps_of, pictures):
    choice = choose_maps(maps_of, ["sees", "blind"], [["sees"]], trained=pictures, tuning=pictures[:1], seed=0)
    assert choice.quality["sees 5"] > 0.5
