"""Every objective: that its loss is what its formula says, and that what it trained can be exported and quantised."""

import copy

import cv2
import numpy as np
import onnxruntime as ort
import pytest
import torch

from engines.core_inputs import CORE_INPUTS
from engines.corruptions import Corruptor
from engines.errors import UsageError
from engines.export import INPUT, export_parts, join
from engines.forward import error_maps_of, seen_of
from engines.losses import ReconstructionLoss
from engines.network import Autoencoder
from engines.objective import Answer, Batch
from engines.objectives import DEFAULT_OBJECTIVE, objective_named, objective_names
from engines.objectives.adversarial import Adversarial
from engines.objectives.contractive import squared_norm_of_jacobian
from engines.objectives.denoise import SIGMA
from engines.objectives.masked import LARGEST_SHARE, PATCH_MAP_PX, SMALLEST_SHARE, VISIBLE_WEIGHT, Masked
from engines.objectives.sparse import WEIGHT as SPARSE_WEIGHT
from engines.objectives.sparse import Sparse
from engines.objectives.variational import PIXEL_SIGMA, Variational, kl_to_standard_normal
from engines.quantize import quantize_core
from engines.reduction import Geometry
from engines.schedule import Schedule
from engines.structure import CORE_INPUT, check_structure
from engines.training import train

NAMES = objective_names()
SIDE, WIDTH = 64, 16


@pytest.fixture(scope="module")
def pictures():
    """Six smooth frames in colour, (6, 64, 64, 3) uint8."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (6, SIDE, SIDE, 3), np.uint8)
    return np.stack([cv2.normalize(cv2.GaussianBlur(f, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX) for f in noise])


def pair_of(name, pictures, seed=(1, 2), count=4):
    return objective_named(name)(3, WIDTH).pair(Corruptor(pictures, rotates=False), seed, count)


def answer_and_batch(values=(0.25, -0.5), hidden=None):
    """A reconstruction that is wrong everywhere, and a bottleneck that holds the values, each in one half."""
    target = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    reconstruction = (target + 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    bottleneck = torch.full((2, 4 * WIDTH, 4, 4), values[0])
    bottleneck[1] = values[1]
    return Answer(reconstruction, bottleneck), Batch(target, target, hidden, seed=7)


def test_the_registry_holds_the_ten():
    assert (
        sorted(
            [
                "restore",
                "plain",
                "denoise",
                "inpaint",
                "masked",
                "colorize",
                "sparse",
                "contractive",
                "variational",
                "adversarial",
            ]
        )
        == NAMES
    )
    assert DEFAULT_OBJECTIVE in NAMES
    with pytest.raises(UsageError, match="Give one of adversarial, colorize"):
        objective_named("perfect")


@pytest.mark.parametrize("name", NAMES)
def test_a_pair_follows_from_its_seed(name, pictures):
    first, again, other = (pair_of(name, pictures, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(first.shown, again.shown)
    np.testing.assert_array_equal(first.target, again.target)
    assert (first.shown != other.shown).any()
    known = {picture.tobytes() for picture in pictures}
    assert {picture.tobytes() for picture in first.target} <= known


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_learns_and_leaves_nothing_of_itself_in_the_graph(name, pictures):
    schedule = Schedule(steps=3, minutes=None, batch=2, seed=0, width=WIDTH, objective=name)
    trained = train(pictures, schedule, rotates=False)
    kind = objective_named(name)
    core, core_input = trained.core, CORE_INPUTS[kind.core_input]
    geometry = Geometry((SIDE, SIDE, 3), (0, 0, SIDE, SIDE), (SIDE, SIDE))
    parts = export_parts(geometry, core, ["l2"], box=1)
    assert bool([n for n in parts.core.graph.node if n.op_type == "Add"]) == kind.skips
    assert {n.op_type for n in parts.core.graph.node} <= {
        "Conv", "Clip", "MaxPool", "Resize", "Add", "DepthToSpace", "Reshape", "Transpose"
    }  # fmt: skip
    weights = sum(p.numel() for p in core.network.parameters())
    assert weights == sum(p.numel() for p in Autoencoder(3, width=WIDTH, inputs=core_input.planes(3)).parameters())
    check_structure(join(parts), int8=False)
    maps = {"fp32": infer(join(parts), pictures[0])}
    for placement in ("tensorrt", "cpu"):
        feeds = ({CORE_INPUT: seen_of(pictures[i : i + 1], core.core_input)} for i in range(3))
        model = join(parts, core=quantize_core(parts.core, feeds, core_input=core_input, placement=placement))
        check_structure(model, int8=placement == "tensorrt")
        maps[placement] = infer(model, pictures[0])
    (expected,) = error_maps_of(core, ["l2"], pictures[:1])
    np.testing.assert_allclose(maps["fp32"], expected, rtol=1e-3, atol=1e-4)
    for placement in ("tensorrt", "cpu"):
        assert np.abs(maps[placement] - expected).mean() < 0.1 * expected.mean()


def infer(model, frame):
    (maps,) = ort.InferenceSession(model.SerializeToString()).run(None, {INPUT: frame[None]})
    return maps[0]


def test_restore_shows_corrupted_frames(pictures):
    pair = pair_of("restore", pictures, count=20)
    changed = (pair.shown != pair.target).any(axis=(1, 2, 3))
    assert 4 <= changed.sum() <= 16


@pytest.mark.parametrize("name", ["plain", "colorize", "sparse", "contractive", "variational", "adversarial"])
def test_some_show_the_frame_itself(name, pictures):
    pair = pair_of(name, pictures)
    assert pair.shown is pair.target


def test_denoise_adds_gaussian_noise_of_its_sigma(pictures):
    grey = np.full_like(pictures, 128)
    pair = pair_of("denoise", grey)
    noise = pair.shown.astype(float) - pair.target
    assert noise.std() == pytest.approx(SIGMA * 255, rel=0.03)
    assert abs(noise.mean()) < 0.5


def test_inpaint_hides_rectangles_only(pictures):
    pair = pair_of("inpaint", pictures)
    assert (pair.shown[pair.hidden] == 128).all()
    assert (pair.shown[~pair.hidden] == pair.target[~pair.hidden]).all()
    assert all(0.002 < hidden.mean() < 0.9 for hidden in pair.hidden)


def test_masked_hides_a_large_share_in_whole_patches(pictures):
    pair = pair_of("masked", pictures, count=30)
    assert (pair.shown[pair.hidden] == 128).all()
    assert (pair.shown[~pair.hidden] == pair.target[~pair.hidden]).all()
    grid = SIDE // PATCH_MAP_PX
    patches = pair.hidden.reshape(-1, grid, PATCH_MAP_PX, grid, PATCH_MAP_PX).mean(axis=(2, 4))
    assert set(np.unique(patches)) == {0.0, 1.0}
    shares = pair.hidden.mean(axis=(1, 2))
    assert SMALLEST_SHARE - 0.05 <= shares.min() < shares.max() <= LARGEST_SHARE + 0.05


def test_masked_weighs_what_was_hidden():
    hidden = torch.zeros(2, 1, SIDE, SIDE)
    hidden[:, :, : SIDE // 2] = 1
    target = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    # Far from the seam, so that SSIM's window sees one half only.
    wrong_above, wrong_below = target.clone(), target.clone()
    wrong_above[:, :, 8:16] += 0.2
    wrong_below[:, :, -16:-8] += 0.2
    batch = Batch(target, target, hidden, seed=0)
    above, below = (Masked(3, WIDTH).loss(Answer(r, r), batch).item() for r in (wrong_above, wrong_below))
    assert below / above == pytest.approx(VISIBLE_WEIGHT, rel=0.25)


def test_colorize_sees_no_colour_and_refuses_grey_frames():
    kind = objective_named("colorize")
    kind.check(3)
    with pytest.raises(UsageError, match="the images are grey"):
        kind.check(1)
    colours = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    colours[0] += np.array([114, 0, 0], np.uint8)
    colours[1] += np.array([0, 22, 0], np.uint8)
    seen = seen_of(colours, kind.core_input)
    assert seen.shape == (2, 1, SIDE, SIDE)
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-2)


def test_sparse_adds_the_mean_absolute_activation():
    answer, batch = answer_and_batch(values=(0.25, -0.75))
    plain = ReconstructionLoss()(answer.reconstruction, batch.target)
    assert Sparse(3, WIDTH).loss(answer, batch).item() == pytest.approx(plain.item() + SPARSE_WEIGHT * 0.5, rel=1e-5)


def test_contractive_estimates_the_norm_of_the_jacobian():
    torch.manual_seed(0)
    matrix = torch.randn(5, 12)
    estimates = []
    for seed in range(4000):
        seen = torch.rand(1, 12, requires_grad=True)
        bottleneck = seen @ matrix.T
        estimates.append(squared_norm_of_jacobian(bottleneck, Batch(seen, seen, None, seed)).item())
    assert np.mean(estimates) == pytest.approx(matrix.square().sum().item() / 5, rel=0.05)


def test_contractive_changes_the_encoder_through_the_second_derivative(pictures):
    kind = objective_named("contractive")
    torch.manual_seed(0)
    network, objective = Autoencoder(3, width=WIDTH, inputs=3, skips=False), kind(3, WIDTH)
    seen = torch.from_numpy(seen_of(pictures[:2], "picture"))
    batch = Batch(seen, torch.rand(2, 3, SIDE, SIDE), None, seed=0)
    answer = objective.answer(network, batch)
    penalty = squared_norm_of_jacobian(answer.bottleneck, batch)
    (slope,) = torch.autograd.grad(penalty, network.stem[0].weight)
    assert penalty > 0
    assert slope.abs().max() > 0


def test_variational_divergence_is_that_of_two_normal_distributions():
    mean, log_variance = torch.tensor([0.5, -2.0]), torch.tensor([0.3, -1.0])
    ours = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(ours, torch.distributions.Normal(0.0, 1.0)).sum()
    assert kl_to_standard_normal(mean, log_variance).item() == pytest.approx(expected.item(), rel=1e-5)
    answer, batch = answer_and_batch()
    answer = Answer(answer.reconstruction, answer.bottleneck, torch.zeros_like(answer.bottleneck))
    plain = ReconstructionLoss()(answer.reconstruction, batch.target).item()
    divergence = kl_to_standard_normal(answer.bottleneck, answer.log_variance).item()
    expected_loss = plain + 2 * PIXEL_SIGMA**2 * divergence / batch.target.numel()
    assert Variational(3, WIDTH).loss(answer, batch).item() == pytest.approx(expected_loss, rel=1e-5)


def test_variational_draws_in_training(pictures):
    torch.manual_seed(0)
    network, objective = Autoencoder(3, width=WIDTH, inputs=3, skips=False).eval(), Variational(3, WIDTH)
    seen = torch.from_numpy(seen_of(pictures[:2], "picture"))
    drawn = [objective.answer(network, Batch(seen, seen, None, seed)).reconstruction for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    torch.nn.init.constant_(objective.log_variance.bias, -100.0)
    certain = objective.answer(network, Batch(seen, seen, None, 1)).reconstruction
    assert (certain - network(seen)).abs().max() < 0.1


def test_adversarial_wishes_are_opposite():
    torch.manual_seed(0)
    objective = Adversarial(3, WIDTH)
    answer, batch = answer_and_batch()
    with torch.no_grad():
        real, made = objective.discriminator(batch.target), objective.discriminator(answer.reconstruction)
    expected = 0.5 * ((real - 1) ** 2).mean() + 0.5 * (made**2).mean()
    assert objective.discriminator_loss(answer.reconstruction, batch.target).item() == pytest.approx(expected.item())
    plain = ReconstructionLoss()(answer.reconstruction, batch.target).item()
    wish = 0.02 * 0.5 * ((made - 1) ** 2).mean().item()
    assert objective.loss(answer, batch).item() == pytest.approx(plain + wish, rel=1e-5)


def test_the_discriminator_learns_by_itself_and_survives_a_checkpoint():
    torch.manual_seed(0)
    objective = Adversarial(3, WIDTH)
    answer, batch = answer_and_batch()
    assert objective.shared_parameters() == []
    before = objective.discriminator_loss(answer.reconstruction, batch.target).item()
    for _ in range(10):
        objective.loss(answer, batch)
        objective.learn(answer, batch)
    assert objective.discriminator_loss(answer.reconstruction, batch.target).item() < before
    twin = Adversarial(3, WIDTH)
    twin.load_state_dict(copy.deepcopy(objective.state_dict()))
    for one in (objective, twin):
        one.learn(answer, batch)
    for ours, theirs in zip(objective.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)
