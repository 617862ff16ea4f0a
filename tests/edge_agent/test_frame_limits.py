"""Black, blown-out and flat frames, at the very limit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.frame_limits import brightness_and_contrast, check_frame, fit_frame_limits, is_within
from edge_agent.thresholds import FrameLimits
from engines.errors import FrameError


def stripes(dark, light, channels=1):
    """A frame whose brightness is half way between, and its contrast half the distance."""
    frame = np.full((8, 16, channels), dark, np.uint8)
    frame[:, ::2] = light
    return frame


def reason_for(frame, limits):
    try:
        check_frame(frame, limits)
    except FrameError as problem:
        return problem.reason
    return None


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ((100, 255, 0), None),
        ((np.nextafter(100, 101), 255, 0), "black_frame"),
        ((0, 100, 0), None),
        ((0, np.nextafter(100, 99), 0), "blown_out_frame"),
        ((0, 255, 20), None),
        ((0, 255, np.nextafter(20, 21)), "blown_out_frame"),
    ],
)
def test_a_frame_exactly_at_a_limit_is_good(limits, reason, channels):
    frame = stripes(80, 120, channels)
    low, high, contrast = map(float, limits)
    assert brightness_and_contrast(frame) == (100, 20)
    assert reason_for(frame, FrameLimits(mean_low=low, mean_high=high, contrast_low=contrast)) == reason


def test_parts_may_be_mostly_white_or_mostly_black():
    white, black = stripes(246, 254), stripes(0, 8)
    for good, bad in ((white, 255), (black, 0)):
        limits = fit_frame_limits([brightness_and_contrast(good)], share=0.01)
        assert reason_for(good, limits) is None
        assert reason_for(np.full_like(good, bad), limits) in {"black_frame", "blown_out_frame"}


@given(st.lists(st.tuples(st.integers(1, 254), st.integers(1, 254)), min_size=1, max_size=5))
def test_no_good_frame_is_refused_and_every_empty_one_is(pairs):
    good = [stripes(min(pair), max(pair) + 1) for pair in pairs]
    limits = fit_frame_limits([brightness_and_contrast(frame) for frame in good], share=0.01)
    assert [reason_for(frame, limits) for frame in good] == [None] * len(good)
    assert reason_for(np.zeros((8, 16, 1), np.uint8), limits) == "black_frame"
    assert reason_for(np.full((8, 16, 1), 255, np.uint8), limits) == "blown_out_frame"


@pytest.mark.parametrize(("dark", "dark_ones_count"), [(1, False), (4, False), (5, True), (40, True)])
def test_what_may_be_rejected_has_no_say_in_the_limits(dark, dark_ones_count):
    measured = [(2.0, 1.0)] * dark + [(120.0 + number % 7, 30.0) for number in range(200 - dark)]
    limits = fit_frame_limits(measured, share=0.02)
    assert is_within((2.0, 1.0), limits) == dark_ones_count
    assert limits.mean_low == (0.5 if dark_ones_count else 30.0)
