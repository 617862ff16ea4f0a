import cv2
import numpy as np
import pytest

from engines.corruptions import Corruptor
from engines.corruptions.kinds import KINDS, Kind
from engines.images import read_image
from engines.synthetic_defects import add_defect, draw_test_piece


@pytest.fixture(scope="module")
def pictures(good_frames_folder):
    frames = [read_image(good_frames_folder / f"{index:03d}.png") for index in range(12)]
    return np.stack([cv2.resize(frame, (64, 64)) for frame in frames])


@pytest.mark.parametrize("rotates", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_about_three_tenths_of_a_batch_stay_clean(pictures, rotates, channels):
    corruptor = Corruptor(pictures[..., :channels], rotates=rotates)
    corrupted, clean = corruptor.batch((3, 0), 200)
    assert corrupted.shape == clean.shape == (200, 64, 64, channels)
    assert corrupted.dtype == np.uint8
    equal = np.mean([(a == b).all() for a, b in zip(corrupted, clean, strict=True)])
    assert 0.2 < equal < 0.45


def test_a_batch_depends_on_its_seed_alone(pictures):
    corruptor = Corruptor(pictures, rotates=False)
    first, other, again = (corruptor.batch(seed, 8)[0] for seed in ((1, 2), (1, 3), (1, 2)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("shape", [(64, 64, 1), (64, 64, 3), (96, 160, 3), (160, 64, 1)])
@pytest.mark.parametrize("name", KINDS)
def test_each_kind_changes_a_part_of_the_frame_and_never_the_good_one(pictures, name, shape):
    frames = np.stack([cv2.resize(picture, shape[1::-1])[..., : shape[2]] for picture in pictures])
    frames.setflags(write=False)
    pick = Corruptor(frames, rotates=False).pick
    changed = []
    for seed in range(60):
        corrupted = KINDS[name].corrupt(frames[0], np.random.default_rng(seed), pick)
        assert corrupted.shape == shape
        assert corrupted.dtype == np.uint8
        changed.append((corrupted != frames[0]).any(2).mean())
    assert np.mean(np.array(changed) > 0) > 0.8
    assert 0.0005 < np.median(changed) < 0.35


def test_each_kind_is_drawn_as_often_as_its_share_says(pictures):
    assert sum(kind.share for kind in KINDS.values()) == pytest.approx(1)
    assert all(kind.share > 0 for kind in KINDS.values())


def test_good_frames_stay_as_they_are(pictures):
    before = pictures.copy()
    Corruptor(pictures, rotates=False).batch((0,), 50)
    for seed in range(20):
        add_defect(pictures[0], (seed,))
    np.testing.assert_array_equal(pictures, before)


def test_synthetic_defects_are_small_and_repeatable(pictures):
    for seed in range(40):
        defective = add_defect(pictures[0], (seed,))
        np.testing.assert_array_equal(defective, add_defect(pictures[0], (seed,)))
        assert defective.shape == pictures[0].shape
    changed = [(add_defect(pictures[0], (seed,)) != pictures[0]).any(2).mean() for seed in range(40)]
    assert 0 < np.median(changed) < 0.5


def test_a_test_piece_lies_inside_the_region_and_cannot_be_overlooked():
    frame = np.full((100, 200, 3), 128, np.uint8)
    region = (60, 20, 100, 60)
    pieces = [draw_test_piece(frame, region, which) for which in range(3)]
    for piece in pieces:
        rows, columns = np.nonzero((piece != frame).any(2))
        assert rows.min() >= 20
        assert rows.max() < 80
        assert columns.min() >= 60
        assert columns.max() < 160
        assert np.abs(piece.astype(int) - 128).max() >= 127
    assert (pieces[0] != pieces[1]).any()


def test_a_grey_test_piece():
    assert draw_test_piece(np.zeros((64, 64, 1), np.uint8), (0, 0, 64, 64), 0).max() == 255


def test_a_varied_corruptor_draws_only_the_kinds_it_is_given():
    pictures = np.full((4, 64, 64, 3), 90, np.uint8)
    dark = Kind(lambda picture, _random, _pick: np.minimum(picture, 7), 0.02)
    clean = Corruptor(pictures, rotates=False)
    shown, target = clean.varied(kinds=[dark], clean_share=0.0).batch((0,), 12)
    assert (shown == 7).all()
    assert (target == 90).all()
    shown, _ = clean.varied(kinds=[dark], clean_share=1.0).batch((0,), 12)
    assert (shown == 90).all()
