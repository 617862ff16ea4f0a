"""Builder, network, configuration and timing cache.

Python objects keep what they need alive (`py::keep_alive` in the bindings), so that the order in which the caller
lets go of builder, network, parser and configuration does not matter.
"""

from __future__ import annotations

import json

import onnx
from onnx import TensorProto

from fakes.tensorrt_core import Environment, IHostMemory, ILogger, IProgressMonitor, check_initialised
from fakes.tensorrt_facts import InvalidNetworkError
from fakes.tensorrt_graph import live_layers, write_model
from fakes.tensorrt_layer import ILayer
from fakes.tensorrt_network import INetworkDefinition
from fakes.tensorrt_onnx import element_types
from fakes.tensorrt_plan import Plan
from fakes.tensorrt_precision import check_precisions, implicit_int8, is_explicit
from fakes.tensorrt_versions import Named

SCRATCH_BYTES = 64 * 1024
WORKSPACE_BYTES = 16 * 1024


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
        self._calibrator: object = None
        self._devices: dict[str, Named] = {}
        self.default_device_type = env.enums["DeviceType"].GPU
        self.DLA_core = -1
        self.builder_optimization_level = 3
        self.profiling_verbosity = env.enums["ProfilingVerbosity"]["LAYER_NAMES_ONLY"]
        self.max_aux_streams = -1
        self.avg_timing_iterations = 1

    @property
    def int8_calibrator(self) -> object:
        return self._calibrator

    @int8_calibrator.setter
    def int8_calibrator(self, calibrator: object) -> None:
        if calibrator is not None:
            check_initialised(calibrator, self._env.machine)
        self._calibrator = calibrator

    def set_device_type(self, layer: ILayer, device_type: Named) -> None:
        self._devices[layer.name] = device_type

    def get_device_type(self, layer: ILayer) -> Named:
        return self._devices.get(layer.name, self.default_device_type)

    def can_run_on_DLA(self, layer: ILayer) -> bool:  # noqa: N802 - the vendor's name
        """Say whether the deep learning accelerator can run a layer; this device has none."""
        return False

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
        try:
            ordered = self.env.machine.faults.take("next_build")
            model = None if ordered is not None else self._model(network, config)
        except InvalidNetworkError as problem:
            self.env.refuse(self._logger, problem.rule, str(problem))
            return None
        if model is None:
            self.env.tell(self._logger, "ERROR", ordered)
            return None
        if not self._report(config.progress_monitor):
            self.env.refuse(self._logger, "trt-cancel", "The build was cancelled by the progress monitor.")
            return None
        if config._cache is not None:
            config._cache._entries += network.num_layers
        return IHostMemory(self._plan(network, config, model).to_bytes())

    def _model(self, network: INetworkDefinition, config: IBuilderConfig) -> onnx.ModelProto:
        """Check everything, calibrate where that is needed, and return what the plan computes.

        Raises:
            InvalidNetworkError: The library refuses to build.
        """
        prefix = "[network.cpp::validate] Error Code 4: Internal Error "
        layers = live_layers(network)
        check_precisions(network, config, layers, prefix)
        if any(-1 in tensor.shape or 0 in tensor.shape for tensor in network._inputs):
            text = "(dynamic inputs, but no optimization profile has been defined)"
            raise InvalidNetworkError("trt-dynamic-shape", prefix + text)
        if config._pools["WORKSPACE"] < WORKSPACE_BYTES:
            text = "Error Code 10: Internal Error (Could not find any implementation for node"
            raise InvalidNetworkError("trt-workspace", f"{text} {network._layers[0].name}.)")
        if "INT8" in config._flags and not is_explicit(layers):
            return implicit_int8(network, config, layers)
        return write_model(network, layers)

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

    def _plan(self, network: INetworkDefinition, config: IBuilderConfig, model: onnx.ModelProto) -> Plan:
        return Plan(
            version=self.env.version.text,
            compute_capability=self.env.machine.settings.compute_capability,
            name=network.name,
            verbosity=config.profiling_verbosity.name,
            quantises=TensorProto.INT8 in element_types(model.graph).values(),
            host_code="VERSION_COMPATIBLE" in config._flags and "EXCLUDE_LEAN_RUNTIME" not in config._flags,
            scratch_bytes=SCRATCH_BYTES,
            model=model.SerializeToString(),
        )
