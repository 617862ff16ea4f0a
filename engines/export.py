"""From torch to ONNX: front, core and tail are exported apart, so that only the core is quantised, and then joined.

torch's exporter prints and warns about its own internals; both are silenced here and only here.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx
import torch
from onnx import compose
from torch import Tensor, nn

from engines.core_inputs import CORE_INPUTS
from engines.error_maps import LEARNED
from engines.forward import Core
from engines.graph import CoreGraph, Front, Tail
from engines.reduction import Geometry
from engines.structure import CORE_INPUT, CORE_PICTURE, LOGITS, RECONSTRUCTION

OPSET = 18
INPUT, OUTPUT = "frame", "anomaly_maps"


@dataclass(frozen=True)
class Parts:
    """The three exported parts; every name begins with `front/`, `core/` or `tail/`, but for the model's own two."""

    front: onnx.ModelProto
    core: onnx.ModelProto
    tail: onnx.ModelProto


def export_parts(geometry: Geometry, core: Core, errors: list[str], *, box: int) -> Parts:
    """Export the graph of a trained network, in float32 with constant weights and static shapes.

    Args:
        geometry: Frame, ROI and map size.
        core: The network, in evaluation mode, and what it sees.
        errors: Names of the error maps.
        box: Side of the smoothing box in map pixels.
    """
    height, width = geometry.map_shape
    frame = torch.zeros((1, *geometry.frame_shape), dtype=torch.uint8)
    picture = torch.zeros(1, geometry.channels, height, width)
    seen = torch.zeros(1, CORE_INPUTS[core.core_input].planes(geometry.channels), height, width)
    graph = CoreGraph(core, errors)
    plain = copy.deepcopy(graph).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    tail = Tail(errors, geometry.channels, box=box)
    front = _export(Front(geometry, core.core_input), (frame,), ["frame"], ["picture", "seen"])
    if LEARNED in errors:
        rebuilt = _export(plain, (seen, picture), ["seen", "picture"], ["reconstruction", "logits"])
        shown = (picture, picture.clone(), picture[:, :1].clone())
        maps = _export(tail, shown, ["picture", "reconstruction", "logits"], ["maps"])
    else:
        rebuilt = _export(plain.network, (seen,), ["seen"], ["reconstruction"])
        # Two tensors: one passed twice becomes one input.
        maps = _export(tail, (picture, picture.clone()), ["picture", "reconstruction"], ["maps"])
    return Parts(
        *(compose.add_prefix(part, f"{name}/") for part, name in ((front, "front"), (rebuilt, "core"), (maps, "tail")))
    )


def join(parts: Parts, *, core: onnx.ModelProto | None = None) -> onnx.ModelProto:
    """Join front, core and tail to the one graph of the engine.

    Args:
        parts: What `export_parts` returned.
        core: A quantised core that replaces the one of `parts`.

    Returns:
        A checked model: `frame` uint8 (1, H, W, C) to `anomaly_maps` float32 (1, K, h, w).
    """
    core = core or parts.core
    with_head = any(value.name == LOGITS for value in core.graph.output)
    io_map = [("front/seen", CORE_INPUT), *([("front/picture", CORE_PICTURE)] if with_head else [])]
    outputs = ["front/picture", RECONSTRUCTION, *([LOGITS] if with_head else [])]
    joined = compose.merge_models(_alike(parts.front, core), core, io_map=io_map, outputs=outputs)
    io_map = [(name, f"tail/{name.split('/')[1]}") for name in outputs]
    model = compose.merge_models(joined, _alike(parts.tail, joined), io_map=io_map)
    _rename(model, "front/frame", INPUT)
    _rename(model, "tail/maps", OUTPUT)
    model.graph.name = "inspection"
    model.producer_name = "edge-engines"
    model.producer_version = ""
    del model.graph.value_info[:]
    # Shapes are inferred for readers of the file; the checks of TensorRT and `check_structure` rely on them.
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def _alike(model: onnx.ModelProto, other: onnx.ModelProto) -> onnx.ModelProto:
    # merge_models insists on equal IR versions and opsets; a quantiser may have lowered or raised the core's.
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = other.ir_version
    del copy.opset_import[:]
    copy.opset_import.extend(other.opset_import)
    return copy


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for value in (*model.graph.input, *model.graph.output):
        if value.name == old:
            value.name = new
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _export(
    module: nn.Module, arguments: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            arguments,
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=inputs,
            output_names=outputs,
            verbose=False,
        )
    if program is None:
        raise TypeError("torch.onnx.export returned no program")
    model = program.model_proto
    for node in model.graph.node:
        # Traces of the source lines, with the paths of this machine.
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
