"""The ONNX parser: reads a model into a network and refuses what TensorRT does not import."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper, shape_inference

from fakes.tensorrt_core import Environment, ILogger, check_initialised
from fakes.tensorrt_versions import Named

MIN_OPSET = 9
UINT8_WARNING = (
    "onnxOpImporters.cpp:1499: TensorRT doesn't support QuantizeLinear/DequantizeLinear with UINT8 zero_point. "
    "TensorRT will use INT8 instead."
)
# Operators that onnx-tensorrt's operators.md marks as supported, by the layer that they become; those that become
# several layers, or are of no use in an inspection graph, stand under the nearest.
OPERATORS = {
    "CONVOLUTION": "Conv",
    "DECONVOLUTION": "ConvTranspose",
    "CAST": "Cast CastLike",
    "QUANTIZE": "QuantizeLinear",
    "DEQUANTIZE": "DequantizeLinear",
    "CONCATENATION": "Concat",
    "RESIZE": "Resize Upsample",
    "SLICE": "Slice Split Tile",
    "GATHER": "Gather GatherElements GatherND ScatterElements ScatterND",
    "SHAPE": "Shape Size",
    "SELECT": "Where",
    "PADDING": "Pad",
    "SCALE": "BatchNormalization",
    "NORMALIZATION": "InstanceNormalization LayerNormalization GroupNormalization MeanVarianceNormalization LRN",
    "MATRIX_MULTIPLY": "MatMul Gemm Einsum",
    "CONSTANT": "Constant ConstantOfShape Range EyeLike",
    "IDENTITY": "Identity Dropout",
    "SOFTMAX": "Softmax LogSoftmax Hardmax ArgMax ArgMin TopK",
    "POOLING": "MaxPool AveragePool GlobalAveragePool GlobalMaxPool LpPool",
    "ACTIVATION": "Relu LeakyRelu PRelu Sigmoid Tanh Clip Elu Selu Celu Gelu Mish HardSigmoid HardSwish Softplus Softsign",
    "ELEMENTWISE": "Add Sub Mul Div Pow Max Min Sum Mean Mod And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual",
    "UNARY": "Abs Neg Sqrt Exp Log Floor Ceil Round Reciprocal Sign Sin Cos Tan Erf Not IsInf IsNaN",
    "SHUFFLE": "Reshape Transpose Squeeze Unsqueeze Flatten Expand DepthToSpace SpaceToDepth",
    "REDUCE": "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSumExp ReduceSumSquare CumSum",
}
LAYER_OF = {operator: layer for layer, names in OPERATORS.items() for operator in names.split()}


@dataclass(frozen=True)
class Fault:
    """Why a model is refused: a rule, the parser's code, the index of the node, the text."""

    rule: str
    code: str
    node: int
    text: str


class ParserError:
    """`tensorrt.ParserError`."""

    def __init__(self, env: Environment, fault: Fault) -> None:
        self._env, self._fault = env, fault

    def code(self) -> Named:
        return self._env.enums["ErrorCode"][self._fault.code]

    def desc(self) -> str:
        return self._fault.text

    def node(self) -> int:
        return self._fault.node

    def func(self) -> str:
        return "parseNode"

    def file(self) -> str:
        return "ModelImporter.cpp"

    def line(self) -> int:
        return 0

    def __str__(self) -> str:
        return f"In node {self.node()} ({self.func()}): {self._fault.code}: {self.desc()}"

    __repr__ = __str__


class OnnxParser:
    """`tensorrt.OnnxParser(network, logger)`; parser and network keep each other alive."""

    env: Environment

    def __init__(self, network: object, logger: ILogger) -> None:
        check_initialised(logger, self.env.machine)
        self._network, self._logger, self._errors = network, logger, []
        network._parser = self

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors.clear()

    def supports_model(self, model: bytes) -> tuple[bool, list]:
        return not self._faults_of(self._load(bytes(memoryview(model)))), []

    def parse(self, model: bytes, path: str | None = None) -> bool:
        """Read a model; False leaves the reasons in the errors and the network unusable."""
        content = bytes(memoryview(model))
        loaded = self._load(content)
        faults = self._faults_of(loaded)
        for fault in faults:
            self.env.refuse(self._logger, fault.rule, fault.text)
        self._errors += [ParserError(self.env, fault) for fault in faults]
        if faults:
            return False
        self._warn_of_uint8(loaded)
        self._network._fill(loaded)
        return True

    def _load(self, content: bytes) -> onnx.ModelProto | None:
        try:
            model = onnx.load_model_from_string(content)
            return shape_inference.infer_shapes(model) if model.graph.node else None
        except (DecodeError, ValueError, RuntimeError):
            return None

    def _faults_of(self, model: onnx.ModelProto | None) -> list[Fault]:
        if model is None:
            text = "Failed to parse the ONNX model."
            return [Fault("trt-damaged-plan", "MODEL_DESERIALIZE_FAILED", -1, text)]
        opset = max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=0)
        faults = []
        if not MIN_OPSET <= opset <= self.env.version.max_opset:
            text = f"opset {opset} is outside {MIN_OPSET} to {self.env.version.max_opset}"
            faults.append(Fault("trt-opset", "UNSUPPORTED_GRAPH", -1, text))
        types = element_types(model.graph)
        for index, node in enumerate(model.graph.node):
            faults += _faults_of_node(index, node, types, model.graph)
        return faults

    def _warn_of_uint8(self, model: onnx.ModelProto) -> None:
        types = element_types(model.graph)
        for node in model.graph.node:
            zero = node.input[2] if node.op_type in {"QuantizeLinear", "DequantizeLinear"} and node.input[2:] else ""
            if types.get(zero) == TensorProto.UINT8:
                self.env.machine.refused.append("trt-uint8-zero-point")
                self.env.tell(self._logger, "WARNING", UINT8_WARNING)


def element_types(graph: onnx.GraphProto) -> dict[str, int]:
    """Return the element type of every tensor whose type is known."""
    values = [*graph.input, *graph.value_info, *graph.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {weights.name: weights.data_type for weights in graph.initializer}


def _faults_of_node(index: int, node: onnx.NodeProto, types: dict[str, int], graph: onnx.GraphProto) -> list[Fault]:
    where = f"In node {index} with name: {node.name} and operator: {node.op_type}"
    if node.op_type not in LAYER_OF or node.domain not in {"", "ai.onnx"}:
        text = (
            f"{where} (checkFallbackPluginImporter): UNSUPPORTED_NODE: Plugin not found, are the plugin name, version"
        )
        return [Fault("trt-unsupported-operator", "UNSUPPORTED_NODE", index, f"{text}, and namespace correct?")]
    quantises = node.op_type in {"QuantizeLinear", "DequantizeLinear"}
    touched = [name for name in (*node.input, *node.output) if types.get(name) == TensorProto.UINT8]
    if touched and not quantises and node.op_type not in {"Cast", "Constant"}:
        text = f"{where}: UNSUPPORTED_NODE: {touched[0]} is UINT8, which only Cast reads"
        return [Fault("trt-uint8", "UNSUPPORTED_NODE", index, text)]
    if quantises and node.input[2:]:
        zeros = [numpy_helper.to_array(weights) for weights in graph.initializer if weights.name == node.input[2]]
        if any(zero.any() for zero in zeros):
            text = f"{where}: INVALID_NODE: Non-zero zero point is not supported."
            return [Fault("trt-zero-point", "INVALID_NODE", index, text)]
    return []
