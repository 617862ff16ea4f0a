import cv2
import numpy as np
import pytest
import torch

from engines.box_mean import box_mean
from engines.error_maps import MSGMS_C, ErrorMaps, Msgms, Ssim, check_error_maps
from engines.errors import UsageError
from engines.map_choice import smooth


def pictures(seed=0, shape=(3, 24, 20)):
    random = np.random.default_rng(seed)
    smoothed = [cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in random.random(shape)]
    first = np.clip(np.stack(smoothed) * 1.5 - 0.2, 0, 1).astype(np.float32)
    second = np.clip(first + random.normal(0, 0.08, shape), 0, 1).astype(np.float32)
    return first, second


def run(module, first, second):
    return module(torch.from_numpy(first)[None], torch.from_numpy(second)[None])[0, 0].numpy()


def slow_ssim(a, b):
    offsets = range(-5, 6)
    window = np.array([[np.exp(-(i * i + j * j) / (2 * 1.5**2)) for j in offsets] for i in offsets])
    window /= window.sum()
    height, width = a.shape
    a, b = (np.pad(plane.astype(float), 5, mode="edge") for plane in (a, b))
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            x, y = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            result[i, j] = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    return result


def slow_gms(a, b):
    def gradient(plane):
        p = np.pad(plane.astype(float), 1, mode="edge")
        result = np.zeros(plane.shape)
        for i in range(plane.shape[0]):
            for j in range(plane.shape[1]):
                w = p[i : i + 3, j : j + 3]
                result[i, j] = np.hypot((w[:, 0] - w[:, 2]).sum() / 3, (w[0] - w[2]).sum() / 3)
        return result

    x, y = gradient(a), gradient(b)
    return (2 * x * y + MSGMS_C) / (x**2 + y**2 + MSGMS_C)


def halve(plane):
    return plane.reshape(plane.shape[0] // 2, 2, plane.shape[1] // 2, 2).mean((1, 3))


def test_ssim_is_its_definition():
    first, second = pictures()
    slow = np.mean([1 - slow_ssim(a, b) for a, b in zip(first, second, strict=True)], axis=0)
    np.testing.assert_allclose(run(Ssim(), first, second), slow, atol=2e-5)


def test_msgms_is_its_definition():
    first, second = pictures()
    slow = 0.0
    for a, b in zip(first, second, strict=True):
        coarse = cv2.resize(1 - slow_gms(halve(a), halve(b)), (a.shape[1], a.shape[0]), interpolation=cv2.INTER_LINEAR)
        slow = slow + ((1 - slow_gms(a, b)) + coarse) / 2 / len(first)
    np.testing.assert_allclose(run(Msgms(3), first, second), slow, atol=2e-5)


def test_l2_is_the_mean_square_over_channels():
    first, second = pictures()
    expected = ((first.astype(float) - second) ** 2).mean(axis=0)
    np.testing.assert_allclose(run(ErrorMaps(["l2"], 3), first, second), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["l2", "ssim", "msgms"])
def test_a_perfect_reconstruction_has_no_error(name):
    first, _ = pictures()
    error = run(ErrorMaps([name], 3), first, first)
    assert error.min() >= 0
    assert error.max() < 1e-5


@pytest.mark.parametrize("names", [[], ["l2", "l2"], ["mse"], ["l2", "ssim", "msgms", "l2"], [""]])
def test_impossible_error_maps_are_refused(names):
    with pytest.raises(UsageError, match="msgms"):
        check_error_maps(names)


@pytest.mark.parametrize("box", [1, 5, 21])
def test_the_box_does_not_darken_the_border(box):
    maps = np.random.default_rng(0).random((2, 30, 40)).astype(np.float32)
    slow = np.zeros_like(maps)
    half = box // 2
    for i in range(30):
        for j in range(40):
            window = maps[:, max(0, i - half) : i + half + 1, max(0, j - half) : j + half + 1]
            slow[:, i, j] = window.mean(axis=(1, 2))
    np.testing.assert_allclose(box_mean(torch.from_numpy(maps)[None], box)[0].numpy(), slow, atol=1e-5)
    np.testing.assert_allclose(smooth(maps, box), slow, atol=1e-5)
