import cv2
import numpy as np
import pytest

from edge_agent.synthetic import DEFECT_KINDS, SyntheticPart


def test_the_same_seed_and_index_give_the_same_frame_and_others_do_not():
    first, again, other = SyntheticPart(3), SyntheticPart(3), SyntheticPart(4)
    again.render(5)
    assert np.array_equal(first.render(2).frame, again.render(2).frame)
    assert not np.array_equal(first.render(2).frame, first.render(3).frame)
    assert not np.array_equal(first.render(2).frame, other.render(2).frame)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size_wh", [(256, 256), (320, 96), (64, 200)])
def test_frames_have_the_shape_that_was_asked_for(size_wh, channels):
    part = SyntheticPart(1, size_wh, channels, 1.0)
    scene = part.render(0)
    assert scene.frame.shape == part.frame_shape == (size_wh[1], size_wh[0], channels)
    assert scene.frame.dtype == np.uint8
    assert scene.frame.flags.c_contiguous
    assert scene.mask.shape == (size_wh[1], size_wh[0])
    assert scene.mask.dtype == np.bool_


def test_the_truth_is_that_of_the_frame_and_covers_every_kind():
    part = SyntheticPart(1, defect_share=0.8)
    truths = [part.truth(index) for index in range(120)]
    assert {truth.label for truth in truths} == {"good", *DEFECT_KINDS}
    for index in (0, 1, 2, 3):
        scene = part.render(index)
        assert (scene.label, scene.strength) == (truths[index].label, truths[index].strength)
        assert np.array_equal(scene.mask, truths[index].mask)
    for truth in truths:
        assert truth.mask.any() == (truth.label != "good")
        assert 0 <= truth.strength <= 1


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_of_defects_is_kept(share):
    part = SyntheticPart(1, defect_share=share)
    assert {part.truth(index).label == "good" for index in range(30)} == {share == 0.0}


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_a_defect_changes_the_part_where_its_mask_says_and_a_plain_one_plainly(kind):
    bad, good = SyntheticPart(9, defect_share=1.0, kinds=[kind]), SyntheticPart(9, defect_share=0.0)
    contrast = {}
    for index in range(24):
        scene = bad.render(index)
        changed = cv2.absdiff(scene.frame, good.render(index).frame).max(axis=2)
        near = cv2.dilate(scene.mask.astype(np.uint8), np.ones((13, 13))) > 0
        assert np.count_nonzero(changed[~near] > 3) <= 10
        contrast[scene.strength] = changed[scene.mask].mean()
    by_strength = [contrast[strength] for strength in sorted(contrast)]
    assert np.mean(by_strength[-8:]) > 1.5 * np.mean(by_strength[:8])
    assert np.mean(by_strength[-8:]) > 10


def test_good_parts_differ_in_light_place_and_noise():
    part = SyntheticPart(1)
    frames = np.stack([part.render(index).frame for index in range(12)]).astype(np.float32)
    assert frames.mean(axis=(1, 2, 3)).std() > 1
    noise = [frame[:20, :20, 1].std() for frame in frames]
    assert min(noise) > 0.5
    body = frames[..., 1] > 75
    left = [mask.any(axis=0).argmax() for mask in body]
    assert len(set(left)) > 1
