"""Implicit INT8: which layers of a weakly typed network run in INT8, and the model that computes what they compute.

The rules are those of `ILayer::setPrecision` and `setOutputType` (NvInfer.h of 10.x), read to the disadvantage of the
program: a layer runs in INT8 wherever it may, as TensorRT takes the fastest implementation, and

* without OBEY_ or PREFER_PRECISION_CONSTRAINTS what was set is ignored;
* the output type follows the precision unless it is set, so what an INT8 layer makes is stored in INT8, even where
  only a layer of higher precision reads it; outputs of the network are not;
* a tensor without a range cannot be INT8, nor can a layer that reads or makes it.

INT8 is simulated by QuantizeLinear and DequantizeLinear, symmetric, per tensor; weights of convolutions per channel.
A convolution, a scale behind it and an activation behind them are one, if they alone read each other.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fakes.tensorrt_graph import Nodes

if TYPE_CHECKING:
    from fakes.tensorrt_layer import ILayer, ITensor, Weights

INT8_LAYERS = {
    *("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "POOLING", "REDUCE", "SCALE"),
    *("ACTIVATION", "ELEMENTWISE", "UNARY", "SELECT"),
    *("CONCATENATION", "GATHER", "IDENTITY", "PADDING", "RESIZE", "SHUFFLE", "SLICE"),
}
FUSES_INTO = {"ACTIVATION": {"CONVOLUTION", "SCALE"}, "SCALE": {"CONVOLUTION"}}
# Marks in the names of what is added here; the engine inspector leaves them out.
STORED, VALUES = " (Int8)", " (Int8 values)"


class Int8Model:
    """Decides for live layers and changes how they are written.

    Args:
        layers: What `live_layers` returned.
        ranges: The largest magnitude of tensors, by name; those of constants need not be there.
        obeys: Whether constraints count.
    """

    def __init__(self, layers: list[ILayer], ranges: dict[str, float], *, obeys: bool) -> None:
        self._ranges, self._obeys = dict(ranges), obeys
        for layer in layers:
            if layer._kind == "CONSTANT" and layer._outputs[0]._fact.dtype == "FLOAT":
                self._ranges[layer._outputs[0].name] = float(np.abs(_constant_of(layer)).max(initial=0.0))
        self._readers = Counter(id(t) for layer in layers for t in inputs_of(layer))
        self._written: set[str] = set()

    def runs_int8(self, layer: ILayer) -> bool:
        """Whether a layer computes in INT8."""
        if layer._kind not in INT8_LAYERS or self._is_constrained(layer):
            return False
        touched = [*inputs_of(layer), *layer._outputs]
        return all(tensor._fact.dtype == "FLOAT" and tensor.name in self._ranges for tensor in touched)

    def missing(self, layer: ILayer) -> list[str]:
        """Name the tensors for want of whose range a layer does not run in INT8."""
        if layer._kind not in INT8_LAYERS or self._is_constrained(layer):
            return []
        touched = [*inputs_of(layer), *layer._outputs]
        return [t.name for t in touched if t._fact.dtype == "FLOAT" and t.name not in self._ranges]

    def change(self, layer: ILayer, nodes: Nodes, weights: Weights) -> tuple[Nodes, Weights]:
        """Put the rounding of INT8 before the nodes of a layer."""
        runs, added, more = self.runs_int8(layer), [], {}
        for tensor in inputs_of(layer):
            if tensor.name in self._ranges and not self._is_fused(tensor, layer) and (runs or self._stored(tensor)):
                added += self._rounding(tensor, more)
                _rename(nodes, tensor.name)
        if runs and layer._kind == "CONVOLUTION" and nodes[0].input[1] in weights:
            name = nodes[0].input[1]
            # Convolutions may share their weights.
            if name not in self._written:
                self._written.add(name)
                added.append(_rounded_weights(name, weights, more))
            _rename(nodes, name)
        return [*added, *nodes], weights | more

    def _is_constrained(self, layer: ILayer) -> bool:
        return self._obeys and layer._precision is not None and layer._precision.name != "INT8"

    def _stored(self, tensor: ITensor) -> bool:
        """Whether a tensor lies in memory as INT8."""
        maker = tensor._maker
        if maker is None or maker._kind == "CONSTANT" or tensor.is_network_output or tensor.name not in self._ranges:
            return False
        wanted = maker._output_types.get(maker._outputs.index(tensor)) if self._obeys else None
        return self.runs_int8(maker) if wanted is None else wanted.name == "INT8"

    def _is_fused(self, tensor: ITensor, reader: ILayer) -> bool:
        maker = tensor._maker
        pairs = maker is not None and maker._kind in FUSES_INTO.get(reader._kind, set())
        alone = self._readers[id(tensor)] == 1 and not tensor.is_network_output
        return pairs and alone and self.runs_int8(maker) and self.runs_int8(reader)

    def _rounding(self, tensor: ITensor, weights: Weights) -> Nodes:
        """Write the rounding of a tensor, once."""
        if tensor.name in self._written:
            return []
        self._written.add(tensor.name)
        step, zero, values, rounded = (tensor.name + end for end in (" step", " zero", VALUES, STORED))
        weights |= {step: _step(self._ranges[tensor.name]), zero: np.array(0, np.int8)}
        return [
            helper.make_node("QuantizeLinear", [tensor.name, step, zero], [values], values),
            helper.make_node("DequantizeLinear", [values, step, zero], [rounded], rounded),
        ]


def inputs_of(layer: ILayer) -> list[ITensor]:
    """List the inputs of a layer that are no shapes known at build time."""
    tensors = [layer._entries[slot] for slot in layer._slots]
    return [tensor for tensor in dict.fromkeys(tensors) if tensor._fact.value is None]


def _constant_of(layer: ILayer) -> np.ndarray:
    if layer._node is not None:
        return numpy_helper.to_array(layer._node.attribute[0].t)
    return layer._given["values"]


def _step(largest: float | np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(largest, 1e-12) / 127, np.float32)


def _rounded_weights(name: str, weights: Weights, more: Weights) -> onnx.NodeProto:
    kernel = weights[name]
    kernel = numpy_helper.to_array(kernel) if isinstance(kernel, onnx.TensorProto) else kernel
    steps = _step(np.abs(kernel).reshape(len(kernel), -1).max(axis=1))
    shaped = steps.reshape(-1, *[1] * (kernel.ndim - 1))
    more[name + VALUES] = np.clip(np.round(kernel / shaped), -127, 127).astype(np.int8)
    more[name + " step"], more[name + " zero"] = steps, np.zeros(len(kernel), np.int8)
    names = [name + VALUES, name + " step", name + " zero"]
    return helper.make_node("DequantizeLinear", names, [name + STORED], name + STORED, axis=0)


def _rename(nodes: Nodes, name: str) -> None:
    for node in nodes:
        for index, used in enumerate(node.input):
            if used == name:
                node.input[index] = name + STORED
