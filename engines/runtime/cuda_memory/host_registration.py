"""Registering host memory by CUDA's own library, for a binding that cannot.

PyCUDA's `register_host_memory` ends the process or raises SystemError since its release of 2024
(https://github.com/inducer/pycuda/issues/459), so that the ring could never be read in place.
"""

from __future__ import annotations

import ctypes
from typing import Any

from engines.errors import EngineError

_LIBRARY = "libcuda.so.1"
# CU_MEMHOSTREGISTER_DEVICEMAP of cuda.h.
_DEVICE_MAP = 2


def register(address: int, size: int) -> int:
    """Let the GPU of the current context read the caller's memory; returns its address for the GPU.

    Raises:
        EngineError: CUDA refused it.
    """
    library, what = _library(), "the frames cannot be registered"
    place = ctypes.c_void_p(address)
    _check(library.cuMemHostRegister_v2(place, ctypes.c_size_t(size), ctypes.c_uint(_DEVICE_MAP)), what)
    device = ctypes.c_uint64()
    try:
        _check(library.cuMemHostGetDevicePointer_v2(ctypes.byref(device), place, ctypes.c_uint(0)), what)
    except EngineError:
        library.cuMemHostUnregister(place)
        raise
    return device.value


def unregister(address: int) -> None:
    """Give the memory back to the CPU alone.

    Raises:
        EngineError: CUDA refused it.
    """
    _check(_library().cuMemHostUnregister(ctypes.c_void_p(address)), "the frames cannot be given back")


def _library() -> Any:
    # A second time it is the one that the binding has loaded.
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError as problem:
        raise EngineError(
            f"{_LIBRARY} cannot be opened: {problem}.", fix="It comes with the driver: see `edge-agent doctor`."
        ) from problem


def _check(code: int, what: str) -> None:
    if code:
        raise EngineError(
            f"CUDA: {what}: error {code}, which cuda.h names.",
            fix="Try cuda-python: `engine: {cuda: cuda-python}` in the station file. See `edge-agent doctor`.",
        )
