"""CUDA through cuda-python: the driver's own functions, each of which returns its error code first."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

try:
    from cuda.bindings import driver as cuda
except ImportError:  # cuda-python before 12.8
    from cuda import cuda

from engines.errors import EngineError
from engines.runtime.cuda_memory import Bytes, DeviceFacts, Possessions, Shared

_FIX = "See `edge-agent doctor`; if the GPU has failed, restart the service."


class CudaPythonMemory:
    """See `CudaMemory`."""

    binding = "cuda-python"

    def __init__(self) -> None:
        self._owned = Possessions()
        try:
            _call(cuda.cuInit, 0)
        except RuntimeError as problem:
            # The binding looks for the driver's library at its first call.
            raise EngineError(
                f"CUDA: {problem}", fix="This machine has no NVIDIA driver: use the engine `cpu`."
            ) from problem
        self._device = _call(cuda.cuDeviceGet, 0)
        self.facts = _read_facts(self._device)
        self._context = _call(cuda.cuDevicePrimaryCtxRetain, self._device)
        with self.current():
            self._stream = _call(cuda.cuStreamCreate, int(cuda.CUstream_flags.CU_STREAM_NON_BLOCKING))
        self._own(cuda.cuStreamDestroy, self._stream)
        self.stream = int(self._stream)

    @contextmanager
    def current(self) -> Iterator[None]:
        _call(cuda.cuCtxPushCurrent, self._context)
        try:
            yield
        finally:
            _call(cuda.cuCtxPopCurrent)

    def register(self, array: Bytes) -> int:
        _call(cuda.cuMemHostRegister, array.ctypes.data, array.nbytes, cuda.CU_MEMHOSTREGISTER_DEVICEMAP)
        self._own(cuda.cuMemHostUnregister, array.ctypes.data)
        return int(_call(cuda.cuMemHostGetDevicePointer, array.ctypes.data, 0))

    def mapped(self, size: int) -> Shared:
        host = int(_call(cuda.cuMemHostAlloc, size, cuda.CU_MEMHOSTALLOC_DEVICEMAP))
        self._own(cuda.cuMemFreeHost, host)
        return Shared(_array_at(host, size), int(_call(cuda.cuMemHostGetDevicePointer, host, 0)))

    def managed(self, size: int) -> Shared:
        flags = int(cuda.CUmemAttach_flags.CU_MEM_ATTACH_GLOBAL)
        address = _call(cuda.cuMemAllocManaged, size, flags)
        self._own(cuda.cuMemFree, address)
        return Shared(_array_at(int(address), size), int(address))

    def device(self, size: int) -> int:
        address = _call(cuda.cuMemAlloc, size)
        self._own(cuda.cuMemFree, address)
        return int(address)

    def copy_in(self, address: int, array: Bytes) -> None:
        _call(cuda.cuMemcpyHtoDAsync, address, array.ctypes.data, array.nbytes, self._stream)

    def synchronize(self) -> None:
        _call(cuda.cuStreamSynchronize, self._stream)

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None] | None:
        mode = cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _call(cuda.cuStreamBeginCapture, self._stream, mode)
        try:
            enqueue()
        finally:
            graph = _call(cuda.cuStreamEndCapture, self._stream)
        try:
            executable = _call(cuda.cuGraphInstantiate, graph, 0)
        finally:
            _call(cuda.cuGraphDestroy, graph)
        self._own(cuda.cuGraphExecDestroy, executable)
        return lambda: _call(cuda.cuGraphLaunch, executable, self._stream)

    def mark(self) -> int:
        return self._owned.mark()

    def release(self, mark: int) -> None:
        self._owned.release(mark)

    def close(self) -> None:
        if self._context is None:
            return
        with self.current():
            self.release(0)
        self._context = None
        _call(cuda.cuDevicePrimaryCtxRelease, self._device)

    def _own(self, free: Callable[..., Any], resource: Any) -> None:
        self._owned.add(lambda: _call(free, resource))


def _read_facts(device: Any) -> DeviceFacts:
    kinds = cuda.CUdevice_attribute

    def attribute(kind: Any) -> int:
        return int(_call(cuda.cuDeviceGetAttribute, kind, device))

    return DeviceFacts(
        name=_call(cuda.cuDeviceGetName, 256, device).split(b"\0")[0].decode(),
        compute_capability=(
            attribute(kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            attribute(kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        ),
        driver=int(_call(cuda.cuDriverGetVersion)),
        integrated=bool(attribute(kinds.CU_DEVICE_ATTRIBUTE_INTEGRATED)),
        can_register=bool(attribute(kinds.CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED)),
    )


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call the driver; returns what it returns after its error code.

    Raises:
        EngineError: The code is not 0.
    """
    code, *values = function(*arguments)
    if int(code) != 0:
        named, name = cuda.cuGetErrorName(code)
        text = name.decode() if int(named) == 0 and name else f"error {int(code)}"
        raise EngineError(f"CUDA: {function.__name__} failed with {text}.", fix=_FIX)
    return values[0] if values else None


def _array_at(address: int, size: int) -> Bytes:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
