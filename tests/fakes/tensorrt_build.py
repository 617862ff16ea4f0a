"""Builder, network, configuration and timing cache.

Python objects keep what they need alive (`py::keep_alive` in the bindings), so that the order in which the caller
lets go of builder, network, parser and configuration does not matter.
"""

from __future__ import annotations

import json

import onnx
from onnx import TensorProto

from fakes.tensorrt_core import Environment, IHostMemory, ILogger, IProgressMonitor, check_initialised
from fakes.tensorrt_onnx import LAYER_OF, element_types
from fakes.tensorrt_plan import Plan
from fakes.tensorrt_versions import PRECISION_FLAGS, Named

SCRATCH_BYTES = 64 * 1024
WORKSPACE_BYTES = 16 * 1024
DATA_TYPE_OF = {
    TensorProto.FLOAT: "FLOAT",
    TensorProto.FLOAT16: "HALF",
    TensorProto.INT8: "INT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.UINT8: "UINT8",
    TensorProto.BOOL: "BOOL",
}


class ITensor:
    """`tensorrt.ITensor` of an input or output; -1 stands for what is not known."""

    def __init__(self, env: Environment, value: onnx.ValueInfoProto) -> None:
        tensor = value.type.tensor_type
        self.name = value.name
        self.shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
        self.dtype = env.enums["DataType"][DATA_TYPE_OF[tensor.elem_type]]


class ILayer:
    """`tensorrt.ILayer` made from one node."""

    def __init__(self, env: Environment, node: onnx.NodeProto, network: INetworkDefinition) -> None:
        self._env, self._network = env, network
        self.name = node.name or node.output[0]
        self.type = env.enums["LayerType"][LAYER_OF[node.op_type]]
        self.num_inputs, self.num_outputs = len(node.input), len(node.output)
        self.metadata = f"[ONNX Layer: {self.name}]"
        self._precision = env.enums["DataType"]["FLOAT"]
        self._precision_is_set = False

    precision_is_set = property(lambda self: self._precision_is_set)

    @property
    def precision(self) -> Named:
        return self._precision

    @precision.setter
    def precision(self, value: Named) -> None:
        if self._network.is_strongly_typed:
            text = f"ILayer::setPrecision: Error Code 3: API Usage Error ({self.name}: the network is strongly typed)"
            self._env.refuse(self._network._logger, "trt-strong-layer", text)
            return
        self._precision, self._precision_is_set = value, True


class INetworkDefinition:
    """`tensorrt.INetworkDefinition`, filled by the parser."""

    def __init__(self, env: Environment, builder: Builder, flags: int) -> None:
        self._env, self._builder, self._logger = env, builder, builder._logger
        self._flags = flags
        self._parser: object = None
        self._content: bytes | None = None
        self._model: onnx.ModelProto | None = None
        self.name = "Unnamed Network 0"
        self._layers: list[object] = []
        self._inputs: list[ITensor] = []
        self._outputs: list[ITensor] = []

    @property
    def is_strongly_typed(self) -> bool:
        return self._env.version.major >= 11 or bool(self._flags & 2)

    def get_flag(self, flag: Named) -> bool:
        return bool(self._flags & 1 << int(flag))

    num_layers = property(lambda self: len(self._layers))
    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))

    def get_layer(self, index: int) -> object:
        return self._layers[index]

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self._outputs[index]

    def _fill(self, content: bytes, model: onnx.ModelProto) -> None:
        weights = {entry.name for entry in model.graph.initializer}
        self._content, self._model = content, model
        self.name = model.graph.name or self.name
        self._layers = [self._env.make("ILayer", node, self) for node in model.graph.node]
        self._inputs = [ITensor(self._env, value) for value in model.graph.input if value.name not in weights]
        self._outputs = [ITensor(self._env, value) for value in model.graph.output]


class ITimingCache:
    """`tensorrt.ITimingCache`."""

    def __init__(self, version: str, entries: int) -> None:
        self._version, self._entries = version, entries

    def serialize(self) -> IHostMemory:
        return IHostMemory(json.dumps({"version": self._version, "entries": self._entries}).encode())

    def combine(self, input_cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if input_cache._version != self._version and not ignore_mismatch:
            return False
        self._entries += input_cache._entries
        return True

    def reset(self) -> bool:
        self._entries = 0
        return True


class IBuilderConfig:
    """`tensorrt.IBuilderConfig`; TF32 is on by default, the workspace is all of the device's memory."""

    def __init__(self, env: Environment, builder: Builder) -> None:
        self._env, self._builder = env, builder
        self._flags = {"TF32"}
        self._pools: dict[str, int] = {"WORKSPACE": env.machine.settings.total_bytes}
        self._cache: ITimingCache | None = None
        self._monitor: IProgressMonitor | None = None
        self.builder_optimization_level = 3
        self.profiling_verbosity = env.enums["ProfilingVerbosity"]["LAYER_NAMES_ONLY"]
        self.max_aux_streams = -1
        self.avg_timing_iterations = 1

    int8_calibrator = property(lambda _: None)

    def set_flag(self, flag: Named) -> None:
        self._flags.add(self._env.enums["BuilderFlag"](flag).name)

    def clear_flag(self, flag: Named) -> None:
        self._flags.discard(flag.name)

    def get_flag(self, flag: Named) -> bool:
        return flag.name in self._flags

    @property
    def flags(self) -> int:
        return sum(1 << self._env.enums["BuilderFlag"][name].value for name in self._flags)

    def set_memory_pool_limit(self, pool: Named, pool_size: int) -> None:
        self._pools[self._env.enums["MemoryPoolType"](pool).name] = pool_size

    def get_memory_pool_limit(self, pool: Named) -> int:
        return self._pools.get(pool.name, 0)

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        """Make a cache; from no bytes a new one, from damaged ones None and an error on the logger."""
        content = bytes(memoryview(serialized_timing_cache))
        if not content:
            return ITimingCache(self._env.version.text, 0)
        try:
            fields = json.loads(content)
            return ITimingCache(fields["version"], fields["entries"])
        except (ValueError, KeyError, TypeError):
            self._env.refuse(self._builder._logger, "trt-timing-cache", "Timing cache: Serialization error")
            return None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache._version != self._env.version.text and not ignore_mismatch:
            self._env.refuse(self._builder._logger, "trt-timing-cache", "Timing cache: made by another version")
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache

    @property
    def progress_monitor(self) -> IProgressMonitor | None:
        return self._monitor

    @progress_monitor.setter
    def progress_monitor(self, monitor: IProgressMonitor | None) -> None:
        if monitor is not None:
            check_initialised(monitor, self._env.machine)
        self._monitor = monitor


class Builder:
    """`tensorrt.Builder(logger)`; it needs no current CUDA context."""

    env: Environment
    platform_has_fast_int8 = platform_has_fast_fp16 = platform_has_tf32 = True
    num_DLA_cores = 0  # noqa: N815 - the vendor's name

    def __init__(self, logger: ILogger) -> None:
        check_initialised(logger, self.env.machine)
        self._logger = logger

    @property
    def logger(self) -> ILogger:
        return self._logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return self.env.make("INetworkDefinition", self, flags)

    def create_builder_config(self) -> IBuilderConfig:
        return self.env.make("IBuilderConfig", self)

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        """Build; None and an error on the logger where it fails."""
        ordered = self.env.machine.faults.take("next_build")
        problem = ("", ordered) if ordered is not None else self._problem(network, config)
        if problem is not None:
            self.env.machine.refused.append(problem[0])
            self.env.tell(self._logger, "ERROR", problem[1])
            return None
        if not self._report(config.progress_monitor):
            self.env.refuse(self._logger, "trt-cancel", "The build was cancelled by the progress monitor.")
            return None
        if config._cache is not None:
            config._cache._entries += network.num_layers
        return IHostMemory(self._plan(network, config).to_bytes())

    def _problem(self, network: INetworkDefinition, config: IBuilderConfig) -> tuple[str, str] | None:
        prefix = "[network.cpp::validate] Error Code 4: Internal Error "
        if network._model is None:
            return "trt-damaged-plan", prefix + "(Network must have at least one output)"
        precise = sorted(config._flags & PRECISION_FLAGS)
        if network.is_strongly_typed and precise:
            return "trt-strong-flags", prefix + f"(strongly typed networks do not allow {', '.join(precise)})"
        quantised = any(layer.type.name in {"QUANTIZE", "DEQUANTIZE"} for layer in network._layers)
        if quantised and not network.is_strongly_typed and "INT8" not in precise:
            text = (
                "(Int8 precision has been set for a layer or layer output, but int8 is not configured in the builder)"
            )
            return "trt-int8-flag", prefix + text
        if any(-1 in tensor.shape or 0 in tensor.shape for tensor in network._inputs):
            return "trt-dynamic-shape", prefix + "(dynamic inputs, but no optimization profile has been defined)"
        if config._pools["WORKSPACE"] < WORKSPACE_BYTES:
            text = "Error Code 10: Internal Error (Could not find any implementation for node"
            return "trt-workspace", f"{text} {network._layers[0].name}.)"
        return None

    def _report(self, monitor: IProgressMonitor | None) -> bool:
        if monitor is None:
            return True
        phases = (("Building Engine", None), ("Timing Tactics", "Building Engine"))
        for name, parent in phases:
            monitor.phase_start(name, parent, 2)
        goes_on = True
        for name, _ in reversed(phases):
            goes_on = goes_on and all(monitor.step_complete(name, step) for step in range(2))
            monitor.phase_finish(name)
        return goes_on

    def _plan(self, network: INetworkDefinition, config: IBuilderConfig) -> Plan:
        return Plan(
            version=self.env.version.text,
            compute_capability=self.env.machine.settings.compute_capability,
            name=network.name,
            verbosity=config.profiling_verbosity.name,
            quantises=TensorProto.INT8 in element_types(network._model.graph).values(),
            host_code="VERSION_COMPATIBLE" in config._flags and "EXCLUDE_LEAN_RUNTIME" not in config._flags,
            scratch_bytes=SCRATCH_BYTES,
            model=network._content,
        )
