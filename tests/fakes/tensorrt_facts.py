"""Shapes, types and known values of the tensors of a network, and the order of its layers.

They are found by ONNX's own shape inference, one layer at a time, and forgotten when the network changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from fakes.tensorrt_core import Environment

if TYPE_CHECKING:
    from fakes.tensorrt_layer import ILayer, ITensor
    from fakes.tensorrt_network import INetworkDefinition

DATA_TYPE_OF = {
    TensorProto.FLOAT: "FLOAT",
    TensorProto.FLOAT16: "HALF",
    TensorProto.INT8: "INT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.UINT8: "UINT8",
    TensorProto.BOOL: "BOOL",
}
ONNX_TYPE_OF = {name: elem_type for elem_type, name in DATA_TYPE_OF.items()}


class InvalidNetworkError(Exception):
    """A network that cannot be: the rule it breaks, and what the library says."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(text)
        self.rule = rule


@dataclass(frozen=True)
class Fact:
    """What is known of a tensor; `value` is that of shapes, whole numbers that are constant at build time."""

    shape: tuple[int, ...]
    elem_type: int
    value: np.ndarray | None = None

    @property
    def dtype(self) -> str:
        return DATA_TYPE_OF.get(self.elem_type, "FLOAT")


class Facts:
    """The facts of one network."""

    def __init__(self, network: INetworkDefinition) -> None:
        self._network = network

    def of(self, tensor: ITensor) -> Fact:
        """Look a tensor up.

        Raises:
            ValueError: A layer before it is impossible. The real library gives -1 dimensions, whose length Python
                refuses with these words.
        """
        try:
            return self.checked(tensor)
        except InvalidNetworkError as problem:
            self._network._env.refuse(self._network._logger, problem.rule, str(problem))
            raise ValueError("__len__() should return >= 0") from problem

    def checked(self, tensor: ITensor) -> Fact:
        """Look a tensor up.

        Raises:
            InvalidNetworkError: A layer before it is impossible.
        """
        if tensor._fact is None:
            for layer in layers_before([tensor], stops=lambda other: other._fact is not None):
                for output, fact in zip(layer._outputs, _infer(layer, self._network._opset), strict=True):
                    output._fact = fact
        return tensor._fact

    def forget(self, changed: ILayer) -> None:
        """Forget what follows from layers, as one of them changed; where that one is unknown, so is all behind it."""
        if all(tensor._fact is None for tensor in changed._outputs):
            return
        for layer in self._network._layers:
            for tensor in layer._outputs:
                tensor._fact = None


class Binding:
    """An input or output of an engine."""

    def __init__(self, env: Environment, value: onnx.ValueInfoProto) -> None:
        fact = _fact_of_info(value)
        self.name, self.shape, self.dtype = value.name, fact.shape, env.enums["DataType"][fact.dtype]


def layers_before(tensors: Iterable[ITensor], stops: Callable[[ITensor], bool]) -> list[ILayer]:
    """List the layers that make some tensors, each after those it reads.

    Raises:
        InvalidNetworkError: A layer reads what it makes.
    """
    found: dict[int, ILayer] = {}
    entered: set[int] = set()
    ahead = [(tensor._maker, False) for tensor in reversed(list(tensors)) if tensor._maker and not stops(tensor)]
    while ahead:
        layer, is_done = ahead.pop()
        if is_done:
            found[id(layer)] = layer
        elif id(layer) not in found:
            if id(layer) in entered:
                raise InvalidNetworkError("trt-cycle", f"{layer.name} reads what it makes")
            entered.add(id(layer))
            ahead.append((layer, True))
            inputs = [layer._entries[slot] for slot in reversed(layer._slots)]
            ahead += [(tensor._maker, False) for tensor in inputs if tensor._maker and not stops(tensor)]
    return list(found.values())


def as_proto(name: str, weights: np.ndarray | TensorProto) -> TensorProto:
    """Give weights a name."""
    if isinstance(weights, TensorProto):
        return weights
    return numpy_helper.from_array(np.ascontiguousarray(weights).reshape(weights.shape), name)


def value_info(name: str, fact: Fact) -> onnx.ValueInfoProto:
    """Describe a tensor in ONNX."""
    return helper.make_tensor_value_info(name, fact.elem_type, [dim if dim >= 0 else None for dim in fact.shape])


def _infer(layer: ILayer, opset: int) -> list[Fact]:
    nodes, weights = layer._emit()
    if not nodes:
        return [_fact_of(array) for array in weights.values()]
    inputs = {tensor.name: tensor._fact for tensor in (layer._entries[slot] for slot in layer._slots)}
    known = {name: as_proto(name, array) for name, array in weights.items()}
    known |= {name: as_proto(name, fact.value) for name, fact in inputs.items() if fact.value is not None}
    graph = helper.make_graph(
        nodes,
        "layer",
        [value_info(name, fact) for name, fact in inputs.items() if fact.value is None],
        [onnx.ValueInfoProto(name=tensor.name) for tensor in layer._outputs],
        list(known.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (shape_inference.InferenceError, onnx.checker.ValidationError) as problem:
        raise InvalidNetworkError("trt-invalid-layer", f"{layer.name}: {problem}") from problem
    facts = [_fact_of_info(value) for value in inferred.graph.output]
    return [Fact(fact.shape, fact.elem_type, _value(model, inputs, fact, index)) for index, fact in enumerate(facts)]


def _value(model: onnx.ModelProto, inputs: dict[str, Fact], fact: Fact, index: int) -> np.ndarray | None:
    """Compute an output that is constant at build time: whole numbers only."""
    if fact.elem_type not in {TensorProto.INT32, TensorProto.INT64}:
        return None
    if model.graph.node[0].op_type == "Shape":
        shape = next(iter(inputs.values())).shape
        return None if -1 in shape else np.array(shape, np.int64)
    if any(known.value is None for known in inputs.values()):
        return None
    return np.asarray(ReferenceEvaluator(model).run(None, {})[index])


def _fact_of(array: np.ndarray) -> Fact:
    elem_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    return Fact(array.shape, elem_type, array if array.dtype.kind == "i" else None)


def _fact_of_info(value: onnx.ValueInfoProto) -> Fact:
    kind = value.type.tensor_type
    return Fact(tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim), kind.elem_type)
