import cv2
import numpy as np
import pytest

from calibrate.metrics import ImageResult, PixelMetrics, aupro, image_metrics


def slow_aupro(z_maps, masks, limit):
    """The definition, threshold by threshold over every distinct score."""
    good = np.concatenate([z[~m] for z, m in zip(z_maps, masks, strict=True)])
    points = [(0.0, 0.0)]
    for threshold in np.unique(np.concatenate([z.ravel() for z in z_maps]))[::-1]:
        overlaps = []
        for z, mask in zip(z_maps, masks, strict=True):
            count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
            overlaps += [(z[labels == i] >= threshold).mean() for i in range(1, count)]
        points.append(((good >= threshold).mean(), np.mean(overlaps)))
    fpr, pro = np.array(points).T
    inside = fpr < limit
    x = np.append(fpr[inside], limit)
    y = np.append(pro[inside], np.interp(limit, fpr, pro))
    return ((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum() / limit


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limit", [0.3, 0.05])
def test_aupro_agrees_with_the_plain_definition(seed, limit):
    rng = np.random.default_rng(seed)
    masks = [np.zeros((40, 40), bool) for _ in range(3)]
    masks[0][5:12, 5:9] = masks[0][30:34, 20:35] = masks[1][20:22, 3:30] = True
    z_maps = [(rng.normal(size=m.shape) + m * rng.uniform(0, 3)).astype(np.float32) for m in masks]
    regions = []
    for z, mask in zip(z_maps, masks, strict=True):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions += [z[labels == i] for i in range(1, count)]
    good = np.sort(np.concatenate([z[~m] for z, m in zip(z_maps, masks, strict=True)]))
    assert aupro(good, regions, limit) == pytest.approx(slow_aupro(z_maps, masks, limit), abs=2e-3)


def test_a_perfect_map_gives_one_and_never_more():
    metrics = PixelMetrics()
    mask = np.zeros((32, 32), bool)
    mask[4:8, 4:8] = True
    metrics.add(mask.astype(np.float32), mask)
    assert metrics.result() == {"pixel_auroc": 1.0, "aupro": pytest.approx(1.0)}
    assert metrics.result()["aupro"] <= 1


def test_pixel_auroc_counts_ties_as_half():
    metrics = PixelMetrics()
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = True
    metrics.add(np.zeros((8, 8), np.float32), mask)
    assert metrics.result()["pixel_auroc"] == pytest.approx(0.5)


def test_without_masks_pixel_metrics_are_null():
    metrics = PixelMetrics()
    metrics.add(np.zeros((8, 8), np.float32), np.zeros((8, 8), bool))
    assert metrics.result() == {"pixel_auroc": None, "aupro": None}


def test_image_metrics_use_the_verdict_for_counts_and_the_score_for_auroc():
    results = [
        ImageResult(is_good=True, score=1.0, verdict="PASS"),
        ImageResult(is_good=True, score=4.0, verdict="FAIL"),
        ImageResult(is_good=False, score=3.0, verdict="PASS"),
        ImageResult(is_good=False, score=5.0, verdict="FAIL"),
    ]
    figures = image_metrics(results)
    assert figures["image_auroc"] == pytest.approx(0.75)
    assert (figures["recall"], figures["precision"], figures["f1"], figures["false_reject_rate"]) == (0.5,) * 4


def test_only_good_frames_give_a_rate_and_no_auroc():
    figures = image_metrics([ImageResult(is_good=True, score=1.0, verdict="PASS")])
    assert figures["image_auroc"] is None
    assert figures["recall"] is None
    assert figures["false_reject_rate"] == 0


@pytest.mark.parametrize("decimals", [1, 6])
def test_auroc_agrees_with_the_library_also_on_ties(decimals):
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn: pip install scikit-learn")
    rng = np.random.default_rng(decimals)
    bad = rng.random(200) < 0.3
    scores = np.round(rng.normal(size=200) + bad, decimals)
    results = [ImageResult(is_good=not b, score=s, verdict="PASS") for b, s in zip(bad, scores, strict=True)]
    assert image_metrics(results)["image_auroc"] == pytest.approx(sklearn.roc_auc_score(bad, scores))
