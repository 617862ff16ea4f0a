"""Biases that make up for rounding: on average, every quantised convolution then answers as it did in float32.

Rounding is not fair. Activations behind a ReLU lie close to 0, and those below half a step all become 0; weights are
rounded, too. The mean of every channel moves, layer after layer in the same direction, and an error map that is small
on good parts moves with it. The correction from data of Nagel et al., "Data-free quantization through weight
equalization and bias correction", 2019 (appendix D): layer by layer, add the difference of the means to the bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from engines.command_line import track
from engines.runtime.onnxruntime_cpu import session_options
from engines.structure import producers

Feed = dict[str, npt.NDArray[np.float32]]
_BIAS = 2
_Means = npt.NDArray[np.float64]


def correct_biases(exact: onnx.ModelProto, quantised: onnx.ModelProto, feeds: Sequence[Feed], *, threads: int) -> None:
    """Change the biases of a quantised core in place.

    Args:
        exact: The core in float32.
        quantised: The same with quantised convolutions of the same names.
        feeds: What the core gets, by input, (1, c, h, w) float32.
        threads: CPU threads of one inference.
    """
    names = [node.name for node in _convolutions(exact)]
    wanted = dict(zip(names, _channel_means(exact, _convolutions(exact), feeds, threads), strict=True))
    # In the order of computation: what a layer gets has been corrected before it is.
    for node in track(_convolutions(quantised), label="correcting biases"):
        (found,) = _channel_means(quantised, [node], feeds, threads)
        _add_to_bias(quantised, node, wanted[node.name] - found)


def _convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    # The exporter drops a bias of exactly 0, which no training leaves.
    return [node for node in model.graph.node if node.op_type == "Conv" and len(node.input) > _BIAS]


def _channel_means(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], feeds: Sequence[Feed], threads: int
) -> list[_Means]:
    """Return the mean output of every channel of some nodes, (c,) each."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    names = [node.output[0] for node in nodes]
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = ort.InferenceSession(
        shown.SerializeToString(), session_options(threads), providers=["CPUExecutionProvider"]
    )
    inputs = [value.name for value in session.get_inputs()]
    sums: list[_Means] = [np.zeros(1)] * len(names)
    for feed in feeds:
        outputs = session.run(names, {name: feed[name] for name in inputs})
        sums = [
            total + output.mean(axis=(0, 2, 3), dtype=np.float64) for total, output in zip(sums, outputs, strict=True)
        ]
    return [total / len(feeds) for total in sums]


def _add_to_bias(model: onnx.ModelProto, node: onnx.NodeProto, change: _Means) -> None:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    name = node.input[_BIAS]
    if name in constants:
        bias = constants[name]
        bias.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(bias) + change).astype(np.float32), name))
        return
    # In the CPU placement the bias is an integer, in steps of its own for each channel.
    restored = producers(model.graph)[name]
    codes, step = constants[restored.input[0]], numpy_helper.to_array(constants[restored.input[1]])
    moved = numpy_helper.to_array(codes).astype(np.int64) + np.rint(change / step).astype(np.int64)
    limits = np.iinfo(np.int32)
    codes.CopyFrom(numpy_helper.from_array(np.clip(moved, limits.min, limits.max).astype(np.int32), codes.name))
