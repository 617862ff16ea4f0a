"""The surface of `cuda.bindings.driver`: tuples with a code in front, and never an exception of its own.

Signatures, names and values were read from cuda-bindings 12.9.10 and 13.5.0, which can be imported without a driver.
Where a call fails the values behind the code are None.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from types import ModuleType

from fakes.cuda_codes import CudaError, CUresult, error_string
from fakes.cuda_device import ATTRIBUTES
from fakes.cuda_machine import CudaMachine

NAME = "cuda.bindings.driver"


class Handle:
    """An opaque handle: `int()` gives its value."""

    def __init__(self, init_value: int = 0) -> None:
        self._value = int(init_value)

    def __int__(self) -> int:
        return self._value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and int(other) == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._value:#x}>"


class IndexedHandle(Handle):
    """A handle that also serves as an index; `CUdeviceptr` and `CUdevice` do not."""

    def __index__(self) -> int:
        return self._value


class CUuuid:
    """Sixteen bytes."""

    def __init__(self, value: bytes) -> None:
        self.bytes = value


HANDLES = {name: type(name, (Handle,), {}) for name in ("CUdevice", "CUdeviceptr")} | {
    name: type(name, (IndexedHandle,), {}) for name in ("CUcontext", "CUstream", "CUevent", "CUgraph", "CUgraphExec")
}
ENUMS = {
    "CUdevice_attribute": {f"CU_DEVICE_ATTRIBUTE_{name}": value for name, value in ATTRIBUTES.items()},
    "CUmemAttach_flags": {"CU_MEM_ATTACH_GLOBAL": 1, "CU_MEM_ATTACH_HOST": 2, "CU_MEM_ATTACH_SINGLE": 4},
    "CUstream_flags": {"CU_STREAM_DEFAULT": 0, "CU_STREAM_NON_BLOCKING": 1},
    "CUevent_flags": {
        "CU_EVENT_DEFAULT": 0,
        "CU_EVENT_BLOCKING_SYNC": 1,
        "CU_EVENT_DISABLE_TIMING": 2,
        "CU_EVENT_INTERPROCESS": 4,
    },
    "CUevent_wait_flags": {"CU_EVENT_WAIT_DEFAULT": 0, "CU_EVENT_WAIT_EXTERNAL": 1},
    "CUstreamCaptureMode": {
        "CU_STREAM_CAPTURE_MODE_GLOBAL": 0,
        "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL": 1,
        "CU_STREAM_CAPTURE_MODE_RELAXED": 2,
    },
    "CUstreamCaptureStatus": {
        "CU_STREAM_CAPTURE_STATUS_NONE": 0,
        "CU_STREAM_CAPTURE_STATUS_ACTIVE": 1,
        "CU_STREAM_CAPTURE_STATUS_INVALIDATED": 2,
    },
}
CONSTANTS = {
    "CU_MEMHOSTALLOC_PORTABLE": 1,
    "CU_MEMHOSTALLOC_DEVICEMAP": 2,
    "CU_MEMHOSTALLOC_WRITECOMBINED": 4,
    "CU_MEMHOSTREGISTER_PORTABLE": 1,
    "CU_MEMHOSTREGISTER_DEVICEMAP": 2,
    "CU_MEMHOSTREGISTER_IOMEMORY": 4,
    "CU_MEMHOSTREGISTER_READ_ONLY": 8,
    "CU_STREAM_LEGACY": 1,
    "CU_STREAM_PER_THREAD": 2,
}


def address_of(value: object) -> int:
    """Return a host address given as an int, a handle or anything with a buffer."""
    if isinstance(value, int | Handle):
        return int(value)
    view = memoryview(value)
    if not view.contiguous:
        raise TypeError("the buffer is not contiguous")
    if view.readonly:
        import numpy as np

        return int(np.frombuffer(view, np.uint8).ctypes.data)
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def make_driver(machine: CudaMachine, version: str, name: str = NAME) -> ModuleType:
    """Make the module for a machine and a version of cuda-bindings."""
    module = ModuleType(name, f"Fake of cuda-bindings {version}.")
    enums = {key: IntEnum(key, values) for key, values in ENUMS.items()}
    module.__dict__.update(HANDLES | enums | CONSTANTS, CUresult=CUresult, CUuuid=CUuuid)
    module.CUDA_VERSION = 13050 if version.startswith("13") else 12090
    functions = _device_calls(machine) | _context_calls(machine) | _memory_calls(machine)
    functions |= _stream_calls(machine) | _event_calls(machine) | _graph_calls(machine)
    for key, (function, values) in functions.items():
        setattr(module, key, _returning_codes(machine, key, function, values))
    module.cuGetErrorName = lambda error: (CUresult.CUDA_SUCCESS, CUresult(error).name.encode())
    module.cuGetErrorString = lambda error: (CUresult.CUDA_SUCCESS, error_string(CUresult(error)).encode())
    return module


def _returning_codes(machine: CudaMachine, name: str, function: Callable[..., object], values: int):
    def call(*args: object) -> tuple[object, ...]:
        try:
            with machine.lock:
                result = function(*args)
        except CudaError as error:
            return (error.code, *[None] * values)
        if isinstance(result, CUresult):
            return (result,)
        return (CUresult.CUDA_SUCCESS, result) if values else (CUresult.CUDA_SUCCESS,)

    call.__name__ = name
    return call


def _ready(is_done: bool) -> CUresult:
    return CUresult.CUDA_SUCCESS if is_done else CUresult.CUDA_ERROR_NOT_READY


def _device_calls(machine: CudaMachine):
    settings, handle = machine.settings, HANDLES["CUdevice"]

    def read(name: str, value: object) -> object:
        machine.enter(name, context=False)
        return value

    def get(ordinal: int) -> Handle:
        machine.enter("cuDeviceGet", context=False)
        if ordinal != 0:
            raise CudaError(CUresult.CUDA_ERROR_INVALID_DEVICE, None, f"device {ordinal}")
        return handle(0)

    def text(name: str, length: int, value: str) -> bytes:
        # The driver writes up to the terminator into a buffer of blanks.
        return read(name, (value.encode()[: length - 1] + b"\0").ljust(length))

    return {
        "cuInit": (lambda _flags: machine.init(), 0),
        "cuDriverGetVersion": (lambda: settings.driver_version, 1),
        "cuDeviceGet": (get, 1),
        "cuDeviceGetCount": (lambda: read("cuDeviceGetCount", 1), 1),
        "cuDeviceGetName": (lambda length, _device: text("cuDeviceGetName", length, settings.name), 1),
        "cuDeviceGetPCIBusId": (lambda length, _device: text("cuDeviceGetPCIBusId", length, settings.pci_bus_id), 1),
        "cuDeviceTotalMem": (lambda _device: read("cuDeviceTotalMem", settings.total_bytes), 1),
        "cuDeviceGetUuid": (lambda _device: read("cuDeviceGetUuid", CUuuid(settings.uuid)), 1),
        "cuDeviceGetAttribute": (
            lambda attribute, _device: read("cuDeviceGetAttribute", settings.attribute(attribute)),
            1,
        ),
    }


def _context_calls(machine: CudaMachine):
    handle = HANDLES["CUcontext"]

    def wrap(context: object) -> Handle:
        return handle(0 if context is None else context.handle)

    def find(value: object) -> object:
        machine.enter("cuCtxSetCurrent", context=False)
        return machine.context_by_handle(int(value))

    return {
        "cuDevicePrimaryCtxRetain": (lambda _device: wrap(machine.retain_primary()), 1),
        "cuDevicePrimaryCtxRelease": (lambda _device: machine.release_primary(), 0),
        "cuCtxGetCurrent": (lambda: wrap(machine.get_current()), 1),
        "cuCtxSetCurrent": (lambda context: machine.set_current(find(context)), 0),
        "cuCtxPushCurrent": (lambda context: machine.push(find(context)), 0),
        "cuCtxPopCurrent": (lambda: wrap(machine.pop()), 1),
        "cuCtxSynchronize": (machine.synchronize_all, 0),
    }


def _memory_calls(machine: CudaMachine):
    pointer = HANDLES["CUdeviceptr"]

    def register(p: object, nbytes: int, flags: int) -> None:
        machine.register_host(address_of(p), nbytes, flags)

    return {
        "cuMemHostRegister": (register, 0),
        "cuMemHostUnregister": (lambda p: machine.unregister_host(address_of(p)), 0),
        "cuMemHostGetDevicePointer": (lambda p, flags: pointer(machine.device_pointer(address_of(p), flags)), 1),
        "cuMemHostAlloc": (lambda nbytes, flags: machine.alloc_host(nbytes, flags).host, 1),
        "cuMemFreeHost": (lambda p: machine.free_host(address_of(p)), 0),
        "cuMemAlloc": (lambda nbytes: pointer(machine.alloc_device(nbytes).device), 1),
        "cuMemFree": (lambda address: machine.free_device(int(address)), 0),
        "cuMemAllocManaged": (lambda nbytes, flags: pointer(machine.alloc_managed(nbytes, flags).device), 1),
        "cuMemcpyHtoDAsync": (
            lambda to, source, nbytes, stream: machine.copy_to_device(int(to), address_of(source), nbytes, int(stream)),
            0,
        ),
        "cuMemcpyDtoHAsync": (
            lambda to, source, nbytes, stream: machine.copy_to_host(address_of(to), int(source), nbytes, int(stream)),
            0,
        ),
        "cuMemsetD8Async": (
            lambda to, value, number, stream: machine.fill(int(to), value, number, int(stream), width=1),
            0,
        ),
        "cuMemsetD32Async": (
            lambda to, value, number, stream: machine.fill(int(to), value, number, int(stream), width=4),
            0,
        ),
    }


def _stream_calls(machine: CudaMachine):
    handle, status = HANDLES["CUstream"], IntEnum("CUstreamCaptureStatus", ENUMS["CUstreamCaptureStatus"])
    return {
        "cuStreamCreate": (lambda flags: handle(machine.create_stream(flags).handle), 1),
        "cuStreamDestroy": (lambda stream: machine.destroy_stream(int(stream)), 0),
        "cuStreamSynchronize": (lambda stream: machine.synchronize_stream(int(stream)), 0),
        "cuStreamQuery": (lambda stream: _ready(machine.query_stream(int(stream))), 0),
        "cuStreamWaitEvent": (lambda stream, event, _flags: machine.wait_event(int(stream), int(event)), 0),
        "cuStreamBeginCapture": (lambda stream, mode: machine.begin_capture(int(stream), int(mode)), 0),
        "cuStreamEndCapture": (lambda stream: HANDLES["CUgraph"](machine.end_capture(int(stream)).handle), 1),
        "cuStreamIsCapturing": (lambda stream: status(machine.capture_status(int(stream))), 1),
    }


def _event_calls(machine: CudaMachine):
    handle = HANDLES["CUevent"]
    return {
        "cuEventCreate": (lambda flags: handle(machine.create_event(flags).handle), 1),
        "cuEventDestroy": (lambda event: machine.destroy_event(int(event)), 0),
        "cuEventRecord": (lambda event, stream: machine.record_event(int(event), int(stream)), 0),
        "cuEventQuery": (lambda event: _ready(machine.query_event(int(event))), 0),
        "cuEventSynchronize": (lambda event: machine.synchronize_event(int(event)), 0),
        "cuEventElapsedTime": (lambda start, end: machine.elapsed_ms(int(start), int(end)), 1),
    }


def _graph_calls(machine: CudaMachine):
    handle = HANDLES["CUgraphExec"]
    return {
        "cuGraphInstantiate": (lambda graph, _flags: handle(machine.instantiate(int(graph)).handle), 1),
        "cuGraphLaunch": (lambda executable, stream: machine.launch(int(executable), int(stream)), 0),
        "cuGraphDestroy": (lambda graph: machine.destroy_graph(int(graph)), 0),
        "cuGraphExecDestroy": (lambda executable: machine.destroy_exec(int(executable)), 0),
    }
