"""What a model file must look like to run on a Jetson's TensorRT: checked without one."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
from onnx import TensorProto, numpy_helper

from engines.errors import RecipeError

NEWEST_OPSET, NEWEST_IR = 18, 10
# Names inside the joined model.
CORE_INPUT, CORE_PICTURE = "core/seen", "core/picture"
RECONSTRUCTION, LOGITS = "core/reconstruction", "core/logits"
# The reconstruction of the whole picture, where the core's is of tiles.
STITCHED = "stitch/reconstruction"
# The parameters of the core's last convolutions, one of the autoencoder and one of the defect head, in float32.
_LAST_WEIGHT = "last.weight"
# Between a convolution and the Resize above it.
SKIP_OPS = frozenset({"Clip", "Conv", "DequantizeLinear", "QuantizeLinear", "Resize", "Add"})
# At the frame's full resolution, these move or convert values inside the first kernel; others would compute there.
_MOVERS = frozenset({"Cast", "Slice", "Reshape"})
_QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear"})


def check_structure(model: onnx.ModelProto, *, int8: bool) -> None:
    """Refuse a model that TensorRT would misread, run slowly or not run at all.

    Args:
        model: The whole graph, with inferred shapes.
        int8: The model is the INT8 source of the TensorRT engine: every core convolution but the last must take INT8,
            with signed zero points of 0.

    Raises:
        RecipeError: Naming every fault.
    """
    faults = [*_version_faults(model), *_operator_faults(model), *_resolution_faults(model)]
    if int8:
        faults += [*_zero_point_faults(model), *_outside_faults(model)]
        faults += [*_convolution_faults(model), *_branch_faults(model)]
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise RecipeError(
            f"the model does not have the structure of an inspection engine:\n{listed}\n",
            fix="Train the recipe again with this version of the product.",
        )


def load_model(path: Path) -> onnx.ModelProto:
    """Read a model file.

    Raises:
        RecipeError: The file is missing or is not a model.
    """
    try:
        return onnx.load(path)
    except Exception as problem:  # protobuf's parser has error classes of its own, and they differ by back end
        raise RecipeError(f"{path} is not a model: {problem}.", fix="Copy the whole recipe again.") from problem


def producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Return the node that makes each tensor."""
    return {name: node for node in graph.node for name in node.output}


def last_convolutions(core: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the last convolution of the autoencoder and of the defect head, if there is one: they stay in float32."""
    return [node for node in core.graph.node if node.op_type == "Conv" and node.input[1].endswith(_LAST_WEIGHT)]


def shapes_of(model: onnx.ModelProto) -> dict[str, tuple[tuple[int, ...], int]]:
    """Return shape and element type of every tensor whose shape is known; a dynamic side reads 0."""
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    return {
        value.name: (
            tuple(side.dim_value for side in value.type.tensor_type.shape.dim),
            value.type.tensor_type.elem_type,
        )
        for value in values
    }


def count_gmac(model: onnx.ModelProto) -> float:
    """Count the multiply-accumulate operations of all convolutions, in units of 10^9."""
    shapes = shapes_of(model)
    made_by = producers(model.graph)
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            name = node.input[1]
            while name not in weights:
                name = made_by[name].input[0]
            _, inputs, *window = weights[name]
            total += math.prod(shapes[node.output[0]][0]) * inputs * math.prod(window)
    return total / 1e9


def _version_faults(model: onnx.ModelProto) -> list[str]:
    faults = []
    if model.ir_version > NEWEST_IR:
        faults.append(f"IR version {model.ir_version}; at most {NEWEST_IR} can be read")
    for opset in model.opset_import:
        if opset.domain not in {"", "ai.onnx"}:
            if any(node.domain == opset.domain for node in model.graph.node):
                faults.append(f"operators of the domain {opset.domain}; only standard ones can be read")
        elif opset.version > NEWEST_OPSET:
            faults.append(f"opset {opset.version}; at most {NEWEST_OPSET} can be read")
    return faults


def _operator_faults(model: onnx.ModelProto) -> list[str]:
    faults = [f"{n.name}: ConvTranspose does not run in INT8" for n in model.graph.node if n.op_type == "ConvTranspose"]
    frames = {value.name for value in model.graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8}
    if not frames:
        faults.append("no uint8 input: the frame must be read as the camera wrote it")
    faults += [
        f"{node.name}: {node.op_type} reads the uint8 frame; only Cast may"
        for node in model.graph.node
        if node.op_type != "Cast" and frames & set(node.input)
    ]
    return faults


def _resolution_faults(model: onnx.ModelProto) -> list[str]:
    shapes = shapes_of(model)
    front = [node for node in model.graph.node if node.name.startswith("front/")]
    reducers = [n for n in front if n.op_type == "ReduceMean"] or [n for n in front if n.op_type == "Transpose"]
    if not reducers or reducers[0].input[0] not in shapes:
        return ["the part before the core does not average or transpose the frame"]
    region = math.prod(shapes[reducers[0].input[0]][0])
    if region <= 3 * math.prod(shapes[model.graph.output[0].name][0][2:]):
        return []
    # Where no box average fits between frame and map (k = 1), there is nothing smaller that could be transposed.
    movers = _MOVERS | ({"Transpose"} if reducers[0].op_type == "Transpose" else set())
    return [
        f"{node.name}: {node.op_type} makes a float tensor of the frame's full size {shapes[name][0]}"
        for node in front
        for name in node.output
        if name in shapes and math.prod(shapes[name][0]) >= region and node.op_type not in movers
    ]


def _zero_point_faults(model: onnx.ModelProto) -> list[str]:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    faults = []
    for node in model.graph.node:
        if node.op_type not in _QUANTISED:
            continue
        zero = constants.get(next(iter(node.input[2:]), ""))
        if zero is None or zero.data_type != TensorProto.INT8:
            faults.append(f"{node.name}: the zero point is not INT8 (TensorRT would read it as INT8 all the same)")
        elif numpy_helper.to_array(zero).any():
            faults.append(f"{node.name}: the zero point is not 0")
    return faults


def _outside_faults(model: onnx.ModelProto) -> list[str]:
    """What is rounded outside the core is the frame or the residual: the error maps would show the rounding."""
    return [
        f"{node.name}: {node.input[0]} is quantised outside the core"
        for node in model.graph.node
        if node.op_type in _QUANTISED and not node.name.startswith("core/")
    ]


def _convolution_faults(model: onnx.ModelProto) -> list[str]:
    made_by = producers(model.graph)
    core = [node for node in model.graph.node if node.op_type == "Conv" and node.name.startswith("core/")]
    last = [node.name for node in last_convolutions(model)]
    if not last:
        return ["no last convolution of the core"]
    return [
        f"{node.name}: {what} of a core convolution is not INT8"
        for node in core
        if node.name not in last
        for what, name in (("the input", node.input[0]), ("the weight", node.input[1]))
        if name not in made_by or made_by[name].op_type != "DequantizeLinear"
    ]


def _branch_faults(model: onnx.ModelProto) -> list[str]:
    made_by = producers(model.graph)

    def dequantised(name: str) -> bool:
        return name in made_by and made_by[name].op_type == "DequantizeLinear"

    core = [node for node in model.graph.node if node.name.startswith("core/")]
    faults = [
        f"{n.name}: a Resize is not in INT8" for n in core if n.op_type == "Resize" and not dequantised(n.input[0])
    ]
    faults += [
        f"{n.name}: the skip input of an Add is not in INT8"
        for n in core
        if n.op_type == "Add" and sum(map(dequantised, n.input)) != 1
    ]
    return faults
