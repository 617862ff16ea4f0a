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
from engines.tile_planes import Cutter, Stitcher

OPSET = 18
INPUT, OUTPUT = "frame", "anomaly_maps"


@dataclass(frozen=True)
class Parts:
    """The exported parts; every name begins with the part's own and a slash, but for the model's own two.

    `cut` and `stitch` stand before and after the core where it works on tiles.
    """

    front: onnx.ModelProto
    core: onnx.ModelProto
    tail: onnx.ModelProto
    cut: onnx.ModelProto | None = None
    stitch: onnx.ModelProto | None = None


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
    # Tensors of their own: one passed twice becomes one input.
    if LEARNED in errors:
        shown = {"seen": seen, "picture": picture}
        found = {"reconstruction": picture.clone(), "logits": picture[:, :1].clone()}
    else:
        plain, shown, found = plain.network, {"seen": seen}, {"reconstruction": picture.clone()}
    cutter, stitcher = Cutter(geometry.tiling), Stitcher(geometry.tiling)
    parts = {
        "front": _export(Front(geometry, core.core_input), (frame,), ["frame"], ["picture", "seen"]),
        "core": _export(plain, cutter(*shown.values()), [*shown], [*found]),
        "tail": _export(
            Tail(errors, geometry.channels, box=box), (picture, *found.values()), ["picture", *found], ["maps"]
        ),
    }
    if geometry.tiling.count > 1:
        parts["cut"] = _export(cutter, tuple(shown.values()), [*shown], [f"{name}_tiles" for name in shown])
        tiles = cutter(*found.values())
        parts["stitch"] = _export(stitcher, tiles, [f"{name}_tiles" for name in found], [*found])
    return Parts(**{name: compose.add_prefix(part, f"{name}/") for name, part in parts.items()})


def join(parts: Parts, *, core: onnx.ModelProto | None = None) -> onnx.ModelProto:
    """Join front, core and tail to the one graph of the engine.

    Args:
        parts: What `export_parts` returned.
        core: A quantised core that replaces the one of `parts`.

    Returns:
        A checked model: `frame` uint8 (1, H, W, C) to `anomaly_maps` float32 (1, K, h, w).
    """
    core = core or parts.core
    inputs, outputs = ([value.name.split("/")[1] for value in side] for side in (core.graph.input, core.graph.output))
    picture, seen, found = "front/picture", "front/{}", "core/{}"
    model = _alike(parts.front, core)
    if parts.cut is not None:
        links = {f"front/{name}": f"cut/{name}" for name in inputs}
        seen = "cut/{}_tiles"
        model = _append(model, parts.cut, links, keep=[picture, *map(seen.format, inputs)])
    links = {seen.format(name): f"core/{name}" for name in inputs}
    model = _append(model, core, links, keep=[picture, *map(found.format, outputs)])
    if parts.stitch is not None:
        links = {f"core/{name}": f"stitch/{name}_tiles" for name in outputs}
        found = "stitch/{}"
        model = _append(model, parts.stitch, links, keep=[picture, *map(found.format, outputs)])
    model = _append(model, parts.tail, {picture: "tail/picture"} | {found.format(n): f"tail/{n}" for n in outputs})
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


def _append(
    model: onnx.ModelProto, part: onnx.ModelProto, links: dict[str, str], *, keep: list[str] | None = None
) -> onnx.ModelProto:
    """Put a part behind a model: `links` are its inputs by the tensor they take, `keep` is what both have as outputs."""
    return compose.merge_models(model, _alike(part, model), io_map=[*links.items()], outputs=keep)


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
