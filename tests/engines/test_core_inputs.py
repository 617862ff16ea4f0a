from functools import cache

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from engines.core_inputs import CORE_INPUTS
from engines.export import export_parts
from engines.forward import Core, as_pictures, seen_of
from engines.network import Autoencoder
from engines.quantize import quantize_core
from engines.reduction import Geometry
from engines.structure import CORE_INPUT

CODES = np.arange(256, dtype=np.uint8)
TYPES = {"tensorrt": np.int8, "cpu": np.uint8}


def every_code(channels=3):
    """One frame that holds every camera code in every channel, (1, 64, 64, C') uint8."""
    random = np.random.default_rng(0)
    planes = [random.permutation(np.tile(CODES, 16)).reshape(64, 64) for _ in range(channels)]
    return np.stack(planes, axis=-1)[None]


@cache
def core_of(name):
    torch.manual_seed(0)
    network = Autoencoder(3, width=16, inputs=CORE_INPUTS[name].planes(3)).eval()
    geometry = Geometry((64, 64, 3), (0, 0, 64, 64), (64, 64))
    return export_parts(geometry, Core(network, name), ["l2"], box=1).core


def quantiser(name, placement):
    """Step and zero point of the core's input."""
    feeds = [{CORE_INPUT: seen_of(every_code(), name)}]
    model = quantize_core(core_of(name), feeds, core_input=CORE_INPUTS[name], placement=placement)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    (node,) = (n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == CORE_INPUT)
    return constants[node.input[1]], constants[node.input[2]]


@pytest.mark.parametrize("placement", TYPES)
@pytest.mark.parametrize("name", CORE_INPUTS)
def test_what_the_core_sees_survives_int8(name, placement):
    step, zero = quantiser(name, placement)
    assert zero.dtype == TYPES[placement]
    assert placement == "cpu" or zero == 0
    seen = seen_of(every_code(), name)
    limits = np.iinfo(TYPES[placement])
    codes = np.clip(np.rint(seen / step) + zero, limits.min, limits.max)
    np.testing.assert_allclose((codes - zero) * step, seen, atol=0.5 * step + 1e-6)
    if name in {"picture", "grey"}:
        # All 256 camera codes are different steps.
        frame = every_code(3 if name == "picture" else 1)
        codes = np.rint(seen_of(frame, name) / step) + zero
        expected = frame.transpose(0, 3, 1, 2).astype(int) - (128 if placement == "tensorrt" else 0)
        np.testing.assert_array_equal(codes, expected)


@pytest.mark.parametrize("name", CORE_INPUTS)
def test_it_stays_in_its_range(name):
    core_input = CORE_INPUTS[name]
    least = -1 if core_input.signed else 0
    for channels in (1, 3):
        frames = np.concatenate([every_code(channels), np.zeros_like(every_code(channels))])
        seen = seen_of(frames, name)
        assert seen.shape == (2, core_input.planes(channels), 64, 64)
        assert least <= seen.min()
        assert seen.max() <= 1


def test_the_high_pass_sees_no_brightness():
    frames = np.full((2, 64, 64, 3), 90, np.uint8)
    frames[1] += 60
    frames[:, 20:24, 20:24] += 25
    dark, bright = seen_of(frames, "highpass")
    np.testing.assert_allclose(dark, bright, atol=1e-5)
    assert dark[0, 22, 22] == pytest.approx(2 * 25 / 255 * (1 - 16 / 441), abs=1e-4)
    assert abs(dark[0, 60, 60]) < 1e-5


@pytest.mark.parametrize("name", ["edges", "highpass", "grey"])
def test_hues_of_one_grey_look_the_same(name):
    blue, green = 0.114, 0.587
    pictures = as_pictures(every_code())
    shifted = pictures * 0.5
    other = shifted + torch.tensor([green, -blue, 0.0]).reshape(1, 3, 1, 1) * 0.1
    module = CORE_INPUTS[name].module()
    torch.testing.assert_close(module(shifted), module(other), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_edges_of_training_are_those_of_the_graph(channels):
    pictures = as_pictures(every_code(channels))
    edge_filter = CORE_INPUTS["edges"].module()
    assert torch.equal(edge_filter.train()(pictures), edge_filter.eval()(pictures))
