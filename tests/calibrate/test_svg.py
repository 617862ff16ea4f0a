import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from calibrate.metrics import ImageResult
from calibrate.score_plots import histogram, roc
from calibrate.svg import Axis, Plot


def elements(svg, tag, style):
    return [e for e in ET.fromstring(svg).iter(tag) if style in e.get("class", "").split()]


def results(good, bad):
    truths = [True] * len(good) + [False] * len(bad)
    verdicts = ["FAIL" if score > 4 else "PASS" for score in (*good, *bad)]
    return [ImageResult(*frame, "") for frame in zip(truths, (*good, *bad), verdicts, strict=True)]


def test_values_land_between_the_axes_and_words_are_escaped():
    plot = Plot(Axis(0, 10, [(0, "0"), (10, "<10>")], "x"), Axis(0, 1, [], "y & z"), width_px=200, height_px=100)
    plot.line([(0, 0), (5, 0.5), (10, 1)], "curve")
    (curve,) = elements(plot.svg('a "plot"'), "polyline", "curve")
    points = np.array([point.split(",") for point in curve.get("points").split()], float)
    assert (np.diff(points[:, 0]) > 0).all()
    assert (np.diff(points[:, 1]) < 0).all()
    assert points[1] == pytest.approx(points[[0, 2]].mean(axis=0), abs=0.1)
    assert 0 < points[0, 0] < points[2, 0] < 200
    assert 0 < points[2, 1] < points[0, 1] < 100


def test_every_frame_with_a_score_is_in_the_histogram_and_the_wrong_ones_stand_out():
    svg = histogram(results([0.01, 1, 2, 2.01, 4, 4.01], [-1.0, 3, 5, 1e9, np.inf]), 4.0)
    good, bad = elements(svg, "rect", "good"), elements(svg, "rect", "bad")
    unit = min(float(bar.get("height")) for bar in good)

    def frames(bars):
        return sum(round(float(bar.get("height")) / unit) for bar in bars)

    assert (frames(good), frames(bad)) == (6, 4)
    # A frame exactly at the limit passes; of the defective ones, two lie below it.
    assert frames(b for b in good if "wrong" in b.get("class")) == 1
    assert frames(b for b in bad if "wrong" in b.get("class")) == 2
    (limit,) = elements(svg, "polyline", "limit")
    place = float(limit.get("points").split(",")[0])
    for bar in elements(svg, "rect", "wrong"):
        is_right_of_it = float(bar.get("x")) >= place - 0.1
        assert is_right_of_it == ("good" in bar.get("class"))


@pytest.mark.parametrize("count", [1, 4, 7, 400, 12_345])
def test_a_histogram_has_few_whole_marks(count):
    svg = histogram(results([2.0] * count, []), 4.0)
    marks = [e.text for e in elements(svg, "text", "tick") if re.fullmatch(r"[0-9]+", e.text or "")]
    assert len(marks) < 20
    assert "0" in marks


def test_the_curve_passes_through_the_point_of_the_limit():
    frames = results([1, 2, 3, 5], [3.5, 6, 7])
    svg = roc(frames, false_reject_rate=0.25, recall=2 / 3)
    (curve,) = elements(svg, "polyline", "curve")
    (dot,) = elements(svg, "circle", "limit")
    assert f"{dot.get('cx')},{dot.get('cy')}" in curve.get("points").split()
