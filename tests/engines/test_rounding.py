from dataclasses import replace

import cv2
import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from engines.checkpoint import Checkpoint
from engines.core_inputs import CORE_INPUTS
from engines.defect_head import DefectHead
from engines.export import export_parts, join
from engines.forward import as_pictures, error_maps_of, seen_of
from engines.images import read_image
from engines.network import Autoencoder
from engines.quantize import quantize_core
from engines.reduction import plan_geometry
from engines.rounding import fold, measured, rounded
from engines.schedule import LEARNING_RATE, TIMED_STEPS, Schedule, first_rounded, learning_rate
from engines.structure import CORE_INPUT, CORE_PICTURE, check_structure
from engines.training import train

SIDE = 64
ERRORS = ["l2", "learned"]


@pytest.fixture(scope="module")
def pictures(good_frames_folder):
    frames = [read_image(good_frames_folder / f"{index:03d}.png") for index in range(8)]
    return np.stack([cv2.resize(frame, (SIDE, SIDE)) for frame in frames])


SCHEDULE = Schedule(steps=30, minutes=None, batch=4, seed=0, width=16, head=True, qat=True)


@pytest.fixture(scope="module")
def core(pictures):
    return train(pictures, SCHEDULE, rotates=False).core


def normalised(module):
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(part.running_var, 0.5, 1.5)
    return module.eval()


@torch.no_grad()
def test_folding_changes_nothing():
    network, seen = normalised(Autoencoder(3, width=16)), torch.rand(2, 1, SIDE, SIDE)
    head, picture = normalised(DefectHead(3, width=16)), torch.rand(2, 3, SIDE, SIDE)
    before = network(seen), head(picture, picture.flip(0))
    for module in (network, head):
        fold(module)
        assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in module.modules())
    torch.testing.assert_close(network(seen), before[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head(picture, picture.flip(0)), before[1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_inputs_and_weights_are_rounded_to_integers_of_their_steps():
    network, seen = normalised(Autoencoder(3, width=16)), torch.rand(2, 1, SIDE, SIDE)
    fold(network)
    with measured(network, {"stem": 1 / 127}):
        network(seen)
    first = dict(rounded(network))["stem"]
    assert float(first.step) == pytest.approx(1 / 127)
    weight = first.conv.weight
    steps = weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    exact = torch.nn.functional.conv2d(
        (seen * 127).round().clamp(-128, 127) / 127, (weight / steps).round() * steps, first.conv.bias, 2, 2
    )
    torch.testing.assert_close(first(seen), first.activation(exact), rtol=1e-4, atol=1e-5)


def test_the_range_reaches_to_the_largest_value_of_all_frames():
    network = normalised(Autoencoder(1, width=16))
    fold(network)
    with measured(network, {}), torch.no_grad():
        for largest in (0.2, 0.6):
            network(torch.full((1, 1, SIDE, SIDE), largest))
    assert float(dict(rounded(network))["stem"].step) == pytest.approx(0.6 / 127)


def test_the_rate_falls_twice():
    first = first_rounded(1000)
    rates = [learning_rate(step, 1000, rounding=True) for step in range(1000)]
    assert first == 850
    assert rates[TIMED_STEPS] == pytest.approx(LEARNING_RATE, rel=0.01)
    assert rates[first - 1] < 0.02 * LEARNING_RATE
    assert rates[first] == pytest.approx(0.1 * LEARNING_RATE)
    assert rates[-1] < 0.001 * LEARNING_RATE
    assert all(a >= b for a, b in zip(rates[TIMED_STEPS : first - 1], rates[TIMED_STEPS + 1 : first], strict=True))


@pytest.mark.parametrize("placement", ["tensorrt", "cpu"])
def test_the_steps_of_training_are_those_of_the_model(core, pictures, placement):
    parts = export_parts(plan_geometry((SIDE, SIDE, 3), None, (SIDE, SIDE)), core, ERRORS, box=1)
    feeds = [{CORE_INPUT: seen_of(pictures[:1], "edges"), CORE_PICTURE: as_pictures(pictures[:1]).numpy()}]
    model = quantize_core(parts.core, feeds, core_input=CORE_INPUTS["edges"], placement=placement, steps=core.steps())
    check_structure(join(parts), int8=False)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    used = [float(constants[n.input[1]]) for n in model.graph.node if n.op_type == "QuantizeLinear"]
    share = 1 if placement == "tensorrt" else 127 / 255
    for name, step in core.steps().items():
        if not name.endswith("stem.conv"):
            assert any(value == pytest.approx(step * share, rel=1e-5) for value in used), name
    if placement == "tensorrt":
        check_structure(join(parts, core=model), int8=True)
    (maps,) = ort.InferenceSession(join(parts, core=model).SerializeToString()).run(None, {"frame": pictures[:1]})
    (expected,) = error_maps_of(core, ERRORS, pictures[:1])
    assert np.abs(maps[0] - expected).mean() < 0.15 * expected.mean()


def test_an_interrupted_training_rounds_on(pictures, tmp_path):
    class InterruptionError(Exception):
        pass

    class Log:
        def add(self, step, **_):
            if step == 27:
                raise InterruptionError

    whole = train(pictures, SCHEDULE, rotates=False).core
    checkpoint = Checkpoint(tmp_path / "checkpoint", {}, period_s=0)
    with pytest.raises(InterruptionError):
        train(pictures, SCHEDULE, rotates=False, checkpoint=checkpoint, log=Log())
    continued = train(pictures, SCHEDULE, rotates=False, interrupted=checkpoint.load()).core
    for module in ("network", "head"):
        other = getattr(continued, module).state_dict()
        for name, value in getattr(whole, module).state_dict().items():
            assert torch.equal(value, other[name]), name


def test_without_the_switch_nothing_rounds(pictures):
    assert train(pictures, replace(SCHEDULE, steps=3, qat=False), rotates=False).core.steps() == {}


def test_minutes_that_are_over_soon_leave_steps_that_round_and_their_number_gives_the_same(pictures):
    timed = train(pictures, replace(SCHEDULE, steps=None, minutes=1e-6), rotates=False)
    assert timed.core.steps() != {}
    stepped = train(pictures, replace(SCHEDULE, steps=timed.steps), rotates=False)
    assert timed.losses == stepped.losses
    assert timed.core.steps() == stepped.core.steps()
