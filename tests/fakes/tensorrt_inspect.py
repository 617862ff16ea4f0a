"""What the engine inspector says of an engine, in the form of both generations of its JSON.

10.x gives each tensor one `Format/Datatype` and lists names under `Bindings`; 11 splits the former in two and lists
objects under `I/O Tensors` (migration guide, IEngineInspector). Q and DQ are fused away; a convolution runs in INT8
where data and weights both come from a DequantizeLinear, a transposed one never does. As in real engines the name of
a layer joins the names of all that was fused into it, and `Metadata` lists the nodes of the model, parted by 0x1e;
layers that no model had have the names that the program gave them, and its metadata. What implicit INT8 added is
neither layer nor name.
"""

from __future__ import annotations

import json

import onnx

from fakes.tensorrt_core import Environment
from fakes.tensorrt_graph import METADATA
from fakes.tensorrt_int8 import STORED
from fakes.tensorrt_versions import Named

INT8_FORMAT, FLOAT_FORMAT = "Thirty-two wide channel vectorized row major Int8 format", "Row major linear FP32"
FUSED_AWAY = {"QuantizeLinear", "DequantizeLinear", "Constant", "Identity"}
ACTIVATIONS = {"Relu", "LeakyRelu", "Clip"}
LAYER_TYPE = {"Conv": "CaskConvolution", "ConvTranspose": "CaskDeconvolutionV2", "Resize": "Resize"}


class EngineInspector:
    """`tensorrt.EngineInspector`."""

    def __init__(self, env: Environment, engine: object) -> None:
        self._env, self._engine = env, engine
        self.execution_context: object = None

    def get_engine_information(self, format: Named) -> str:  # noqa: A002 - the vendor's parameter
        """Describe all layers, as far as the engine's profiling verbosity allows."""
        plan = self._engine._plan
        model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(plan.model))
        layers = describe(model, old=self._env.version.major < 11) if plan.verbosity != "NONE" else []
        if plan.verbosity == "LAYER_NAMES_ONLY":
            layers = [layer["Name"] for layer in layers]
        if format.name == "ONELINE":
            return "\n".join(layer if isinstance(layer, str) else json.dumps(layer) for layer in layers)
        return json.dumps({"Layers": layers} | self._tensors())

    def get_layer_information(self, layer_index: int, format: Named) -> str:  # noqa: A002 - the vendor's parameter
        layers = json.loads(self.get_engine_information(self._env.enums["LayerInformationFormat"]["JSON"]))["Layers"]
        return json.dumps(layers[layer_index])

    def _tensors(self) -> dict[str, object]:
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        if self._env.version.major < 11:
            return {"Bindings": names}
        return {
            "I/O Tensors": [
                {
                    "Name": name,
                    "IOMode": engine.get_tensor_mode(name).name.capitalize(),
                    "DataType": engine.get_tensor_dtype(name).name.capitalize(),
                    "Dimensions": list(engine.get_tensor_shape(name)),
                    "Location": "Device",
                    "IsShapeInferenceIO": False,
                }
                for name in names
            ]
        }


def describe(model: onnx.ModelProto, *, old: bool) -> list[dict[str, object]]:
    """List the layers of an engine made of a model."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    weights = {entry.name for entry in model.graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    activations = _fused_activations(model.graph)
    fused = {activation.output[0] for activation in activations.values()}
    layers = []
    for node in model.graph.node:
        if node.op_type in FUSED_AWAY or node.output[0] in fused:
            continue
        is_int8 = node.op_type == "Conv" and _is_quantised(node, made_by)
        inputs = [
            name for name in node.input if name and name not in weights and not _is_weight(name, made_by, weights)
        ]
        last = activations.get(node.name, node)
        nodes = [node, *([last] if last is not node else [])]
        scaled = made_by[node.input[1]] if is_int8 and not node.input[1].endswith(STORED) else None
        tensors = {
            "Inputs": [_tensor(name, shapes, int8=is_int8 or name.endswith(STORED), old=old) for name in inputs],
            "Outputs": [_tensor(name, shapes, int8=False, old=old) for name in last.output],
        }
        names = [node.name for node in nodes]
        names = names if scaled is None else [scaled.input[0], scaled.name, *names]
        layers.append(_layer(node.op_type, names, nodes, tensors, is_int8=is_int8))
    return layers


def _layer(
    operator: str, names: list[str], nodes: list[onnx.NodeProto], tensors: dict[str, object], *, is_int8: bool
) -> dict[str, object]:
    weights = {"Weights": {"Type": "Int8" if is_int8 else "Float"}} if operator == "Conv" else {}
    return {
        "Name": " + ".join(names),
        "LayerType": LAYER_TYPE.get(operator, operator),
        **tensors,
        "ParameterType": "Convolution" if operator == "Conv" else operator,
        **weights,
        "TacticName": f"{'i8i8' if is_int8 else 'f32f32'}_fake",
        "StreamId": 0,
        "Metadata": "\x1e".join(filter(None, (node.doc_string.removeprefix(METADATA) for node in nodes))),
    }


def _fused_activations(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Find the activation that becomes part of a convolution, by the name of the convolution."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = {node.name: readers.get(node.output[0], []) for node in graph.node if node.op_type in LAYER_TYPE}
    return {name: nodes[0] for name, nodes in found.items() if len(nodes) == 1 and nodes[0].op_type in ACTIVATIONS}


def _is_quantised(node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto]) -> bool:
    makers = [made_by.get(name) for name in node.input[:2]]
    return all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)


def _is_weight(name: str, made_by: dict[str, onnx.NodeProto], weights: set[str]) -> bool:
    while name in made_by and made_by[name].op_type in FUSED_AWAY and made_by[name].input:
        name = made_by[name].input[0]
    return name in weights


def _tensor(name: str, shapes: dict[str, list[int]], *, int8: bool, old: bool) -> dict[str, object]:
    layout = INT8_FORMAT if int8 else FLOAT_FORMAT
    kind = {"Format/Datatype": layout} if old else {"Format": layout, "DataType": "Int8" if int8 else "Float"}
    return {"Name": name.removesuffix(STORED), "Location": "Device", "Dimensions": shapes.get(name, [])} | kind
