"""What the other parts of the fake `tensorrt` share: loggers, host memory, monitors, and the one environment."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field

import numpy as np

from fakes.cuda_machine import CudaMachine
from fakes.tensorrt_versions import DATA_TYPES, Named, Version, enumeration

SEVERITY = enumeration("Severity", {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3, "VERBOSE": 4})
LEVELS = {0: logging.CRITICAL, 1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}


class BaseInitialised:
    """A class of pybind11: who derives from it must call its `__init__`."""

    def __init__(self) -> None:
        self._initialised = True


def check_initialised(value: BaseInitialised, machine: CudaMachine) -> None:
    """Refuse an instance whose class left the base's `__init__` out, as pybind11 does."""
    if not getattr(value, "_initialised", False):
        machine.refused.append("trt-base-init")
        raise TypeError(f"{type(value).__name__}.__init__() must be called when overriding __init__")


class ILogger(BaseInitialised):
    """`tensorrt.ILogger`: derive from it and implement `log`."""

    Severity = SEVERITY
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = SEVERITY

    def log(self, severity: Named, msg: str) -> None:
        raise NotImplementedError('Tried to call pure virtual function "ILogger::log"')


class Logger(ILogger):
    """`tensorrt.Logger`; the real one prints, this one also tells the Python logger `tensorrt`."""

    def __init__(self, min_severity: Named = SEVERITY.WARNING) -> None:
        super().__init__()
        self.min_severity = min_severity

    def log(self, severity: Named, msg: str) -> None:
        if int(severity) <= int(self.min_severity):
            logging.getLogger("tensorrt").log(LEVELS[int(severity)], msg)


class IProgressMonitor(BaseInitialised):
    """`tensorrt.IProgressMonitor`: derive from it and implement all three."""

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError('Tried to call pure virtual function "IProgressMonitor::phase_start"')

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError('Tried to call pure virtual function "IProgressMonitor::step_complete"')

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError('Tried to call pure virtual function "IProgressMonitor::phase_finish"')


class IHostMemory(bytes):
    """Memory of the library: a buffer with `nbytes`, and nothing else that bytes can do."""

    @property
    def nbytes(self) -> int:
        return memoryview(self).nbytes

    def __bool__(self) -> bool:
        return True

    def _refused(self, *_: object) -> None:
        raise TypeError("IHostMemory has the buffer protocol and nbytes only; take bytes() of it")

    __len__ = __getitem__ = __iter__ = __eq__ = __contains__ = decode = hex = _refused
    __hash__ = None


@dataclass(eq=False)
class Environment:
    """One fake module: its machine, version, enumerations and classes."""

    machine: CudaMachine
    version: Version
    enums: dict[str, type[Named]]
    classes: dict[str, type] = field(default_factory=dict)

    def tell(self, logger: ILogger, severity: str, text: str) -> None:
        """Give a message to a logger; what that raises is printed and lost, as in the bindings."""
        try:
            logger.log(SEVERITY[severity], text)
        except Exception as problem:  # noqa: BLE001 - the bindings catch everything
            print(f"[ERROR] Exception caught in log(): {problem!r}", file=sys.stderr)

    def refuse(self, logger: ILogger, rule: str, text: str) -> None:
        """Note a broken rule that the library reports as an error on the logger."""
        self.machine.refused.append(rule)
        self.tell(logger, "ERROR", text)

    def make(self, name: str, *args: object) -> object:
        return self.classes[name](self, *args)


NUMPY_TYPES = {name: name for name in ("float32", "float16", "int8", "int32", "int64", "uint8")} | {"bool": "bool_"}


def nptype(trt_type: Named) -> type:
    """Return the NumPy type of a `DataType`."""
    name = DATA_TYPES[trt_type.name][1]
    if name not in NUMPY_TYPES:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return getattr(np, NUMPY_TYPES[name])


def volume(iterable: object) -> int:
    """Return the product of all elements; 1 for none."""
    return int(np.prod(tuple(iterable), dtype=np.int64))
