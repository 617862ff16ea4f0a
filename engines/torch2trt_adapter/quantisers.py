"""A model with its quantisers taken out: what implicit quantisation starts from."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from engines.structure import producers


def without_quantisers(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, float]]:
    """Return the model in float32, and the INT8 step of each tensor that was quantised, by name.

    The weights stay as coarse as they were: quantised again per output channel, they are the same integers.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    graph = plain.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made_by = producers(graph)
    steps: dict[str, float] = {}
    source: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        value, step = node.input[0], constants[node.input[1]]
        if value in constants:
            weight = _dequantised(constants[value], step)
            graph.initializer.append(numpy_helper.from_array(weight, node.output[0]))
        else:
            source[node.output[0]] = made_by[value].input[0]
            steps[source[node.output[0]]] = float(step)
    kept = [node for node in graph.node if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    for node in kept:
        for index, name in enumerate(node.input):
            node.input[index] = source.get(name, name)
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    return plain, steps


def _dequantised(codes: np.ndarray, step: np.ndarray) -> np.ndarray:
    # Of a convolution's weights the first axis is the output channel.
    wide = step.reshape(-1, *[1] * (codes.ndim - 1)) if step.ndim else step
    return np.asarray(codes.astype(np.float32) * wide, np.float32)
