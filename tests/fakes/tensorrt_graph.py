"""A network as an ONNX model: only what its outputs need, as the builder drops the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import onnx
from onnx import helper, shape_inference

from fakes.tensorrt_facts import InvalidNetworkError, as_proto, layers_before, value_info

if TYPE_CHECKING:
    from fakes.tensorrt_layer import ILayer, ITensor, Weights
    from fakes.tensorrt_network import INetworkDefinition

# What a node's doc_string says of its layer, for the engine inspector.
METADATA = "metadata: "
Nodes = list[onnx.NodeProto]


def live_layers(network: INetworkDefinition) -> list[ILayer]:
    """List the layers that the outputs need, each after those it reads; shapes known at build time need none.

    Raises:
        InvalidNetworkError: No output is marked, names are not unique, or a layer is impossible.
    """
    prefix = "[network.cpp::validate] Error Code 4: Internal Error"
    if not network._outputs:
        raise InvalidNetworkError("trt-damaged-plan", f"{prefix} (Network must have at least one output)")
    for tensor in network._outputs:
        network._facts.checked(tensor)
    layers = layers_before(network._outputs, stops=lambda tensor: tensor._fact.value is not None)
    _check_names(prefix, "layer", [layer.name for layer in network._layers])
    tensors = [tensor for layer in network._layers for tensor in layer._outputs]
    _check_names(prefix, "tensor", [tensor.name for tensor in (*network._inputs, *tensors)])
    return layers


def write_model(
    network: INetworkDefinition,
    layers: list[ILayer],
    change: Callable[[ILayer, Nodes, Weights], tuple[Nodes, Weights]] | None = None,
    outputs: list[ITensor] | None = None,
) -> onnx.ModelProto:
    """Write layers as a model.

    Args:
        network: Theirs.
        layers: What `live_layers` returned.
        change: Is given what a layer was written as, and returns what takes its place.
        outputs: Outputs of the model instead of the network's.
    """
    nodes: Nodes = []
    weights: Weights = {}
    for layer in layers:
        written, needed = layer._emit()
        for node in written:
            node.doc_string = METADATA + layer.metadata
        needed = needed | {
            tensor.name: tensor._fact.value
            for tensor in (layer._entries[slot] for slot in layer._slots)
            if tensor._fact.value is not None
        }
        changed, more = change(layer, written, needed) if change else (written, needed)
        nodes += changed
        weights |= more
    # Inside the model nodes cannot share a name, and those that follow the first of a layer have none.
    for index, node in enumerate(nodes):
        node.name = node.name or f"(Unnamed step {index})"
    graph = helper.make_graph(
        nodes,
        network.name,
        [value_info(tensor.name, tensor._fact) for tensor in network._inputs],
        [value_info(tensor.name, network._facts.checked(tensor)) for tensor in outputs or network._outputs],
        [as_proto(name, array) for name, array in weights.items()],
    )
    opset = helper.make_opsetid("", network._opset)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    return shape_inference.infer_shapes(model)


def _check_names(prefix: str, what: str, names: list[str]) -> None:
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        text = f"{prefix} (Repeated {what} name: {repeated[0]} ({what}s must have distinct names))"
        raise InvalidNetworkError("trt-names", text)
