import math

import numpy as np
import pytest

from calibrate.bootstrap import auroc_interval
from calibrate.metrics import ImageResult, average_precision, image_metrics, roc_curve, scores_of
from engines.auroc import auroc


def results(good, bad, *, limit=4.0):
    """Frames with these scores; None is an INVALID frame."""

    def result(index, score, *, is_good):
        if score is None:
            return ImageResult(is_good, math.inf, "INVALID", f"{is_good}{index}")
        return ImageResult(is_good, score, "FAIL" if score > limit else "PASS", f"{is_good}{index}")

    return [result(i, s, is_good=True) for i, s in enumerate(good)] + [
        result(i, s, is_good=False) for i, s in enumerate(bad)
    ]


def test_image_metrics_use_the_verdict_for_counts_and_the_score_for_auroc():
    figures = image_metrics(results([1.0, 4.5], [3.0, 5.0]))
    assert figures["image_auroc"] == pytest.approx(0.75)
    names = ("recall", "precision", "f1", "false_reject_rate", "accuracy")
    assert [figures[name] for name in names] == [0.5] * 5
    assert figures["confusion"] == {
        "good": {"PASS": 1, "FAIL": 1, "INVALID": 0},
        "defective": {"PASS": 1, "FAIL": 1, "INVALID": 0},
    }


def test_invalid_is_a_reject_and_ranks_above_every_score():
    figures = image_metrics(results([1.0, 2.0, 3.0, None], [2.5, None]))
    assert figures["confusion"]["good"] == {"PASS": 3, "FAIL": 0, "INVALID": 1}
    assert figures["confusion"]["defective"] == {"PASS": 1, "FAIL": 0, "INVALID": 1}
    assert (figures["caught"], figures["false_rejects"]) == (1, 1)
    assert (figures["recall"], figures["false_reject_rate"]) == (0.5, 0.25)
    # 2.5 beats two good frames; the INVALID one beats three and ties with the INVALID good one.
    assert figures["image_auroc"] == pytest.approx((2 + 3.5) / 8)
    assert figures["average_precision"] == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 4)


@pytest.mark.parametrize(("good", "bad"), [([1.0, 2.0], []), ([], [1.0, 5.0])])
def test_one_class_alone_gives_its_own_rates_and_no_ranking(good, bad):
    figures = image_metrics(results(good, bad))
    assert [figures[n] for n in ("image_auroc", "image_auroc_interval_95", "average_precision")] == [None] * 3
    assert (figures["recall"] is None) == (not bad)
    assert (figures["false_reject_rate"] is None) == (not good)


def test_nothing_rejected_has_no_precision():
    assert image_metrics(results([1.0], [1.0]))["precision"] is None


def labelled(seed, decimals, count=200):
    random = np.random.default_rng(seed)
    bad = random.random(count) < 0.3
    return bad, np.round(random.normal(size=count) + bad, decimals)


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_the_figures_agree_with_the_library_also_on_ties(decimals):
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn: pip install scikit-learn")
    bad, scores = labelled(decimals, decimals)
    figures = image_metrics(results(scores[~bad], scores[bad], limit=0.5))
    rejected = scores > 0.5
    assert figures["image_auroc"] == pytest.approx(sklearn.roc_auc_score(bad, scores))
    assert figures["average_precision"] == pytest.approx(sklearn.average_precision_score(bad, scores))
    assert figures["f1"] == pytest.approx(sklearn.f1_score(bad, rejected))
    assert figures["precision"] == pytest.approx(sklearn.precision_score(bad, rejected))
    assert figures["recall"] == pytest.approx(sklearn.recall_score(bad, rejected))
    assert figures["accuracy"] == pytest.approx(sklearn.accuracy_score(bad, rejected))
    (passed, false_rejects), (missed, caught) = sklearn.confusion_matrix(bad, rejected)
    assert figures["confusion"]["good"] == {"PASS": passed, "FAIL": false_rejects, "INVALID": 0}
    assert figures["confusion"]["defective"] == {"PASS": missed, "FAIL": caught, "INVALID": 0}
    expected = sklearn.roc_curve(bad, scores, drop_intermediate=False)
    for ours, theirs in zip(roc_curve(scores[~bad], scores[bad]), expected, strict=False):
        assert ours == pytest.approx(theirs)


def interval(good, bad, good_groups=None, bad_groups=None):
    good, bad = np.asarray(good, float), np.asarray(bad, float)
    return auroc_interval(good, bad, good_groups or [*map(str, range(len(good)))], bad_groups or [*map(str, bad)])


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_holds_the_estimate_and_is_the_same_every_time(seed):
    bad, scores = labelled(seed, 2, count=80)
    low, high = interval(scores[~bad], scores[bad], bad_groups=[*map(str, range(bad.sum()))])
    assert low < auroc(scores[~bad], scores[bad]) < high
    assert (low, high) == interval(scores[~bad], scores[bad], bad_groups=[*map(str, range(bad.sum()))])


def test_the_interval_agrees_with_a_plain_bootstrap():
    bad, scores = labelled(3, 1, count=60)
    random = np.random.default_rng(99)
    draws = [
        auroc(random.choice(scores[~bad], (~bad).sum()), random.choice(scores[bad], bad.sum())) for _ in range(4000)
    ]
    found = interval(scores[~bad], scores[bad], bad_groups=[*map(str, range(bad.sum()))])
    assert found == pytest.approx(np.percentile(draws, (2.5, 97.5)), abs=0.01)


def test_frames_of_one_part_are_drawn_together():
    bad, scores = labelled(0, 3, count=40)
    good, bad = scores[~bad], scores[bad]
    alone = interval(good, bad, [str(i) for i in range(len(good))], [str(i) for i in range(len(bad))])
    copies = 9
    names = (
        [f"part{i // copies}" for i in range(copies * len(good))],
        [f"p{i // copies}" for i in range(copies * len(bad))],
    )
    parts = interval(good.repeat(copies), bad.repeat(copies), *names)
    frames = interval(
        good.repeat(copies),
        bad.repeat(copies),
        [*map(str, range(copies * len(good)))],
        [*map(str, range(copies * len(bad)))],
    )
    assert parts == pytest.approx(alone, abs=0.02)
    assert frames[1] - frames[0] < 0.5 * (parts[1] - parts[0])


def test_a_part_brings_its_own_frames():
    # Part a is far below the defective ones, part b far above: both of one kind are drawn in a quarter of the cases.
    assert interval([1, 9, 1, 9], [5, 5], ["a", "b", "a", "b"], ["c", "d"]) == (0.0, 1.0)


def test_perfectly_apart_gives_one_also_with_frames_that_have_no_score():
    assert interval([1, 2, 3], [4, 5, math.inf]) == (1.0, 1.0)


@pytest.mark.parametrize(("good_groups", "bad_groups"), [(["a", "a"], ["c", "d"]), (["a", "b"], ["c", "c"])])
def test_a_single_part_gives_no_interval(good_groups, bad_groups):
    assert interval([1, 2], [3, 4], good_groups, bad_groups) is None


def test_a_curve_begins_at_nothing_rejected_and_ends_at_everything():
    for share in roc_curve(np.array([1.0, 2.0]), np.array([2.0, math.inf])):
        assert (share[0], share[-1]) == (0, 1)
        assert (np.diff(share) >= 0).all()


def test_scores_are_told_apart_by_truth():
    frames = results([1.0], [2.0, None])
    assert scores_of(frames, good=True).tolist() == [1.0]
    assert scores_of(frames, good=False).tolist() == [2.0, math.inf]
    assert average_precision(np.array([1.0]), np.array([2.0, math.inf])) == 1.0
