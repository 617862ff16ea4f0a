"""What the builder checks of precisions, and how a weakly typed network comes to run in INT8."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from fakes.cuda_codes import CudaError
from fakes.tensorrt_calibrate import NO_SCALES, Calibration
from fakes.tensorrt_facts import InvalidNetworkError
from fakes.tensorrt_graph import write_model
from fakes.tensorrt_int8 import INT8_LAYERS, Int8Model
from fakes.tensorrt_layer import NOT_ACTIVATIONS, ILayer
from fakes.tensorrt_versions import PRECISION_FLAGS

if TYPE_CHECKING:
    from fakes.tensorrt_build import IBuilderConfig
    from fakes.tensorrt_network import INetworkDefinition

FLAG_OF = {"INT8": "INT8", "HALF": "FP16"}
OBEY, PREFER = "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"


def is_explicit(layers: list[ILayer]) -> bool:
    """Whether Q and DQ say what is quantised."""
    return any(layer._kind in {"QUANTIZE", "DEQUANTIZE"} for layer in layers)


def check_precisions(network: INetworkDefinition, config: IBuilderConfig, layers: list[ILayer], prefix: str) -> None:
    """Compare the precisions that were asked for with the typing, the flags and the layers.

    Raises:
        InvalidNetworkError: They do not go together.
    """
    if network._strongly_typed:
        _check_strong(config, prefix)
        return
    _check_flags(config, layers, prefix)
    if {OBEY, PREFER} <= config._flags:
        raise InvalidNetworkError("trt-one-constraint", prefix + f"(only one of {OBEY} and {PREFER} may be set)")
    for layer in network._layers:
        _check_layer(network, config, layer)
    if is_explicit(layers) and getattr(config, "_calibrator", None) is not None:
        text = "Calibrator won't be used in explicit quantization mode. Please insert Quantize/Dequantize layers to"
        network._env.machine.refused.append("trt-explicit-calibrator")
        network._env.tell(network._logger, "WARNING", f"{text} indicate which tensors to quantize/dequantize.")


def implicit_int8(network: INetworkDefinition, config: IBuilderConfig, layers: list[ILayer]) -> onnx.ModelProto:
    """Calibrate, and write the model that a plan with implicit INT8 computes.

    Raises:
        InvalidNetworkError: Neither a calibrator nor the network has any range, or no CUDA context is current.
    """
    env = network._env
    ranges: dict[str, float] = {}
    if config._calibrator is not None:
        try:
            env.machine.enter("build_serialized_network")
        except CudaError as error:
            raise InvalidNetworkError("trt-context", f"Error Code 1: Cuda Runtime ({error})") from error
        ranges = Calibration(env, network, network._logger, config._calibrator).ranges(layers)
    tensors = [*network._inputs, *(tensor for layer in layers for tensor in layer._outputs)]
    ranges |= {t.name: max(abs(bound) for bound in t._range) for t in tensors if t._range is not None}
    if not ranges:
        raise InvalidNetworkError("trt-no-scales", NO_SCALES)
    int8 = Int8Model(layers, ranges, obeys=bool({OBEY, PREFER} & config._flags))
    for name in dict.fromkeys(name for layer in layers for name in int8.missing(layer)):
        text = f"Missing scale and zero-point for tensor {name}, expect fall back to non-int8 implementation for any"
        env.machine.refused.append("trt-missing-scale")
        env.tell(network._logger, "WARNING", f"{text} layer consuming or producing given tensor")
    return write_model(network, layers, int8.change)


def _check_strong(config: IBuilderConfig, prefix: str) -> None:
    precise = sorted(config._flags & (PRECISION_FLAGS | {OBEY, PREFER}))
    if precise:
        text = f"(strongly typed networks do not allow {', '.join(precise)})"
        raise InvalidNetworkError("trt-strong-flags", prefix + text)
    if config._calibrator is not None:
        raise InvalidNetworkError("trt-strong-calibrator", prefix + "(strongly typed networks are not calibrated)")


def _check_flags(config: IBuilderConfig, layers: list[ILayer], prefix: str) -> None:
    wanted = {"INT8"} if is_explicit(layers) else set()
    for layer in layers:
        types = [*layer._output_types.values(), *([layer._precision] if layer._precision else [])]
        wanted |= {kind.name for kind in types} & set(FLAG_OF)
    for kind in sorted(wanted):
        if FLAG_OF[kind] not in config._flags:
            name = FLAG_OF[kind].replace("INT", "Int")
            text = f"({name} precision has been set for a layer or layer output, but {name.lower()} is not configured"
            raise InvalidNetworkError("trt-int8-flag", f"{prefix}{text} in the builder)")


def _check_layer(network: INetworkDefinition, config: IBuilderConfig, layer: ILayer) -> None:
    if layer._precision is None:
        return
    env, natural, wanted = network._env, layer._natural_type(), layer._precision
    if natural.name in NOT_ACTIVATIONS and wanted != natural:
        types = (wanted.name.capitalize(), natural.name.capitalize())
        if layer._kind == "CONSTANT":
            text = "{}: cannot use precision {} with weights of type {}".format(layer.name, *types)
            raise InvalidNetworkError("trt-precision-type", text)
        env.machine.refused.append("trt-precision-type")
        text = f"{layer.name}: layer can only run in {types[1]} precision, {types[0]} is ignored"
        env.tell(network._logger, "WARNING", text)
    elif wanted.name == "INT8" and layer._kind not in INT8_LAYERS and {OBEY, PREFER} & config._flags:
        text = f"Could not find any implementation for node {layer.name} in precision Int8."
        if OBEY in config._flags:
            raise InvalidNetworkError("trt-obey", f"Error Code 10: Internal Error ({text})")
        env.machine.refused.append("trt-obey")
        env.tell(network._logger, "WARNING", f"No implementation of {layer.name} obeys the requested constraints.")
