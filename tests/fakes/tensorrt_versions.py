"""Which names each version of TensorRT has, as far as this project could want them.

Read from the strings of the bindings' binaries (`tensorrt-cu12-bindings` 10.3.0, 10.13.3.9, 10.16.1.11 and
`tensorrt-cu13-bindings` 11.4.0.106); x is present, . absent, m cannot be told because the linker merged the string
into the end of a longer one:

    name                                            10.3  10.13  10.16  11.4
    EXPLICIT_BATCH                                   x     x      x      .
    STRONGLY_TYPED (11: accepted and ignored)        x     x      x      x
    FP16, OBEY_, PREFER_PRECISION_CONSTRAINTS        x     x      x      .
    INT8, FP8 (removed in 11: migration guide)       m     m      m      m
    TF32, ProfilingVerbosity, MemoryPoolType         x     x      x      x
    precision_is_set, int8_calibrator                x     x      x      .
    reset_precision, set_output_type                 x     x      x      .
    output_type_is_set, reset_output_type            x     x      x      .
    get_output_type, set_device_type, add_... (all)  x     x      x      x
    IInt8Calibrator and its kin, CalibrationAlgoType x     x      x      .
    set_dynamic_range, dynamic_range                 x     x      x      .
    set_calibration_profile                          x     x      x      .
    platform_has_fast_int8, _fast_fp16, _tf32        x     x      x      .
    device_memory_size                               x     x      x      .
    device_memory_size_v2, set_device_memory         x     x      x      x
    create_execution_context_without_device_memory   x     x      x      .
    ExecutionContextAllocationStrategy               x     x      x      x
    create_runtime_config, build_engine_with_config  .     x      x      x
    IProgressMonitor, ITimingCache                   x     x      x      x
    queryKeys (ITimingCache)                         .     x      x      x
    set_input_consumed_event, execute_async_v3       x     x      x      x
    all_binding_shapes_specified, infer_shapes       x     x      x      x
    engine_host_code_allowed                         x     x      x      x
    supports_model (11: supports_model_v2)           x     x      x      .
    MONITOR_MEMORY, PREFER_AOT_PYTHON_PLUGINS        .     x      x      x
    ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA     .     x      x      x
    REPORT_CAPABILITY_DLA, ADJUST_FOR_DLA            .     .      x      x
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fakes import tensorrt_layer_enums

VERSIONS = ("10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106")


@dataclass(frozen=True)
class Version:
    """One release.

    `max_opset` is documented for 11 (ONNX opset guide); those of 10.x follow the ONNX release that its parser was
    built with and are not confirmed. The minimum is 9 in all of them.
    """

    text: str
    max_opset: int

    @property
    def major(self) -> int:
        return int(self.text.split(".")[0])

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.text.split("."))


MAX_OPSETS = {"10.3.0": 20, "10.13.3.9": 23, "10.16.1.11": 24, "11.4.0.106": 25}


def version_of(text: str) -> Version:
    """Look a version up."""
    if text not in MAX_OPSETS:
        raise ValueError(f"TensorRT {text} was not looked at; known are {', '.join(VERSIONS)}")
    return Version(text, MAX_OPSETS[text])


class Named(Enum):
    """An enumeration as pybind11 makes them: `int(x)` works, arithmetic does not."""

    def __int__(self) -> int:
        return self.value

    def __index__(self) -> int:
        return self.value


def enumeration(name: str, values: dict[str, int]) -> type[Named]:
    """Make an enumeration of the module."""
    return Named(name, values)


BUILDER_FLAGS = {
    "FP16": 0,
    "INT8": 1,
    "DEBUG": 2,
    "GPU_FALLBACK": 3,
    "REFIT": 4,
    "DISABLE_TIMING_CACHE": 5,
    "TF32": 6,
    "SPARSE_WEIGHTS": 7,
    "SAFETY_SCOPE": 8,
    "OBEY_PRECISION_CONSTRAINTS": 9,
    "PREFER_PRECISION_CONSTRAINTS": 10,
    "DIRECT_IO": 11,
    "VERSION_COMPATIBLE": 13,
    "EXCLUDE_LEAN_RUNTIME": 14,
    "FP8": 15,
    "ERROR_ON_TIMING_CACHE_MISS": 16,
    "BF16": 17,
    "DISABLE_COMPILATION_CACHE": 18,
    "STRIP_PLAN": 19,
    "WEIGHT_STREAMING": 21,
    "INT4": 22,
}
PRECISION_FLAGS = {"FP16", "INT8", "FP8", "BF16", "INT4"}
REMOVED_FLAGS = PRECISION_FLAGS | {"OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"}
# Attributes of classes that a version does not have.
REMOVED_IN_11 = {
    "Builder": ("platform_has_fast_int8", "platform_has_fast_fp16", "platform_has_tf32"),
    "IBuilderConfig": ("int8_calibrator",),
    "ICudaEngine": ("device_memory_size", "create_execution_context_without_device_memory"),
    "ILayer": (
        "precision",
        "precision_is_set",
        "reset_precision",
        "set_output_type",
        "output_type_is_set",
        "reset_output_type",
    ),
    "ITensor": ("dynamic_range", "set_dynamic_range"),
    "OnnxParser": ("supports_model",),
}


def enumerations(version: Version) -> dict[str, type[Named]]:
    """Make the enumerations of a version."""
    old = version.major < 11
    flags = {name: value for name, value in BUILDER_FLAGS.items() if old or name not in REMOVED_FLAGS}
    if version.numbers >= (10, 13):
        flags |= {"MONITOR_MEMORY": 24}
    parser = {"NATIVE_INSTANCENORM": 0}
    if version.numbers >= (10, 13):
        parser |= {"ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA": 1}
    if version.numbers >= (10, 16):
        parser |= {"REPORT_CAPABILITY_DLA": 2, "ENABLE_PLUGIN_OVERRIDE": 3, "ADJUST_FOR_DLA": 4}
    creation = ({"EXPLICIT_BATCH": 0} if old else {}) | {"STRONGLY_TYPED": 1}
    values = SAME_IN_ALL | {"BuilderFlag": flags, "OnnxParserFlag": parser, "NetworkDefinitionCreationFlag": creation}
    values |= tensorrt_layer_enums.IN_ALL | (tensorrt_layer_enums.ONLY_IN_10 if old else {})
    values |= {"LayerType": LAYER_TYPES, "DataType": {name: value for name, (value, _) in DATA_TYPES.items()}}
    return {name: enumeration(name, members) for name, members in values.items()}


SAME_IN_ALL = {
    "ProfilingVerbosity": {"LAYER_NAMES_ONLY": 0, "NONE": 1, "DETAILED": 2},
    "MemoryPoolType": {
        "WORKSPACE": 0,
        "DLA_MANAGED_SRAM": 1,
        "DLA_LOCAL_DRAM": 2,
        "DLA_GLOBAL_DRAM": 3,
        "TACTIC_DRAM": 4,
        "TACTIC_SHARED_MEMORY": 5,
    },
    "ExecutionContextAllocationStrategy": {"STATIC": 0, "ON_PROFILE_CHANGE": 1, "USER_MANAGED": 2},
    "LayerInformationFormat": {"ONELINE": 0, "JSON": 1},
    "TensorIOMode": {"NONE": 0, "INPUT": 1, "OUTPUT": 2},
    "TensorLocation": {"DEVICE": 0, "HOST": 1},
    "ErrorCode": {
        "SUCCESS": 0,
        "INTERNAL_ERROR": 1,
        "MEM_ALLOC_FAILED": 2,
        "MODEL_DESERIALIZE_FAILED": 3,
        "INVALID_VALUE": 4,
        "INVALID_GRAPH": 5,
        "INVALID_NODE": 6,
        "UNSUPPORTED_GRAPH": 7,
        "UNSUPPORTED_NODE": 8,
    },
}
# Name: value and the name of the same type as an attribute of the module.
DATA_TYPES = {
    "FLOAT": (0, "float32"),
    "HALF": (1, "float16"),
    "INT8": (2, "int8"),
    "INT32": (3, "int32"),
    "BOOL": (4, "bool"),
    "UINT8": (5, "uint8"),
    "FP8": (6, "fp8"),
    "BF16": (7, "bfloat16"),
    "INT64": (8, "int64"),
    "INT4": (9, "int4"),
}
LAYER_TYPES = {
    "CONVOLUTION": 0,
    "CAST": 1,
    "ACTIVATION": 2,
    "POOLING": 3,
    "SCALE": 5,
    "SOFTMAX": 6,
    "DECONVOLUTION": 7,
    "CONCATENATION": 8,
    "ELEMENTWISE": 9,
    "UNARY": 11,
    "PADDING": 12,
    "SHUFFLE": 13,
    "REDUCE": 14,
    "GATHER": 16,
    "MATRIX_MULTIPLY": 17,
    "CONSTANT": 19,
    "IDENTITY": 20,
    "SLICE": 22,
    "SHAPE": 23,
    "RESIZE": 25,
    "SELECT": 30,
    "QUANTIZE": 32,
    "DEQUANTIZE": 33,
    "NORMALIZATION": 46,
}
