"""Small inspection graphs: `frame` uint8 [1, H, W, 1] to `anomaly_maps` float32 [1, 1, H, W]."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 16, 64, 1)


def inspection_model(
    *,
    height: int | str = 16,
    opset: int = 18,
    zero_type: type = np.int8,
    zero: int = 0,
    conv: str = "Conv",
    quantised: bool = True,
    transposes_uint8: bool = False,
    extra: str | None = None,
) -> bytes:
    """Make a model: |x - conv(x)|, where the convolution is fed by Q and DQ and doubles its input."""
    weights = {
        "kernel": np.full((1, 1, 1, 1), 100, np.int8),
        "kernel_float": np.full((1, 1, 1, 1), 2, np.float32),
        "step": np.array(1 / 64, np.float32),
        "kernel_step": np.array(1 / 50, np.float32),
        "zero": np.array(zero, zero_type),
        "kernel_zero": np.array(0, np.int8),
        "scale": np.array(1 / 255, np.float32),
    }
    node = helper.make_node
    nodes = _head(transposes_uint8=transposes_uint8)
    if quantised:
        nodes += [
            node("QuantizeLinear", ["x", "step", "zero"], ["xq"], "quantise"),
            node("DequantizeLinear", ["xq", "step", "zero"], ["xd"], "dequantise"),
            node("DequantizeLinear", ["kernel", "kernel_step", "kernel_zero"], ["kd"], "dequantise_kernel"),
        ]
    names = ["xd", "kd"] if quantised else ["x", "kernel_float"]
    nodes += [node(conv, names, ["y"], "core/conv"), node(extra or "Relu", ["y"], ["r"], "core/act")]
    nodes += [node("Sub", ["x", "r"], ["error"], "error"), node("Abs", ["error"], ["anomaly_maps"], "abs")]
    graph = helper.make_graph(
        nodes,
        "inspection",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, height, 64, 1])],
        [helper.make_tensor_value_info("anomaly_maps", TensorProto.FLOAT, [1, 1, height, 64])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10).SerializeToString()


def _head(*, transposes_uint8: bool) -> list[object]:
    node, order = helper.make_node, {"perm": [0, 3, 1, 2]}
    if transposes_uint8:
        first = [node("Transpose", ["frame"], ["turned"], "turn", **order)]
        first += [node("Cast", ["turned"], ["planes"], "cast", to=TensorProto.FLOAT)]
    else:
        first = [node("Cast", ["frame"], ["cast"], "cast", to=TensorProto.FLOAT)]
        first += [node("Transpose", ["cast"], ["planes"], "turn", **order)]
    return [*first, node("Mul", ["planes", "scale"], ["x"], "to_unit")]
