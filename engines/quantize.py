"""INT8 for the core, in two placements: one for TensorRT, one for ONNX Runtime's own kernels.

Only the core is quantised, and its last convolution stays in float32: a quantiser that sees the residual would move
the error map by 1 % instead of 0.01 %.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from engines.bias_correction import Feed, correct_biases
from engines.core_inputs import CORE_INPUTS, CoreInput
from engines.errors import EngineError
from engines.structure import CORE_INPUT, CORE_PICTURE, SKIP_OPS, last_convolutions, producers

Placement = Literal["tensorrt", "cpu"]

_CORRECTION_FRAMES = 16
_PASSING = frozenset({"MaxPool", "Resize"})
_QUANTISED_BY_CPU = ["Conv", "Add", "MaxPool", "Clip", "Resize"]


def quantize_core(
    core: onnx.ModelProto,
    feeds: Iterable[Feed],
    *,
    core_input: CoreInput,
    placement: Placement,
    steps: dict[str, float] | None = None,
) -> onnx.ModelProto:
    """Quantise the exported core.

    The range of a tensor reaches from its smallest to its largest value over all frames: nothing is clipped, for the
    tails carry the anomaly, and the network's own bounds keep the ranges small. With the mean of each frame's extremes
    instead, the scores of unusually bright magnetic tiles moved by 25 % (CPU placement); so, by 3 %.

    Args:
        core: The float32 core with names that begin with `core/`.
        feeds: What the core gets of good and of corrupted frames, by input, (1, c, h, w) float32; read one at a time.
        core_input: What it sees: its range is known and not measured.
        placement: `tensorrt`: Q/DQ at the inputs of convolutions, of skips and of nearest Resizes, all int8 with zero
            point 0. `cpu`: between all operators that have an integer kernel in ONNX Runtime.
        steps: Steps with which the network learned to live, of the input of the convolution whose parameters have this
            name, for signed integers; None measures all.

    Raises:
        EngineError: The quantiser refused.
    """
    with tempfile.TemporaryDirectory(prefix="quantize-") as folder, _vendor_errors(placement):
        source, result = Path(folder) / "core.onnx", Path(folder) / "core.int8.onnx"
        onnx.save(core, source)
        options: dict[str, Any] = {
            "quant_format": QuantFormat.QDQ,
            "weight_type": QuantType.QInt8,
            "per_channel": True,
            "nodes_to_exclude": [node.name for node in last_convolutions(core)],
        }
        options |= _tensorrt_options() if placement == "tensorrt" else _cpu_options()
        options["extra_options"]["TensorQuantOverrides"] = _known_ranges(core, core_input, placement, steps or {})
        feeds = iter(feeds)
        kept = [*islice(feeds, _CORRECTION_FRAMES)]
        quantize_static(source, result, _Reader(chain(kept, feeds)), **options)
        model = onnx.load(result)
    if placement == "tensorrt":
        _quantise_skips(model)
    correct_biases(core, model, kept, threads=os.cpu_count() or 1)
    model.graph.ClearField("doc_string")
    return model


def _tensorrt_options() -> dict[str, Any]:
    return {
        "activation_type": QuantType.QInt8,
        "op_types_to_quantize": ["Conv"],
        "extra_options": {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": ["Conv", "Clip", "Add", "Resize", "MaxPool"],
        },
    }


def _cpu_options() -> dict[str, Any]:
    return {
        "activation_type": QuantType.QUInt8,
        "op_types_to_quantize": _QUANTISED_BY_CPU,
        "extra_options": {"WeightSymmetric": True},
    }


def _known_ranges(
    core: onnx.ModelProto, core_input: CoreInput, placement: Placement, steps: dict[str, float]
) -> dict[str, list[dict[str, Any]]]:
    """Return the ranges that are known beforehand: of what both networks see, and those that training has fixed."""
    kind: Literal["int8", "uint8"] = "int8" if placement == "tensorrt" else "uint8"
    inputs = {CORE_INPUT: core_input}
    made_by = producers(core.graph)
    if any(value.name == CORE_PICTURE for value in core.graph.input):
        stem = next(n for n in core.graph.node if n.op_type == "Conv" and "head.stem" in n.input[1])
        inputs[made_by[stem.input[0]].output[0]] = CORE_INPUTS["picture"]
    known = {tensor: seen.step_and_zero(kind) for tensor, seen in inputs.items()}
    for node in core.graph.node:
        step = steps.get(node.input[1].removeprefix("core/").rpartition(".")[0]) if node.op_type == "Conv" else None
        tensor = node.input[0]
        if step is None or tensor in known:
            continue
        if kind == "int8":
            known[tensor] = step, 0
        else:
            # What lies behind a ReLU is not negative: the same range has twice as many unsigned steps. What only
            # passes values on has the range of its input here.
            while tensor in made_by and made_by[tensor].op_type in _PASSING:
                tensor = made_by[tensor].input[0]
            known[tensor] = step * 127 / 255, 0
    return {
        tensor: [
            {
                "quant_type": QuantType.QInt8 if kind == "int8" else QuantType.QUInt8,
                "scale": np.array(step, np.float32),
                "zero_point": np.array(zero, kind),
            }
        ]
        for tensor, (step, zero) in known.items()
    }


def _quantise_skips(model: onnx.ModelProto) -> None:
    """Put Q/DQ before every nearest Resize and on the skip input of every Add, where the quantiser leaves them out.

    Both tensors have the range of one that is quantised already: a Resize copies values, and a skip is not negative
    and has the maximum of its own max-pool.
    """
    graph = model.graph
    made_by = producers(graph)
    for node in [n for n in graph.node if n.op_type in {"Resize", "Add"}]:
        index = 0 if node.op_type == "Resize" else _skip_index(node, made_by)
        tensor = node.input[index]
        same_range = node.output[0] if node.op_type == "Resize" else _pooled(graph, tensor)
        step, zero = _quantiser_of(graph, same_range)
        quantised, restored = f"{tensor}_to_{node.op_type}_q", f"{tensor}_to_{node.op_type}_dq"
        pair = [
            helper.make_node("QuantizeLinear", [tensor, step, zero], [quantised], name=f"{quantised}_node"),
            helper.make_node("DequantizeLinear", [quantised, step, zero], [restored], name=f"{restored}_node"),
        ]
        node.input[index] = restored
        position = next(i for i, other in enumerate(graph.node) if other.name == node.name)
        for offset, extra in enumerate(pair):
            graph.node.insert(position + offset, extra)


def _skip_index(add: onnx.NodeProto, made_by: dict[str, onnx.NodeProto]) -> int:
    # The branch that has just been upsampled has a Conv whose input comes from a Resize; the other one is the skip.
    def risen(tensor: str) -> bool:
        node: onnx.NodeProto | None = made_by.get(tensor)
        while node is not None and node.op_type in SKIP_OPS:
            if node.op_type == "Resize":
                return True
            node = made_by.get(node.input[0])
        return False

    return 1 if risen(add.input[0]) else 0


def _pooled(graph: onnx.GraphProto, tensor: str) -> str:
    return str(next(n.output[0] for n in graph.node if n.op_type == "MaxPool" and n.input[0] == tensor))


def _quantiser_of(graph: onnx.GraphProto, tensor: str) -> tuple[str, str]:
    node = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == tensor)
    return node.input[1], node.input[2]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


@contextmanager
def _vendor_errors(placement: str) -> Iterator[None]:
    # The quantiser recommends a pre-processing that the exporter has already done.
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    except (ValueError, RuntimeError, TypeError, KeyError, StopIteration) as problem:
        raise EngineError(
            f"the core cannot be quantised for {placement}: {problem}.",
            fix="Install the versions of the constraints file and train again.",
        ) from problem
    finally:
        root.setLevel(level)
