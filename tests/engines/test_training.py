import cv2
import numpy as np
import pytest
import torch

from engines.forward import error_maps_of
from engines.images import read_image
from engines.losses import ReconstructionLoss
from engines.schedule import TIMED_STEPS, Schedule
from engines.training import train


@pytest.fixture(scope="module")
def pictures(good_frames_folder):
    frames = [read_image(good_frames_folder / f"{index:03d}.png") for index in range(8)]
    return np.stack([cv2.resize(frame, (64, 64)) for frame in frames])


def schedule(steps=6, minutes=None, seed=0):
    return Schedule(steps=steps, minutes=minutes, batch=4, seed=seed, width=16)


def test_the_same_seed_gives_the_same_network(pictures):
    first, again, other = (train(pictures, schedule(seed=seed), rotates=False) for seed in (1, 1, 2))
    assert first.losses == again.losses
    assert first.losses != other.losses
    for name, value in first.core.network.state_dict().items():
        assert torch.equal(value, again.core.network.state_dict()[name]), name


def test_it_learns(pictures):
    losses = train(pictures, schedule(steps=40), rotates=True).losses
    assert losses[-1] < 0.8 * losses[0]


def test_grey_parts(pictures):
    trained = train(pictures[..., :1], schedule(steps=2), rotates=False)
    (maps, *_) = error_maps_of(trained.core, ["l2", "msgms"], pictures[..., :1])
    assert maps.shape == (2, 64, 64)


def test_minutes_fix_the_number_of_steps(pictures):
    trained = train(pictures, schedule(steps=None, minutes=0.05), rotates=False)
    assert trained.steps >= TIMED_STEPS
    assert trained.core.network.training is False


def test_the_loss_of_a_perfect_reconstruction_is_zero():
    clean = torch.rand(2, 3, 64, 64)
    loss = ReconstructionLoss()
    assert loss(clean, clean) < 1e-5
    assert loss(clean, clean + 0.1) > 0.01
