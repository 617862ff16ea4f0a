import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from engines.core_inputs import CORE_INPUTS
from engines.defect_head import DefectHead
from engines.export import export_parts
from engines.forward import Core, as_pictures, seen_of
from engines.network import Autoencoder
from engines.quantize import quantize_core
from engines.reduction import Geometry
from engines.structure import CORE_INPUT, CORE_PICTURE

SIDE = 64
CODES = {"tensorrt": 127, "cpu": 255}


def lively(module):
    """Let activations reach their bounds, as they do after training."""
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(part.running_var, 0.05)
    return module.eval()


@pytest.fixture(scope="module")
def core():
    torch.manual_seed(0)
    both = Core(lively(Autoencoder(3, width=16)), "edges", lively(DefectHead(3, width=16)))
    geometry = Geometry((SIDE, SIDE, 3), (0, 0, SIDE, SIDE), (SIDE, SIDE))
    return export_parts(geometry, both, ["l2", "learned"], box=1).core


def feed_of(seed, reach):
    frames = np.random.default_rng(seed).integers(0, reach, (1, SIDE, SIDE, 3), dtype=np.uint8)
    return {CORE_INPUT: seen_of(frames, "edges"), CORE_PICTURE: as_pictures(frames).numpy()}


def activations(core, tensors, feed):
    model = onnx.ModelProto()
    model.CopyFrom(core)
    del model.graph.output[:]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors
    )
    return dict(zip(tensors, ort.InferenceSession(model.SerializeToString()).run(tensors, feed), strict=True))


@pytest.mark.parametrize("placement", CODES)
def test_nothing_is_clipped_of_the_one_frame_that_stands_out(core, placement):
    usual, strange = [feed_of(seed, 20) for seed in range(5)], feed_of(9, 256)
    model = quantize_core(core, iter([*usual, strange]), core_input=CORE_INPUTS["edges"], placement=placement)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made = {output for node in core.graph.node for output in node.output}
    steps = {n.input[0]: constants[n.input[1]] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    inside = [name for name in steps if name in made]
    assert len(inside) > 10
    for name, values in activations(core, inside, strange).items():
        assert values.max() <= steps[name] * (CODES[placement] + 0.5), name


@pytest.mark.parametrize("placement", CODES)
def test_no_step_is_coarser_than_the_bound_of_the_activations_asks_for(core, placement):
    model = quantize_core(
        core, (feed_of(seed, 256) for seed in range(6)), core_input=CORE_INPUTS["edges"], placement=placement
    )
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    steps = {n.input[0]: float(constants[n.input[1]]) for n in model.graph.node if n.op_type == "QuantizeLinear"}
    assert max(steps.values()) <= 6 / CODES[placement] + 1e-6, max(steps, key=steps.get)
