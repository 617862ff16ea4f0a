import numpy as np
import pytest

from calibrate.original_pixels import Placement, mask_at_original, picture_at_original, z_at_original
from edge_agent.decision import NOT_INSPECTED
from edge_agent.masks import decode_mask, encode_mask
from engines.recipe import Recipe


def recipe(roi, *, frame=(100, 120), maps=(64, 64)):
    return Recipe.model_validate(
        {
            "schema": 1,
            "name": "part",
            "revision": 1,
            "created": "",
            "frame": {"height_px": frame[0], "width_px": frame[1], "channels": 1},
            "roi_xywh_px": list(roi),
            "map": {"height_map_px": maps[0], "width_map_px": maps[1]},
            "error_maps": ["l2"],
            "box_map_px": 5,
            "resize": "none",
            "training": {"objective": "mse", "seed": 0, "steps": 1, "batch": 1, "width": 16},
        }
    )


WHOLE = Placement((0, 0, 120, 100), (100, 120))


def test_the_mask_is_the_one_that_the_plc_gets():
    mask = np.random.default_rng(0).random((64, 64)) < 0.2
    placed = mask_at_original(mask, recipe((10, 20, 97, 71)), WHOLE)
    sent = decode_mask(encode_mask(mask, (97, 71), inline_limit_bytes=10**6))
    assert (placed[20:91, 10:107] == sent).all()
    assert placed.sum() == sent.sum()


def test_a_picture_of_the_region_lies_where_the_region_is():
    picture = np.full((64, 64, 3), (10, 20, 30), np.uint8)
    placed = picture_at_original(picture, recipe((20, 10, 80, 64)), WHOLE, 120)
    assert placed.shape == (100, 120, 3)
    assert (placed[10:74, 20:100] == (10, 20, 30)).all()
    assert (placed == (10, 20, 30)).all(axis=2).sum() == 80 * 64
    assert placed[0, 0].tolist() == [120] * 3


def test_what_is_never_inspected_lies_below_everything():
    z = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    z[:, :16] = NOT_INSPECTED
    shown = z_at_original(z, recipe((20, 10, 80, 64)), WHOLE)
    assert shown.shape == (100, 120)
    assert shown.dtype == np.float32
    seen = np.zeros((100, 120), bool)
    seen[10:74, 40:100] = True
    assert (shown[~seen] == NOT_INSPECTED).all()
    assert shown[seen].min() >= z[z > NOT_INSPECTED].min()
    assert shown[seen].max() <= z.max()


def test_a_frame_that_is_not_inspected_at_all_is_below_everything():
    z = np.full((64, 64), NOT_INSPECTED, np.float32)
    assert (z_at_original(z, recipe((0, 0, 120, 100)), WHOLE) == NOT_INSPECTED).all()


@pytest.mark.parametrize("shape", [(80, 200), (40, 100)])
def test_a_letterboxed_frame_goes_back_to_its_own_size(shape):
    z = np.zeros((64, 64), np.float32)
    z[32:, :] = 9
    # Shown in 120 x 48 of 120 x 100: 26 rows of padding above and below.
    shown = z_at_original(z, recipe((0, 0, 120, 100)), Placement((0, 26, 120, 48), shape))
    assert shown.shape == shape
    assert shown[: shape[0] // 2 - 4].max() == 0
    assert shown[shape[0] // 2 + 4 :].min() == 9
