"""Puts the parts of one version of the fake `tensorrt` together."""

from __future__ import annotations

from types import ModuleType

from fakes import (
    tensorrt_build,
    tensorrt_calibrate,
    tensorrt_core,
    tensorrt_inspect,
    tensorrt_layer,
    tensorrt_network,
    tensorrt_onnx,
    tensorrt_run,
)
from fakes.cuda_machine import CudaMachine
from fakes.tensorrt_adders import LAYER_CLASSES
from fakes.tensorrt_core import Environment
from fakes.tensorrt_versions import DATA_TYPES, REMOVED_IN_11, enumerations, version_of

CLASSES = {
    "Builder": tensorrt_build.Builder,
    "INetworkDefinition": tensorrt_network.INetworkDefinition,
    "IBuilderConfig": tensorrt_build.IBuilderConfig,
    "ITensor": tensorrt_layer.ITensor,
    "ILayer": tensorrt_layer.ILayer,
    "OnnxParser": tensorrt_onnx.OnnxParser,
    "Runtime": tensorrt_run.Runtime,
    "ICudaEngine": tensorrt_run.ICudaEngine,
    "IExecutionContext": tensorrt_run.IExecutionContext,
    "EngineInspector": tensorrt_inspect.EngineInspector,
}
AS_THEY_ARE = {
    "ILogger": tensorrt_core.ILogger,
    "Logger": tensorrt_core.Logger,
    "IProgressMonitor": tensorrt_core.IProgressMonitor,
    "IHostMemory": tensorrt_core.IHostMemory,
    "ITimingCache": tensorrt_build.ITimingCache,
    "ParserError": tensorrt_onnx.ParserError,
    "nptype": tensorrt_core.nptype,
    "volume": tensorrt_core.volume,
}


class Absent:
    """An attribute that this version does not have."""

    def __init__(self, env: Environment) -> None:
        self._env = env

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> None:
        self._refuse(owner.__name__)

    def __set__(self, instance: object, value: object) -> None:
        self._refuse(type(instance).__name__)

    def _refuse(self, owner: str) -> None:
        self._env.machine.refused.append("trt-absent-name")
        raise AttributeError(f"TensorRT {self._env.version.text}: '{owner}' object has no attribute '{self._name}'")


def make_tensorrt(machine: CudaMachine, version: str) -> ModuleType:
    """Make the module for a machine and one of `tensorrt_versions.VERSIONS`."""
    known = version_of(version)
    env = Environment(machine, known, enumerations(known))
    module = Module("tensorrt", f"Fake of TensorRT {version}.")
    module._env = env
    for name, base in CLASSES.items():
        absent = REMOVED_IN_11.get(name, ()) if known.major >= 11 else ()
        env.classes[name] = type(name, (base,), {"env": env} | {key: Absent(env) for key in absent})
    for name, base in LAYER_CLASSES.items():
        env.classes[name] = type(name, (base, env.classes["ILayer"]), {})
    if known.major < 11:
        module.__dict__.update(tensorrt_calibrate.calibrators(env.enums["CalibrationAlgoType"]))
    module.__dict__.update(env.classes | env.enums | AS_THEY_ARE, __version__=version)
    for name, (_, alias) in DATA_TYPES.items():
        setattr(module, alias, env.enums["DataType"][name])
    return module


class Module(ModuleType):
    """A module that notes which names are asked for in vain."""

    def __getattr__(self, name: str) -> None:
        if "_env" in self.__dict__ and not name.startswith("__"):
            self._env.machine.refused.append("trt-absent-name")
        raise AttributeError(f"module 'tensorrt' has no attribute '{name}'")
