import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from engines.core_inputs import EdgeFilter
from engines.debug_graph import with_reconstruction
from engines.defect_head import DefectHead
from engines.errors import RecipeError
from engines.export import INPUT, OUTPUT, _export, export_parts, join
from engines.forward import Core
from engines.graph import CoreGraph, Front, InspectionGraph, Tail
from engines.network import Autoencoder
from engines.recipe import MODEL_FILES, load_recipe
from engines.reduction import Geometry, reduce_frame
from engines.structure import check_structure, count_gmac

CASES = {
    "plain": Geometry((80, 96, 3), (0, 0, 96, 80), (64, 64)),
    "pooled": Geometry((192, 256, 3), (0, 0, 256, 128), (64, 80)),
    "grey": Geometry((150, 140, 1), (5, 10, 130, 134), (64, 64)),
    "fourth channel": Geometry((130, 200, 4), (0, 0, 200, 130), (64, 96)),
    "no scaling": Geometry((80, 96, 3), (20, 10, 64, 64), (64, 64)),
}


def smooth_frame(shape, seed=0):
    random = np.random.default_rng(seed)
    frame = cv2.GaussianBlur(random.integers(0, 256, shape, np.uint8), (0, 0), 2).reshape(shape)
    return cv2.normalize(frame, None, 0, 255, cv2.NORM_MINMAX).reshape(shape)


def network(channels, seed=0):
    torch.manual_seed(seed)
    net = Autoencoder(channels, width=16)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


def infer(model, frame):
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return ort.InferenceSession(content).run(None, {INPUT: frame[None]})


@pytest.fixture(scope="module")
def pooled():
    """The exported model, its torch original, and the geometry that takes every step of the front."""
    geometry = CASES["pooled"]
    net = network(geometry.channels)
    errors = ["l2", "msgms", "ssim"]
    core = Core(net, "edges")
    graph = InspectionGraph(
        Front(geometry, "edges"), CoreGraph(core, errors), Tail(errors, geometry.channels, box=5)
    ).eval()
    return join(export_parts(geometry, core, errors, box=5)), graph, geometry


def test_the_exported_graph_gives_what_torch_gives(pooled):
    model, graph, geometry = pooled
    check_structure(model, int8=False)
    for seed in range(3):
        frame = smooth_frame(geometry.frame_shape, seed)
        with torch.no_grad():
            expected = graph(torch.from_numpy(frame)[None]).numpy()
        (maps,) = infer(model, frame)
        assert maps.shape == (1, 3, *geometry.map_shape)
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_front_and_its_cpu_twin_agree(name):
    geometry = CASES[name]
    frame = smooth_frame(geometry.frame_shape)
    front = Front(geometry, "edges")
    with torch.no_grad():
        expected, edges = front(torch.from_numpy(frame)[None])
    session = ort.InferenceSession(export(front, [torch.from_numpy(frame)[None]], ["frame"], ["picture", "edges"]))
    for found, wanted in zip(session.run(None, {INPUT: frame[None]}), (expected, edges), strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)
    twin = reduce_frame(frame, geometry)
    np.testing.assert_allclose(twin, expected[0].permute(1, 2, 0).numpy() * 255, atol=2e-3)


def test_the_fourth_channel_changes_nothing():
    geometry = CASES["fourth channel"]
    frame = smooth_frame(geometry.frame_shape)
    other = frame.copy()
    other[..., 3] = 255 - other[..., 3]
    front = Front(geometry, "edges")
    with torch.no_grad():
        assert torch.equal(front(torch.from_numpy(frame)[None])[0], front(torch.from_numpy(other)[None])[0])


def export(module, arguments, inputs, outputs):
    return _export(module, tuple(arguments), inputs, outputs).SerializeToString()


def test_the_core_sees_neither_colour_nor_brightness():
    edge_filter = EdgeFilter()
    flat = torch.full((1, 3, 64, 64), 0.5) * torch.tensor([0.2, 0.9, 0.4]).reshape(1, 3, 1, 1)
    assert edge_filter(flat).abs().max() < 1e-6


def test_the_networks_at_256_fit_the_budget():
    geometry = Geometry((256, 256, 3), (0, 0, 256, 256), (256, 256))
    core = Core(Autoencoder(3, width=32).eval(), "edges", DefectHead(3, width=32).eval())
    errors = ["ssim", "msgms", "learned"]
    assert 2.0 < count_gmac(join(export_parts(geometry, core, errors, box=5))) <= 2.5


@pytest.mark.parametrize("kind", MODEL_FILES)
def test_every_model_of_a_recipe_has_the_structure(tiny_recipe, kind):
    model = onnx.load(tiny_recipe / MODEL_FILES[kind])
    check_structure(model, int8=kind == "tensorrt")
    assert [value.name for value in model.graph.input] == [INPUT]
    assert [value.name for value in model.graph.output] == [OUTPUT]
    assert not any("/" in entry.value and "home" in entry.value for entry in model.metadata_props)


def first(model, op_type, prefix="core/"):
    return next(n for n in model.graph.node if n.op_type == op_type and n.name.startswith(prefix))


def break_zero_point(model):
    name = first(model, "QuantizeLinear").input[2]
    constant = next(t for t in model.graph.initializer if t.name == name)
    constant.CopyFrom(onnx.numpy_helper.from_array(np.array(0, np.uint8), name))


def break_offset(model):
    name = first(model, "QuantizeLinear").input[2]
    constant = next(t for t in model.graph.initializer if t.name == name)
    constant.CopyFrom(onnx.numpy_helper.from_array(np.array(3, np.int8), name))


def break_input(model):
    first(model, "Conv").input[0] = "front/seen"


def break_weight(model):
    made_by = {name: node for node in model.graph.node for name in node.output}
    convolution = first(model, "Conv")
    convolution.input[1] = made_by[convolution.input[1]].input[0]


def break_skip(model):
    made_by = {name: node for node in model.graph.node for name in node.output}
    add = first(model, "Add")
    for index, name in enumerate(add.input):
        if made_by[name].op_type == "DequantizeLinear":
            add.input[index] = made_by[made_by[name].input[0]].input[0]


def break_resize(model):
    made_by = {name: node for node in model.graph.node for name in node.output}
    resize = first(model, "Resize")
    resize.input[0] = made_by[made_by[resize.input[0]].input[0]].input[0]


def break_cast(model):
    model.graph.node.append(onnx.helper.make_node("Transpose", [INPUT], ["turned"], name="turned"))


def break_transpose(model):
    first(model, "Conv").op_type = "ConvTranspose"


def break_opset(model):
    model.opset_import[0].version = 19


def break_ir(model):
    model.ir_version = 11


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_zero_point, "zero point is not INT8"),
        (break_offset, "zero point is not 0"),
        (break_input, "the input of a core convolution"),
        (break_weight, "the weight of a core convolution"),
        (break_skip, "the skip input of an Add"),
        (break_resize, "a Resize is not in INT8"),
        (break_cast, "only Cast may"),
        (break_transpose, "ConvTranspose"),
        (break_opset, "opset 19"),
        (break_ir, "IR version 11"),
    ],
)
def test_a_wrong_structure_is_named(tiny_recipe, damage, message):
    model = onnx.load(tiny_recipe / MODEL_FILES["tensorrt"])
    damage(model)
    with pytest.raises(RecipeError, match=message):
        check_structure(model, int8=True)


def test_a_computation_at_full_resolution_is_named(pooled):
    model = onnx.ModelProto()
    model.CopyFrom(pooled[0])
    mean = first(model, "ReduceMean", "front/")
    position = list(model.graph.node).index(mean)
    model.graph.node.insert(position, onnx.helper.make_node("Relu", [mean.input[0]], ["large"], name="front/large"))
    mean.input[0] = "large"
    with pytest.raises(RecipeError, match="front/large: Relu makes a float tensor of the frame's full size"):
        check_structure(onnx.shape_inference.infer_shapes(model), int8=False)


@pytest.mark.parametrize("kind", MODEL_FILES)
def test_the_debug_model_adds_the_reconstruction_and_changes_nothing(tiny_recipe, good_frames_folder, kind):
    path = tiny_recipe / MODEL_FILES[kind]
    frame = cv2.imread(str(good_frames_folder / "000.png"))
    maps, picture = infer(with_reconstruction(path), frame)
    np.testing.assert_allclose(maps, infer(path.read_bytes(), frame)[0], rtol=1e-4, atol=1e-6)
    recipe = load_recipe(tiny_recipe)
    geometry = Geometry(recipe.frame_shape, tuple(recipe.roi_xywh_px), recipe.maps_shape[1:])
    assert picture.dtype == np.uint8
    assert picture.shape == (1, 64, 64, 3)
    assert np.abs(picture[0] - reduce_frame(frame, geometry)).mean() < 25


def test_the_debug_model_of_a_foreign_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(RecipeError):
        with_reconstruction(path)
