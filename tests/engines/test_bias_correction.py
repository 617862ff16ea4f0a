import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from engines.bias_correction import correct_biases
from engines.core_inputs import CORE_INPUTS
from engines.export import export_parts
from engines.forward import Core, seen_of
from engines.network import Autoencoder
from engines.quantize import quantize_core
from engines.reduction import Geometry
from engines.structure import CORE_INPUT, RECONSTRUCTION, last_convolutions

SIDE = 64


@pytest.fixture(scope="module")
def core():
    torch.manual_seed(0)
    network = Autoencoder(3, width=16).eval()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(part.running_var, 0.05)
            torch.nn.init.uniform_(part.running_mean, -0.2, 0.2)
    geometry = Geometry((SIDE, SIDE, 3), (0, 0, SIDE, SIDE), (SIDE, SIDE))
    return export_parts(geometry, Core(network, "edges"), ["l2"], box=1).core


def feed_of(seed):
    frames = np.random.default_rng(seed).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    return {CORE_INPUT: seen_of(frames, "edges")}


FEEDS = [feed_of(seed) for seed in range(4)]


def means(model):
    """Mean answer of every channel over the feeds."""
    session = ort.InferenceSession(model.SerializeToString())
    return np.mean([session.run([RECONSTRUCTION], feed)[0].mean(axis=(0, 2, 3)) for feed in FEEDS], axis=0)


def shift_biases(model, by):
    """Move every bias of a float model, as rounding would."""
    for tensor in model.graph.initializer:
        if tensor.name.endswith("bias"):
            values = onnx.numpy_helper.to_array(tensor) + np.float32(by)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def test_a_shift_of_every_bias_is_found_and_taken_back(core):
    shifted = onnx.ModelProto()
    shifted.CopyFrom(core)
    shift_biases(shifted, 0.05)
    assert np.abs(means(shifted) - means(core)).max() > 1e-2
    correct_biases(core, shifted, FEEDS, threads=1)
    np.testing.assert_allclose(means(shifted), means(core), atol=1e-5)
    for before, after in zip(core.graph.initializer, shifted.graph.initializer, strict=True):
        np.testing.assert_allclose(
            onnx.numpy_helper.to_array(after), onnx.numpy_helper.to_array(before), atol=1e-5, err_msg=before.name
        )


@pytest.mark.parametrize("placement", ["tensorrt", "cpu"])
def test_a_quantised_core_answers_as_in_float32_on_average(core, placement, monkeypatch):
    def quantise():
        return quantize_core(core, iter(FEEDS), core_input=CORE_INPUTS["edges"], placement=placement)

    corrected = quantise()
    with monkeypatch.context() as patch:
        patch.setattr("engines.quantize.correct_biases", lambda *_, **__: None)
        before = np.abs(means(quantise()) - means(core)).max()
    # Every layer but the last is corrected before what it gets is measured again: what is left is its own rounding.
    assert np.abs(means(corrected) - means(core)).max() < min(0.2 * before, 1e-3)
    assert len(last_convolutions(corrected)) == 1
