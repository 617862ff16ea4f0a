"""The network API: what was parsed can be read, added to and rewired, and the plan computes what came of it."""

import numpy as np
import pytest

from fakes.evidence import breaks
from fakes.install import installed_fakes
from fakes.models import inspection_model
from fakes.rules import BrokenRuleError
from fakes.weak_network import FRAME, Draft

X = FRAME.astype(np.float32) / 255


@pytest.fixture
def draft():
    """One in float32."""
    with installed_fakes(tensorrt="10.3.0") as machine:
        import tensorrt

        tensorrt.machine = machine
        yield Draft(tensorrt)


def test_what_was_parsed_is_listed(trt):
    network = Draft(trt).network
    assert len(network) == network.num_layers == len(list(network)) == 8
    assert [layer.type.name for layer in network][:4] == ["CAST", "SHUFFLE", "CONSTANT", "ELEMENTWISE"]
    product, conv = network[3], next(layer for layer in network if layer.name == "core/conv")
    assert [product.get_input(i).name for i in range(product.num_inputs)] == ["planes", "scale"]
    assert (conv.num_inputs, conv.get_input(0).name, conv.get_output(0).name) == (1, "x", "y")
    assert conv.get_input(1) is conv.get_output(1) is None
    assert (conv.get_output(0).shape, conv.get_output(0).dtype) == ((1, 1, 16, 64), trt.float32)
    assert (network.get_input(0).dtype, network.get_input(0).is_network_input) == (trt.uint8, True)
    assert conv.metadata == "[ONNX Layer: core/conv]"


def replace_core(draft, factor=3.0):
    """Put `relu(x * factor)` in the place of the parsed core and return the new layers."""
    trt, network = draft.trt, draft.network
    conv = network.add_convolution_nd(draft.tensor("x"), 1, (1, 1), np.full((1, 1, 1, 1), factor, np.float32))
    conv.name = "mine/conv"
    act = network.add_activation(conv.get_output(0), trt.ActivationType.RELU)
    act.name = "mine/act"
    for layer, index in draft.readers("r"):
        layer.set_input(index, act.get_output(0))
    return conv, act


def test_a_part_is_replaced(trt):
    draft = Draft(trt)
    replace_core(draft)
    np.testing.assert_allclose(draft.maps(), 2 * X, atol=1e-6)


def test_get_layer_gives_plain_layers(draft):
    _, act = replace_core(draft)
    trt, last = draft.trt, draft.network[draft.network.num_layers - 1]
    assert (act.type, last.type) == (trt.ActivationType.RELU, trt.LayerType.ACTIVATION)
    assert type(last) is trt.ILayer
    assert isinstance(act, trt.ILayer)
    last.name = "renamed"
    assert act.name == "renamed"
    last.__class__ = trt.IActivationLayer
    assert last.type == trt.ActivationType.RELU


def test_added_layers_compute_what_their_names_say(draft):
    trt, network = draft.trt, draft.network
    operations = trt.ElementWiseOperation

    def constant(*shape, value):
        return network.add_constant(shape, np.full(shape, value, np.float32)).get_output(0)

    def with_(operation, tensor, value):
        return network.add_elementwise(tensor, constant(1, 1, 1, 1, value=value), operation).get_output(0)

    x = draft.tensor("x")
    pool = network.add_pooling_nd(x, trt.PoolingType.MAX, (2, 2))
    assert pool.get_output(0).shape == (1, 1, 15, 63)
    pool.stride_nd = (2, 2)
    assert pool.get_output(0).shape == (1, 1, 8, 32)
    resize = network.add_resize(pool.get_output(0))
    resize.scales = [1, 1, 2.0, 2.0]
    resize.resize_mode = trt.InterpolationMode.NEAREST
    both = network.add_concatenation([resize.get_output(0), x])
    both.axis = 1
    shuffle = network.add_shuffle(both.get_output(0))
    shuffle.first_transpose, shuffle.reshape_dims = (0, 2, 3, 1), (0, 1, -1, 2)
    assert shuffle.get_output(0).shape == (1, 1, 1024, 2)
    cut = network.add_slice(shuffle.get_output(0), (0, 0, 0, 0), (1, 1, 1024, 1), (1, 1, 1, 1))
    back = network.add_shuffle(cut.get_output(0))
    shape = network.add_shape(x).get_output(0)
    assert (shape.shape, shape.dtype) == ((4,), trt.int64)
    back.set_input(1, shape)
    assert back.get_output(0).shape == (1, 1, 16, 64)
    y = with_(operations.MIN, with_(operations.SUM, with_(operations.PROD, back.get_output(0), 2), -0.25), 1.5)
    y = network.add_unary(y, trt.UnaryOperation.NEG).get_output(0)
    for layer, index in draft.readers("r"):
        layer.set_input(index, y)
    largest = X.reshape(8, 2, 32, 2).max(axis=(1, 3)).repeat(2, 0).repeat(2, 1).ravel()
    np.testing.assert_allclose(draft.maps(), X + np.minimum(largest * 2 - 0.25, 1.5), atol=1e-6)


def test_a_network_can_be_made_of_nothing(draft):
    trt, network = draft.trt, draft.builder.create_network(0)
    assert draft.builder.build_serialized_network(network, draft.config) is None
    shape = (1, 2, 4, 4)
    scale = network.add_scale_nd(
        network.add_input("x", trt.float32, shape),
        trt.ScaleMode.CHANNEL,
        np.float32([1, 2]),
        np.float32([3, 4]),
        np.float32([1, 1]),
        1,
    )
    assert scale.name == "(Unnamed Layer* 0) [Scale]"
    scale.get_output(0).name = "y"
    network.mark_output(scale.get_output(0))
    network.mark_output(scale.get_output(0))
    assert (network.num_outputs, network.get_output(0).is_network_output) == (1, True)
    engine = trt.Runtime(draft.logger).deserialize_cuda_engine(
        draft.builder.build_serialized_network(network, draft.config)
    )
    assert [engine.get_tensor_name(i) for i in range(2)] == ["x", "y"]
    network.unmark_output(scale.get_output(0))
    assert network.num_outputs == 0


@breaks("trt-input-index")
def test_a_layer_has_the_inputs_of_its_type(draft):
    draft.layer("core/conv").set_input(1, draft.tensor("x"))
    assert draft.machine.refused == ["trt-input-index"]
    assert draft.layer("core/conv").num_inputs == 1


@breaks("trt-foreign-tensor")
def test_a_tensor_belongs_to_its_network(draft):
    other = draft.builder.create_network(0).add_input("x", draft.trt.float32, (1, 1, 16, 64))
    with pytest.raises(BrokenRuleError, match="another network"):
        draft.network.add_shape(other)
    with pytest.raises(TypeError, match="incompatible"):
        draft.network.add_shape(None)


@breaks("trt-cycle")
def test_a_layer_cannot_read_what_it_makes(draft):
    draft.layer("core/conv").set_input(0, draft.tensor("r"))
    assert draft.refusal() == "trt-cycle"


@breaks("trt-rename")
def test_a_layer_cannot_take_the_name_of_another(draft):
    conv, _ = replace_core(draft)
    before = conv.name
    conv.name = "core/conv"
    assert conv.name == before
    assert draft.machine.refused[-1] == "trt-rename"
    assert "already in use" in draft.logger.messages[-1][1]


@breaks("trt-names")
def test_tensors_have_names_of_their_own(draft):
    conv, _ = replace_core(draft)
    conv.get_output(0).name = "y"
    assert draft.refusal() == "trt-names"
    assert "Repeated tensor name" in draft.logger.messages[-1][1]


@breaks("trt-elementwise")
@pytest.mark.parametrize("other", [np.float32([6]), np.full((1, 1, 1, 1), 6, np.int64)])
def test_elementwise_inputs_are_alike(draft, other):
    trt, network = draft.trt, draft.network
    constant = network.add_constant(other.shape, other).get_output(0)
    layer = network.add_elementwise(draft.tensor("r"), constant, trt.ElementWiseOperation.MIN)
    with pytest.raises(ValueError, match="__len__"):
        assert layer.get_output(0).shape
    network.mark_output(layer.get_output(0))
    assert draft.refusal() == "trt-elementwise"


@breaks("trt-invalid-layer")
def test_an_impossible_layer_is_not_built(draft):
    shuffle = draft.network.add_shuffle(draft.tensor("r"))
    shuffle.reshape_dims = (1, 1, 16, 65)
    draft.network.mark_output(shuffle.get_output(0))
    assert draft.refusal() == "trt-invalid-layer"


@breaks("trt-weights-count", "trt-weights-contiguous")
def test_weights_fit_and_are_contiguous(draft):
    network, x = draft.network, draft.tensor("x")
    assert network.add_constant((2, 2), np.zeros(3, np.float32)) is None
    conv = network.add_convolution_nd(x, 2, (3, 3), np.zeros((1, 1, 3, 3), np.float32))
    network.mark_output(conv.get_output(0))
    assert draft.refusal() == "trt-weights-count"
    channels_last = np.zeros((2, 3, 3, 4), np.float32).transpose(0, 3, 1, 2)
    with pytest.raises(ValueError, match="ascontiguousarray"):
        network.add_convolution_nd(x, 2, (3, 3), channels_last)
    assert draft.machine.refused[-1] == "trt-weights-contiguous"
    with pytest.raises(TypeError, match="Weights"):
        network.add_constant((1,), np.zeros(1, np.float64))


def test_dimensions_are_whole_numbers(draft):
    pool = draft.network.add_pooling_nd(draft.tensor("x"), draft.trt.PoolingType.MAX, (2, 2))
    for wrong in ((None, None), 2, (2.0, 2.0)):
        with pytest.raises(TypeError, match="incompatible"):
            pool.stride_nd = wrong


def test_a_quantised_model_can_be_rewired(draft):
    quantised = Draft(draft.trt, inspection_model())
    assert quantised.layer("core/conv").num_inputs == 2
    quantised.flag("INT8")
    quantised.layer("error").set_input(0, quantised.tensor("r"))
    np.testing.assert_allclose(quantised.maps(), 0, atol=1e-6)
