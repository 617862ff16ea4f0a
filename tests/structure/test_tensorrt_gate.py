"""The graphs that we export, through a builder of the TensorRT family that needs no GPU.

It proves structure, not speed: no kernel is chosen for a Jetson here. `make gate` fetches the wheels.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from engines.core_inputs import CORE_INPUTS
from engines.defect_head import DefectHead
from engines.errors import RecipeError
from engines.export import INPUT, export_parts, join
from engines.forward import Core, as_pictures, seen_of, tiles_of
from engines.map_choice import CANDIDATES
from engines.network import Autoencoder
from engines.quantize import quantize_core
from engines.reduction import Geometry
from engines.structure import CORE_INPUT, CORE_PICTURE, check_structure, last_convolutions

ROOT = Path(__file__).resolve().parents[2]
WHEELS = Path(os.environ.get("EDGE_TENSORRT_RTX", ROOT / ".cache" / "tensorrt-rtx"))
PROGRAM, CONVERTS = (Path(__file__).with_name(name) for name in ("build_with_rtx.py", "convert_with_rtx.py"))
GEOMETRIES = {
    "colour": Geometry((400, 400, 3), (0, 0, 400, 400), (128, 128)),
    "grey, region": Geometry((328, 300, 1), (20, 10, 270, 310), (112, 96)),
    "fourth channel, region, large": Geometry((1080, 1920, 4), (320, 100, 1280, 960), (192, 256)),
    "no scaling": Geometry((80, 96, 3), (20, 10, 64, 64), (64, 64)),
    "tiles": Geometry((400, 400, 3), (0, 0, 400, 400), (160, 160), tiles=(2, 2)),
}
FLOATS = {"Float", "Half", "BFloat16"}


@pytest.fixture(scope="module", autouse=True)
def wheels():
    if not (WHEELS / "tensorrt_rtx_bindings").is_dir():
        pytest.skip(f"{WHEELS} holds no TensorRT for RTX: `make gate` fetches it")


def build(model, folder, program=PROGRAM):
    path = folder / "model.onnx"
    onnx.save(model, path)
    done = subprocess.run(
        [sys.executable, program, WHEELS, path], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def lively(module):
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_mean, -0.2, 0.2)
            torch.nn.init.constant_(part.running_var, 0.05)
    return module.eval()


def int8_model(geometry, errors, core_input="edges"):
    """Return the file that an engine is built from, of networks that were not trained: structure needs no training."""
    torch.manual_seed(0)
    inputs = CORE_INPUTS[core_input].planes(geometry.channels)
    head = lively(DefectHead(geometry.channels, width=32)) if "learned" in errors else None
    core = Core(lively(Autoencoder(geometry.channels, width=32, inputs=inputs)), core_input, head)
    parts = export_parts(geometry, core, list(errors), box=5)
    wanted = [value.name for value in parts.core.graph.input]

    def feeds():
        for seed in range(2):
            shape = (1, *geometry.map_shape, geometry.channels)
            frames = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
            feed = {CORE_INPUT: seen_of(frames, core_input), CORE_PICTURE: as_pictures(frames).numpy()}
            yield {name: tiles_of(feed[name], geometry.tiling) for name in wanted}

    quantised = quantize_core(parts.core, feeds(), core_input=CORE_INPUTS[core_input], placement="tensorrt")
    return join(parts, core=quantised)


def convolutions(built, model):
    """Return the built layers that compute a convolution of the model, by the name of its node."""
    names = {node.name for node in model.graph.node if node.op_type == "Conv"}
    return {
        name: layer
        for layer in built["layers"]
        if layer["type"] in ("correlation", "convolution", "runtime_fusion")
        for name in names
        if layer["name"].startswith(f"{name}_myl")
    }


CASES = [pytest.param(geometry, CANDIDATES[0], "edges", id=name) for name, geometry in GEOMETRIES.items()]
CASES += [
    pytest.param(GEOMETRIES["colour"], errors, "edges", id="+".join(errors)) for errors in (*CANDIDATES[1:], ("l2",))
]
CASES += [
    pytest.param(GEOMETRIES["colour"], ("l2",), name, id=f"sees {name}") for name in CORE_INPUTS if name != "edges"
]


@pytest.mark.parametrize(("geometry", "errors", "core_input"), CASES)
def test_the_graph_becomes_an_int8_engine(geometry, errors, core_input, tmp_path):
    model = int8_model(geometry, errors, core_input)
    check_structure(model, int8=True)
    built = build(model, tmp_path)
    assert built["built"], built["refused"]
    assert not built["complaints"]
    assert built["plan_bytes"] > 100_000
    assert built["phases"], "no progress was reported"
    check_convolutions(built, model)
    check_skips(built, model)
    check_front(built, geometry)


@pytest.mark.parametrize("geometry", [GEOMETRIES["grey, region"], GEOMETRIES["tiles"]], ids=["grey", "tiles"])
def test_a_builder_lets_the_core_be_replaced(geometry, tmp_path):
    model = int8_model(geometry, CANDIDATES[0])
    found = build(model, tmp_path, CONVERTS)
    assert found["built"], found["refused"]
    assert not found["complaints"]
    names = {node.name for node in model.graph.node if node.op_type == "Conv" and node.name.startswith("core/")}
    assert names <= set(found["added"])
    assert {f"replaced {name}" for name in names} <= set(found["replaced"])
    layers = " ".join(found["engine"])
    assert "replaced " not in layers, "the old core is still computed"
    assert all(name in layers for name in names)


def check_convolutions(built, model):
    last = {node.name for node in last_convolutions(model)}
    found = convolutions(built, model)
    core = {node.name for node in model.graph.node if node.op_type == "Conv" and node.name.startswith("core/")}
    assert core <= set(found), core - set(found)
    for name in core:
        expected = "Float" if name in last else "Int8"
        assert found[name]["inputs"][0]["type"] == expected, found[name]


def check_skips(built, model):
    """The layer that holds an Add reads the encoder's side of it in INT8."""
    for node in model.graph.node:
        if node.op_type == "Add" and node.name.startswith("core/"):
            (layer,) = (layer for layer in built["layers"] if node.name in layer["made_of"])
            assert "Int8" in {tensor["type"] for tensor in layer["inputs"]}, layer


def check_front(built, geometry):
    """No float tensor of the region's full size is ever written to memory, unless the map is as large."""
    _, _, width, height = geometry.roi_xywh_px
    if (height, width) == geometry.map_shape or geometry.box == 1:
        return
    full = width * height * geometry.channels
    front = [layer for layer in built["layers"] if any(name.startswith("front/") for name in layer["made_of"])]
    assert front
    for layer in front:
        for tensor in layer["outputs"]:
            assert tensor["type"] not in FLOATS or math.prod(tensor["shape"]) < full, layer


def names_of(model):
    return {name: node for node in model.graph.node for name in node.output}


def unsigned_zero_point(model):
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8 and not tensor.dims:
            tensor.CopyFrom(numpy_helper.from_array(np.array(0, np.uint8), tensor.name))


def turned_frame(model):
    """Turn the frame to channels first while it is uint8, as most exporters do."""
    cast = next(node for node in model.graph.node if node.op_type == "Cast" and INPUT in node.input)
    back = helper.make_node("Transpose", ["planes"], ["rows"], name="front/back", perm=[0, 2, 3, 1])
    planes = helper.make_node("Transpose", [INPUT], ["planes"], name="front/planes", perm=[0, 3, 1, 2])
    cast.input[0] = "rows"
    model.graph.node.insert(0, back)
    model.graph.node.insert(0, planes)


def rounded_residual(model):
    """Quantise what the error maps compare, as a quantiser does that is given the whole graph."""
    made_by = names_of(model)
    step, zero = first_quantiser(model).input[1:]
    pair = [
        helper.make_node("QuantizeLinear", ["core/reconstruction", step, zero], ["r_q"], name="tail/r_q"),
        helper.make_node("DequantizeLinear", ["r_q", step, zero], ["r_dq"], name="tail/r_dq"),
    ]
    for node in model.graph.node:
        if node.name.startswith("tail/"):
            for index, name in enumerate(node.input):
                if name == "core/reconstruction":
                    node.input[index] = "r_dq"
    position = list(model.graph.node).index(made_by["core/reconstruction"])
    for offset, node in enumerate(pair):
        model.graph.node.insert(position + 1 + offset, node)


def first_quantiser(model):
    return next(node for node in model.graph.node if node.op_type == "QuantizeLinear")


def transposed_convolution(model):
    """Replace the first enlargement with a transposed convolution of window 2 and stride 2."""
    resize = next(n for n in model.graph.node if n.op_type == "Resize" and n.name.startswith("core/"))
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    channels = shapes[resize.output[0]][1]
    weight = np.zeros((channels, channels, 2, 2), np.float32)
    weight[range(channels), range(channels)] = 1
    model.graph.initializer.append(numpy_helper.from_array(weight, "core/rise"))
    risen = helper.make_node(
        "ConvTranspose", [resize.input[0], "core/rise"], [resize.output[0]], name=resize.name, strides=[2, 2]
    )
    resize.CopyFrom(risen)


# What our own check says, and what becomes of the graph if it reaches a builder all the same.
WRONG = {
    unsigned_zero_point: ("zero point is not INT8", "refused"),
    turned_frame: ("only Cast may", "refused"),
    rounded_residual: ("is quantised outside the core", "built"),
    transposed_convolution: ("ConvTranspose does not run in INT8", "built"),
}


@pytest.mark.parametrize("damage", WRONG, ids=lambda damage: damage.__name__)
def test_wrong_graphs_are_refused_before_they_reach_a_builder(damage, tmp_path):
    message, outcome = WRONG[damage]
    model = int8_model(GEOMETRIES["colour"], ("l2",))
    check_structure(model, int8=True)
    damage(model)
    with pytest.raises(RecipeError, match=message):
        check_structure(model, int8=True)
    assert ("built" if build(model, tmp_path)["built"] else "refused") == outcome
