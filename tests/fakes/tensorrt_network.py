"""The network, filled by the ONNX parser, by the network API, or by both.

A layer here is one node of ONNX or, where it was added by the network API, the few nodes that compute the same: the
network can be written as an ONNX model at any time, and that is what a plan is made of. So one node of a parsed model
is one layer, where the real parser may make several. Two things are as in the real parser: tensors keep the names of
the model, and a float constant that an elementwise operation reads is a constant layer of its own, while weights of
a convolution and the numbers of a reshape or slice belong to the layer and are no inputs of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from fakes.tensorrt_adders import Adders
from fakes.tensorrt_core import Environment
from fakes.tensorrt_facts import Fact, Facts
from fakes.tensorrt_layer import ILayer, ITensor, Weights
from fakes.tensorrt_onnx import LAYER_OF
from fakes.tensorrt_versions import Named

# Operators whose float constants are layers; of the others they are part of the layer.
TAKES_CONSTANTS = {"ELEMENTWISE", "CONCATENATION", "SELECT"}


class INetworkDefinition(Adders):
    """`tensorrt.INetworkDefinition`, filled by the parser, by its adders, or by both."""

    def __init__(self, env: Environment, builder: object, flags: int) -> None:
        self._env, self._builder, self._logger = env, builder, builder._logger
        self._flags = flags
        self._parser: object = None
        self.name = "Unnamed Network 0"
        self._opset = 18
        self._layers: list[ILayer] = []
        self._inputs: list[ITensor] = []
        self._outputs: list[ITensor] = []
        self._facts = Facts(self)

    @property
    def _strongly_typed(self) -> bool:
        return self._env.version.major >= 11 or bool(self._flags & 2)

    def get_flag(self, flag: Named) -> bool:
        return bool(self._flags & 1 << int(flag))

    num_layers = property(lambda self: len(self._layers))
    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))

    def get_layer(self, index: int) -> ILayer:
        """Return a layer as plain `ILayer`, as the bindings do: its own properties need `layer.__class__ = ...`.

        So its `type` is a `LayerType`, while an activation's or pooling's own `type` says which.
        """
        layer, plain = self._layers[index], self._env.classes["ILayer"]
        if type(layer) is plain:
            return layer
        view = plain.__new__(plain)
        view.__dict__ = layer.__dict__
        return view

    __getitem__ = get_layer

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[ILayer]:
        return (self.get_layer(index) for index in range(len(self)))

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self._outputs[index]

    def mark_output(self, tensor: ITensor) -> None:
        self._own(tensor)
        if not tensor.is_network_output:
            self._outputs.append(tensor)

    def unmark_output(self, tensor: ITensor) -> None:
        self._outputs = [other for other in self._outputs if other is not tensor]

    def _own(self, tensor: object) -> ITensor:
        """Return a tensor of this network, as the bindings' type check and the library's ownership require."""
        if not isinstance(tensor, ITensor):
            raise TypeError(f"incompatible function arguments: {type(tensor).__name__} is no tensorrt.ITensor")
        if tensor._network is not self:
            raise self._env.machine.broke("trt-foreign-tensor", f"{tensor.name} belongs to another network")
        return tensor

    def _fill(self, model: onnx.ModelProto) -> None:
        """Take over a parsed model."""
        graph = model.graph
        self.name = graph.name or self.name
        self._opset = max(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
        weights = {entry.name: entry for entry in graph.initializer}
        tensors: dict[str, ITensor] = {}
        for value in graph.input:
            if value.name not in weights:
                tensors[value.name] = self._new_input(value)
        for node in graph.node:
            self._take_node(node, tensors, weights)
        self._outputs += [tensors[value.name] for value in graph.output]

    def _new_input(self, value: onnx.ValueInfoProto) -> ITensor:
        tensor = self._env.make("ITensor", self, value.name)
        kind = value.type.tensor_type
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
        tensor._fact = Fact(shape, kind.elem_type)
        self._inputs.append(tensor)
        return tensor

    def _take_node(self, node: onnx.NodeProto, tensors: dict[str, ITensor], weights: Weights) -> None:
        if LAYER_OF[node.op_type] in TAKES_CONSTANTS:
            for name in node.input:
                if name in weights and name not in tensors and weights[name].data_type == onnx.TensorProto.FLOAT:
                    array = onnx.numpy_helper.to_array(weights[name])
                    tensors[name] = self.add_constant(array.shape, array).get_output(0)
                    tensors[name].name = tensors[name]._maker.name = name
        layer = self._env.make("ILayer", self, node.name or node.output[0], [tensors.get(n, n) for n in node.input])
        layer._node, layer._kind = node, LAYER_OF[node.op_type]
        layer._weights = {name: weights[name] for name in node.input if name in weights and name not in tensors}
        layer.metadata = f"[ONNX Layer: {layer.name}]"
        layer._outputs = [self._env.make("ITensor", self, name, layer) for name in node.output]
        tensors.update((tensor.name, tensor) for tensor in layer._outputs)
        self._layers.append(layer)
