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
    library = _library()
    _check(library.cuMemHostRegister_v2(ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_uint(_DEVICE_MAP)))
    device = ctypes.c_uint64()
    try:
        _check(library.cuMemHostGetDevicePointer_v2(ctypes.byref(device), ctypes.c_void_p(address), ctypes.c_uint(0)))
    except EngineError:
        library.cuMemHostUnregister(ctypes.c_void_p(address))
        raise
    return device.value


def unregister(address: int) -> None:
    """Give the memory back to the CPU alone.

    Raises:
        EngineError: CUDA refused it.
    """
    _check(_library().cuMemHostUnregister(ctypes.c_void_p(address)))


def _library() -> Any:
    # A second time it is the one that the binding has loaded.
    return ctypes.CDLL(_LIBRARY)


def _check(code: int) -> None:
    if code:
        raise EngineError(
            f"CUDA: the frames cannot be registered: error {code} of cuda.h.",
            fix="Give `edge-engines bench --memory device` a try; if it works, the ring can only be copied here.",
        )
