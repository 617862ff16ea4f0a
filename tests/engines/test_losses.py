import pytest
import torch

from engines.error_maps import Ssim
from engines.losses import ReconstructionLoss


def pictures(shape=(2, 3, 24, 20), seed=0):
    torch.manual_seed(seed)
    clean = torch.rand(shape)
    return (clean + 0.2 * torch.randn(shape)).requires_grad_(), clean


def by_definition(reconstruction, clean, weight):
    """Each pixel's squared error plus 1 - SSIM, averaged with the weights; torch derives it."""
    errors = (reconstruction - clean).square() + 1 - Ssim().similarity(clean, reconstruction)
    return (errors * weight).sum() / (weight.expand_as(errors)).sum()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_loss_and_derivative_are_those_of_the_definition(channels, weighted, order):
    reconstruction, clean = pictures((2, channels, 24, 20))
    weight = torch.rand(2, 1, 24, 20) if weighted else None
    expected = by_definition(reconstruction, clean, torch.ones(1) if weight is None else weight)
    (expected_slope,) = torch.autograd.grad(expected, reconstruction)
    ours = ReconstructionLoss()(reconstruction.contiguous(memory_format=order), clean, weight)
    (slope,) = torch.autograd.grad(3 * ours, reconstruction)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(slope, 3 * expected_slope, rtol=1e-3, atol=1e-6)


def test_the_derivative_is_that_of_finite_differences():
    reconstruction, clean = pictures((1, 1, 12, 12))
    loss = ReconstructionLoss().double()
    torch.autograd.gradcheck(lambda r: loss(r, clean.double()), reconstruction.detach().double().requires_grad_())


def test_the_loss_of_a_perfect_reconstruction_is_zero():
    _, clean = pictures()
    assert ReconstructionLoss()(clean, clean).abs() < 1e-5
    assert ReconstructionLoss()(clean + 0.1, clean) > 0.01
