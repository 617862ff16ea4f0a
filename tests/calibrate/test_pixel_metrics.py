from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.pixel_metrics import NO_FIGURES, Overlap, PixelFrame, pixel_metrics
from calibrate.pixel_ranks import rounded
from edge_agent.decision import NOT_INSPECTED

NEIGHBOURS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def frame(z, truth=None, *, label=None, marked=None):
    z = np.asarray(z, np.float32)
    truth = np.zeros(z.shape, bool) if truth is None else np.asarray(truth, bool)
    marked = np.zeros(z.shape, bool) if marked is None else np.asarray(marked, bool)
    return PixelFrame(label or ("bar" if truth.any() else "good"), z, truth, marked)


def measure(frames, **more):
    good = [f for f in frames if f.label == "good"]
    defective = sorted((f for f in frames if f.label != "good"), key=lambda f: f.label)
    return pixel_metrics(defective, good + defective, **more)


def regions_of(truth):
    """The 8-connected regions, each a set of places, found by walking."""
    left = set(zip(*truth.nonzero(), strict=True))
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            place = edge.pop()
            region.add(place)
            for down, across in NEIGHBOURS:
                other = place[0] + down, place[1] + across
                if other in left:
                    left.remove(other)
                    edge.append(other)
        yield region


def good_pixels(f):
    return [value for value in f.z[~f.truth].tolist() if value > NOT_INSPECTED]


def plain_curve(frames):
    """The definition in fractions: at every threshold, the share of good pixels and the mean share of each region."""
    points = [(Fraction(0), Fraction(0))]
    for threshold in sorted({value for f in frames for value in f.z.ravel().tolist()}, reverse=True):
        good = [value >= threshold for f in frames for value in good_pixels(f)]
        overlaps = [
            Fraction(sum(bool(f.z[place] >= threshold) for place in region), len(region))
            for f in frames
            for region in regions_of(f.truth)
        ]
        points.append((Fraction(sum(good), len(good)), sum(overlaps) / len(overlaps)))
    return points


def plain_aupro(frames, limit):
    area = Fraction(0)
    for (x, y), (next_x, next_y) in pairwise(plain_curve(frames)):
        if next_x <= limit:
            area += (next_x - x) * (y + next_y) / 2
        elif x < limit:
            at_limit = y + (next_y - y) * (limit - x) / (next_x - x)
            area += (limit - x) * (y + at_limit) / 2
    return area / limit


def plain_auroc(frames):
    good = [value for f in frames for value in good_pixels(f)]
    bad = [value for f in frames for value in f.z[f.truth].tolist()]
    wins = sum(Fraction(b > g) + Fraction(b == g, 2) for b in bad for g in good)
    return wins / (len(good) * len(bad))


@st.composite
def labelled_frames(draw):
    """Few pixels, few different values, some never inspected: ties everywhere, also at the limit.

    At least one bad pixel, and one good one that is inspected.
    """
    height, width = draw(st.integers(1, 5)), draw(st.integers(2, 5))
    values = st.integers(-2, draw(st.integers(-1, 20)))
    cells = height * width

    def picture(of):
        return np.array(draw(st.lists(of, min_size=cells, max_size=cells))).reshape(height, width)

    frames = [frame(picture(values)) for _ in range(draw(st.integers(0, 2)))]
    labels = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
    frames += [frame(picture(values), picture(st.booleans()), label=label) for label in labels]
    frames[-1].truth[0, 0], frames[-1].truth[-1, -1] = True, False
    for f in frames:
        f.z[f.z == -2] = NOT_INSPECTED
    frames[-1].z[-1, -1] = max(0, frames[-1].z[-1, -1])
    return frames


@settings(max_examples=300, deadline=None)
@given(labelled_frames(), st.sampled_from(["0.3", "0.05"]))
def test_the_figures_are_those_of_the_plain_definition(frames, limit):
    figures, _ = measure(frames)
    name = {"0.3": "aupro", "0.05": "aupro_005"}[limit]
    assert figures[name] == pytest.approx(float(plain_aupro(frames, Fraction(limit))), abs=1e-12)
    assert figures["pixel_auroc"] == pytest.approx(float(plain_auroc(frames)), abs=1e-12)
    assert 0 <= figures[name] <= 1


@settings(max_examples=100, deadline=None)
@given(labelled_frames())
def test_each_type_is_measured_with_its_own_and_all_good_frames(frames):
    _, by_type = measure(frames)
    for label, figures in by_type.items():
        own = [f for f in frames if f.label in ("good", label)]
        if any(f.truth.any() for f in own) and any(map(good_pixels, own)):
            assert figures["aupro"] == pytest.approx(float(plain_aupro(own, Fraction("0.3"))), abs=1e-12)
            assert figures["pixel_auroc"] == pytest.approx(float(plain_auroc(own)), abs=1e-12)
        elif not any(f.truth.any() for f in own):
            assert figures["aupro"] is None


def random_frames(seed, count=3, shape=(60, 50)):
    random = np.random.default_rng(seed)
    frames = [frame(random.normal(size=shape)) for _ in range(count)]
    for index in range(count):
        truth = np.zeros(shape, bool)
        truth[5:12, 5:9] = truth[12:20, 9:30] = truth[30 + index : 34, 20:35] = True
        frames.append(frame(random.normal(size=shape) + truth * random.uniform(0, 3), truth, label="ab"[index % 2]))
    return frames


@pytest.mark.parametrize("seed", range(4))
def test_pixel_auroc_agrees_with_the_library(seed):
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn: pip install scikit-learn")
    frames = random_frames(seed)
    truth = np.concatenate([f.truth.ravel() for f in frames])
    z = np.concatenate([f.z.ravel() for f in frames])
    assert measure(frames)[0]["pixel_auroc"] == pytest.approx(sklearn.roc_auc_score(truth, z), abs=1e-9)


def test_with_one_large_region_aupro_is_the_partial_area_under_the_roc_curve():
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn: pip install scikit-learn")
    random = np.random.default_rng(0)
    truth = np.zeros((900, 900), bool)
    truth[:, :700] = True
    z = (random.normal(size=truth.shape) + truth).astype(np.float32)
    figures, _ = measure([frame(z, truth)])
    assert figures["pixel_auroc"] == pytest.approx(sklearn.roc_auc_score(truth.ravel(), z.ravel()), abs=1e-9)
    for name, limit in (("aupro", 0.3), ("aupro_005", 0.05)):
        standardised = sklearn.roc_auc_score(truth.ravel(), z.ravel(), max_fpr=limit)
        # scikit-learn scales the area (McClish 1989): 1 stays 1, chance becomes a half.
        area = (2 * standardised - 1) * (limit - limit**2 / 2) + limit**2 / 2
        assert figures[name] == pytest.approx(area / limit, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_rounding_for_want_of_memory_changes_almost_nothing_and_never_exceeds_one(seed):
    frames = random_frames(seed)
    exact, exact_by_type = measure(frames)
    rough, rough_by_type = measure(frames, exact_values=100)
    assert rough != exact
    for name, value in exact.items():
        assert rough[name] == pytest.approx(value, abs=1e-4)
    assert rough["aupro"] <= 1
    assert rough_by_type["a"]["aupro"] == pytest.approx(exact_by_type["a"]["aupro"], abs=1e-4)
    # Good and defective pixels are rounded alike, also those that were collected before there were too many.
    assert (rough, rough_by_type) == measure([replace(f, z=rounded(f.z)) for f in frames])


@pytest.mark.parametrize("exact_values", [100, 10**6])
def test_many_pixels_are_joined_on_the_way(exact_values):
    figures, by_type = measure(random_frames(0), exact_values=exact_values, merge_at=150)
    expected, expected_by_type = measure(random_frames(0), exact_values=exact_values)
    assert figures == pytest.approx(expected)
    assert by_type["a"] == pytest.approx(expected_by_type["a"])


def test_rounding_keeps_the_order_and_one_part_in_thirty_thousand():
    z = np.sort(np.random.default_rng(0).normal(scale=100, size=10_000).astype(np.float32))
    rough = rounded(z)
    assert (np.diff(rough) >= 0).all()
    assert np.abs(rough / z - 1).max() < 2**-15


@pytest.mark.parametrize("exact_values", [0, 10**6])
def test_a_perfect_map_gives_one_and_never_more(exact_values):
    truth = np.zeros((32, 32), bool)
    for place in range(0, 30, 3):
        truth[place : place + 2, 1 : 2 + place] = True
    figures, _ = measure([frame(truth, truth), frame(np.zeros((32, 32)))], exact_values=exact_values)
    assert (figures["pixel_auroc"], figures["aupro"], figures["aupro_005"]) == (1.0, 1.0, 1.0)


def test_regions_that_touch_at_a_corner_are_one():
    truth = np.zeros((3, 50), bool)
    truth[0, 0] = truth[1, 1] = truth[1, 2] = truth[1, 3] = True
    z = np.zeros((3, 50))
    z[0, 0] = 1
    # One region of four pixels, one of them found before any good pixel; the others share z with all good pixels.
    expected = 0.25 + 0.75 * 0.3 / 2
    assert measure([frame(z, truth)])[0]["aupro"] == pytest.approx(expected)


def test_a_map_that_says_nothing_is_worth_a_half():
    truth = np.zeros((8, 8), bool)
    truth[0, 0] = True
    figures, _ = measure([frame(np.zeros((8, 8)), truth)])
    assert figures["pixel_auroc"] == pytest.approx(0.5)
    assert figures["aupro"] == pytest.approx(0.15)


def test_iou_and_dice_are_of_all_pixels_together_and_good_frames_count():
    truth, marked = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    truth[0, :4] = True
    marked[0, :2] = True
    wrong = np.zeros((4, 4), bool)
    wrong[3, :2] = True
    figures, by_type = measure(
        [
            frame(np.zeros((4, 4)), marked=wrong),
            frame(np.zeros((4, 4)), truth, marked=marked, label="a"),
            frame(np.zeros((4, 4)), truth, marked=truth, label="b"),
        ]
    )
    assert (figures["iou"], figures["dice"]) == (6 / 10, 12 / 16)
    assert (by_type["a"]["iou"], by_type["b"]["iou"]) == (2 / 6, 4 / 6)
    assert set(Overlap().figures().values()) == {None}


def in_the_middle_of_nothing(f, more):
    """The frame, with so many pixels around it that are never inspected."""
    return replace(
        f,
        z=np.pad(f.z, more, constant_values=NOT_INSPECTED),
        truth=np.pad(f.truth, more),
        marked=np.pad(f.marked, more),
    )


@pytest.mark.parametrize("exact_values", [100, 10**6])
def test_good_pixels_that_are_never_inspected_change_no_figure_but_their_share(exact_values):
    frames = random_frames(0)
    figures, by_type = measure([in_the_middle_of_nothing(f, 40) for f in frames], exact_values=exact_values)
    expected, expected_by_type = measure(frames, exact_values=exact_values)
    assert expected["inspected_share"] == 1
    assert figures == {**expected, "inspected_share": 60 * 50 / (140 * 130)}
    assert by_type["a"]["aupro"] == expected_by_type["a"]["aupro"]


def test_a_map_that_says_nothing_does_not_look_better_where_little_is_inspected():
    random = np.random.default_rng(0)
    truth = np.zeros((200, 200), bool)
    truth[5:15, 5:15] = True
    z = np.full(truth.shape, NOT_INSPECTED)
    z[:60, :60] = random.normal(size=(60, 60))
    assert measure([frame(z, truth)])[0]["aupro"] == pytest.approx(0.15, abs=0.05)


def test_a_defect_that_is_never_inspected_is_not_found():
    truth = np.zeros((20, 20), bool)
    truth[2:4, 2:4] = truth[15:17, 15:17] = True
    z = truth.astype(np.float32)
    z[10:] = NOT_INSPECTED
    figures, _ = measure([frame(z, truth, marked=z > 0)])
    assert {name: figures[name] for name in ("pixel_auroc", "aupro", "aupro_005", "iou")} == dict.fromkeys(
        ("pixel_auroc", "aupro", "aupro_005", "iou"), 0.5
    )
    assert (figures["inspected_share"], figures["defective_inspected_share"]) == (0.5, 0.5)


def test_without_a_defective_pixel_there_are_no_figures():
    assert measure([frame(np.ones((8, 8)))]) == (NO_FIGURES, {})
    assert measure([frame(np.ones((8, 8)), label="empty")]) == (NO_FIGURES, {})


def test_without_a_good_pixel_only_the_overlap_is_known():
    figures, _ = measure([frame(np.ones((2, 2)), np.ones((2, 2)), marked=np.ones((2, 2)))])
    shares = {"inspected_share": 1.0, "defective_inspected_share": 1.0}
    assert figures == {**dict.fromkeys(("pixel_auroc", "aupro", "aupro_005")), "iou": 1.0, "dice": 1.0, **shares}
