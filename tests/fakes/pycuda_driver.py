"""The surface of `pycuda.driver`, from the sources of PyCUDA 2026.1.

Three things that it does not have, although one would expect them: graphs, an enumeration of stream flags (pass the
number), and a `handle` on `Event`, so that no event of it can be given to TensorRT. `Context.detach` of a primary
context that is not current pushes it and leaves it on the driver's stack.
"""

from __future__ import annotations

from enum import IntEnum
from types import ModuleType, SimpleNamespace

import numpy as np

from fakes.cuda_codes import CudaError, CUresult, error_string
from fakes.cuda_device import ATTRIBUTES
from fakes.cuda_machine import CudaMachine
from fakes.pycuda_context import PycudaContexts
from fakes.pycuda_objects import make_objects


class Error(Exception):
    """`pycuda.driver.Error`."""


class MemoryError(Error):  # noqa: A001 - the vendor's name
    """`pycuda.driver.MemoryError`."""


class LogicError(Error):
    """`pycuda.driver.LogicError`."""


class LaunchError(Error):
    """`pycuda.driver.LaunchError`."""


class RuntimeError(Error):  # noqa: A001 - the vendor's name
    """`pycuda.driver.RuntimeError`."""


KINDS = {
    CUresult.CUDA_ERROR_LAUNCH_FAILED: LaunchError,
    CUresult.CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: LaunchError,
    CUresult.CUDA_ERROR_LAUNCH_TIMEOUT: LaunchError,
    CUresult.CUDA_ERROR_OUT_OF_MEMORY: MemoryError,
    CUresult.CUDA_ERROR_NO_DEVICE: RuntimeError,
    CUresult.CUDA_ERROR_NOT_READY: RuntimeError,
    CUresult.CUDA_ERROR_ECC_UNCORRECTABLE: RuntimeError,
    CUresult.CUDA_ERROR_UNKNOWN: Error,
}


def translated(error: CudaError, routine: str) -> Error:
    """Return the exception that PyCUDA raises for a code (`translate_cuda_error`), with its message."""
    return KINDS.get(error.code, LogicError)(f"{routine} failed: {error_string(error.code)}")


def make_pycuda(machine: CudaMachine) -> ModuleType:
    """Make the module for a machine."""
    module = ModuleType("pycuda.driver", "Fake of PyCUDA 2026.1.")
    contexts = PycudaContexts(machine, translated)
    objects = make_objects(contexts)
    module.__dict__.update(objects, Error=Error, MemoryError=MemoryError, LogicError=LogicError)
    module.__dict__.update(LaunchError=LaunchError, RuntimeError=RuntimeError)
    module.device_attribute = IntEnum("device_attribute", ATTRIBUTES)
    module.mem_attach_flags = IntEnum("mem_attach_flags", {"GLOBAL": 1, "HOST": 2, "SINGLE": 4})
    module.event_flags = IntEnum(
        "event_flags", {"DEFAULT": 0, "BLOCKING_SYNC": 1, "DISABLE_TIMING": 2, "INTERPROCESS": 4}
    )
    module.host_alloc_flags = SimpleNamespace(PORTABLE=1, DEVICEMAP=2, WRITECOMBINED=4)
    module.mem_host_register_flags = SimpleNamespace(PORTABLE=1, DEVICEMAP=2)
    module.get_driver_version = lambda: machine.settings.driver_version
    module.init = contexts.guarded("cuInit", lambda flags=0: machine.init())
    _add_copies(module, contexts)
    return module


def _add_copies(module: ModuleType, contexts: PycudaContexts) -> None:
    machine = contexts.machine

    def memcpy_htod_async(dest: object, src: object, stream: object = None) -> None:
        source = _buffer(src, writable=False)
        machine.copy_to_device(int(dest), source.ctypes.data, source.nbytes, _handle(stream))

    def memcpy_dtoh_async(dest: object, src: object, stream: object = None) -> None:
        target = _buffer(dest, writable=True)
        machine.copy_to_host(target.ctypes.data, int(src), target.nbytes, _handle(stream))

    def memset_d8_async(dest: object, data: int, size: int, stream: object = None) -> None:
        machine.fill(int(dest), data, size, _handle(stream), width=1)

    def memset_d32_async(dest: object, data: int, size: int, stream: object = None) -> None:
        machine.fill(int(dest), data, size, _handle(stream), width=4)

    module.memcpy_htod_async = contexts.guarded("cuMemcpyHtoDAsync", memcpy_htod_async)
    module.memcpy_dtoh_async = contexts.guarded("cuMemcpyDtoHAsync", memcpy_dtoh_async)
    module.memset_d8_async = contexts.guarded("cuMemsetD8Async", memset_d8_async)
    module.memset_d32_async = contexts.guarded("cuMemsetD32Async", memset_d32_async)


def _handle(stream: object) -> int:
    return 0 if stream is None else stream.handle


def _buffer(value: object, *, writable: bool) -> np.ndarray:
    view = memoryview(value)
    if not view.contiguous:
        raise BufferError("ndarray is not contiguous")
    if writable and view.readonly:
        raise BufferError("buffer source array is read-only")
    return np.asarray(value) if isinstance(value, np.ndarray) else np.frombuffer(view, np.uint8)
