"""PyCUDA's objects: they own what they stand for and give it back when they die."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fakes.cuda_codes import CudaError, CUresult
from fakes.pycuda_context import Context, PycudaContexts
from fakes.rules import BrokenRuleError


def make_objects(contexts: PycudaContexts) -> dict[str, object]:
    """Make the classes and the functions that return them, bound to the stacks of one module."""
    context = type("Context", (Context,), {"contexts": contexts})
    for name in ("push", "detach"):
        setattr(context, name, contexts.guarded(name, getattr(context, name)))
    for name in ("pop", "synchronize", "get_current"):
        setattr(context, name, staticmethod(contexts.guarded(name, getattr(context, name))))
    return (
        {"Context": context, "Device": _device(contexts, context)}
        | {"Stream": _stream(contexts), "Event": _event(contexts)}
        | _allocations(contexts)
        | _host_arrays(contexts)
    )


class Owned:
    """Something that is given back once, in the context in which it was made."""

    _routine = "object"
    _give_back: Callable[[], None]

    def _own(self, contexts: PycudaContexts, give_back: Callable[[], None]) -> None:
        self._contexts, self._owner, self._give_back, self._valid = contexts, contexts.required(), give_back, True

    def _free(self) -> None:
        if not self._valid:
            raise self._contexts.machine.refuse(CUresult.CUDA_ERROR_INVALID_HANDLE, "pycuda-free-twice", self._routine)
        self._contexts.clean_up(self._owner, self._give_back, self._routine)
        self._valid = False

    def __del__(self) -> None:
        if getattr(self, "_valid", False):
            try:
                self._free()
            except (BrokenRuleError, CudaError):
                self._valid = False  # noted on the machine; a destructor can only print


def _device(contexts: PycudaContexts, context: type) -> type:
    machine = contexts.machine

    class Device:
        def __init__(self, number: int) -> None:
            machine.enter("cuDeviceGet", context=False)
            if number != 0:
                raise CudaError(CUresult.CUDA_ERROR_INVALID_DEVICE, None, f"device {number}")

        @staticmethod
        def count() -> int:
            machine.enter("cuDeviceGetCount", context=False)
            return 1

        def name(self) -> str:
            return machine.settings.name

        def pci_bus_id(self) -> str:
            return machine.settings.pci_bus_id

        def compute_capability(self) -> tuple[int, int]:
            return machine.settings.compute_capability

        def total_memory(self) -> int:
            return machine.settings.total_bytes

        def get_attribute(self, attribute: int) -> int:
            return machine.settings.attribute(attribute)

        def retain_primary_context(self) -> Context:
            return context(machine.retain_primary())

    return _guard(contexts, Device)


def _stream(contexts: PycudaContexts) -> type:
    machine = contexts.machine

    class Stream(Owned):
        _routine = "stream"

        def __init__(self, flags: int = 0) -> None:
            contexts.required()
            handle = self.handle = machine.create_stream(flags).handle
            # Not through `self`: with its last reference it is gone, as in the library.
            self._own(contexts, lambda: machine.destroy_stream(handle))

        def synchronize(self) -> None:
            machine.synchronize_stream(self.handle)

        def is_done(self) -> bool:
            return machine.query_stream(self.handle)

        def wait_for_event(self, event: object) -> None:
            machine.wait_event(self.handle, event._handle)

    return _guard(contexts, Stream)


def _event(contexts: PycudaContexts) -> type:
    machine = contexts.machine

    class Event(Owned):
        _routine = "event"

        def __init__(self, flags: int = 0) -> None:
            contexts.required()
            handle = self._handle = machine.create_event(int(flags)).handle
            self._own(contexts, lambda: machine.destroy_event(handle))

        def record(self, stream: object = None) -> object:
            machine.record_event(self._handle, 0 if stream is None else stream.handle)
            return self

        def synchronize(self) -> object:
            machine.synchronize_event(self._handle)
            return self

        def query(self) -> bool:
            return machine.query_event(self._handle)

        def time_till(self, end: object) -> float:
            return machine.elapsed_ms(self._handle, end._handle)

        def time_since(self, start: object) -> float:
            return machine.elapsed_ms(start._handle, self._handle)

    return _guard(contexts, Event)


def _allocations(contexts: PycudaContexts) -> dict[str, object]:
    device, pointer = _device_allocation(contexts), _host_pointer(contexts)
    managed = _guard(contexts, type("ManagedAllocation", (device,), {}))
    managed.get_device_pointer = device.__int__
    pagelocked = _guard(contexts, type("PagelockedHostAllocation", (pointer,), {"free": Owned._free}))
    machine = contexts.machine

    def mem_alloc(nbytes: int) -> object:
        contexts.required()
        block = machine.alloc_device(nbytes)
        return device(block.device, lambda: machine.free_device(block.device))

    def pagelocked_empty(shape: object, dtype: object, order: str = "C", mem_flags: int = 0) -> np.ndarray:
        contexts.required()
        block = machine.alloc_host(_nbytes(shape, dtype), int(mem_flags))
        return _array(pagelocked(block.host, lambda: machine.free_host(block.host)), shape, dtype, order)

    def managed_empty(shape: object, dtype: object, order: str = "C", mem_flags: int = 0) -> np.ndarray:
        contexts.required()
        block = machine.alloc_managed(_nbytes(shape, dtype), int(mem_flags))
        return _array(managed(block.device, lambda: machine.free_device(block.device)), shape, dtype, order)

    return _named(contexts, (mem_alloc, pagelocked_empty, managed_empty), (device, managed, pagelocked))


def _host_arrays(contexts: PycudaContexts) -> dict[str, object]:
    machine = contexts.machine

    def register_host_memory(ary: np.ndarray, flags: int = 0) -> np.ndarray:
        machine.refused.append("pycuda-register")
        raise SystemError("error return without exception set")

    return _named(contexts, (register_host_memory,), ())


def _named(contexts: PycudaContexts, functions: tuple, classes: tuple) -> dict[str, object]:
    return {f.__name__: contexts.guarded(f.__name__, f) for f in functions} | {c.__name__: c for c in classes}


def _device_allocation(contexts: PycudaContexts) -> type:
    class DeviceAllocation(Owned):
        _routine = "device_allocation::free"

        def __init__(self, address: int, give_back: Callable[[], None]) -> None:
            self._address = address
            self._own(contexts, give_back)

        def __int__(self) -> int:
            return self._address

        __index__ = __int__

        def free(self) -> None:
            self._free()

    return _guard(contexts, DeviceAllocation)


def _host_pointer(contexts: PycudaContexts) -> type:
    class HostPointer(Owned):
        _routine = "host_allocation"

        def __init__(self, address: int, give_back: Callable[[], None] | None) -> None:
            self._address = address
            if give_back is not None:
                self._own(contexts, give_back)

        def get_device_pointer(self) -> int:
            return contexts.machine.device_pointer(self._address)

    return _guard(contexts, HostPointer)


def _guard(contexts: PycudaContexts, kind: type) -> type:
    """Let every public method and the constructor of a class raise PyCUDA's exceptions."""
    for name, value in list(vars(kind).items()):
        if isinstance(value, staticmethod):
            setattr(kind, name, staticmethod(contexts.guarded(name, value.__func__)))
        elif callable(value) and (name == "__init__" or not name.startswith("_")):
            setattr(kind, name, contexts.guarded(f"{kind.__name__}.{name}", value))
    return kind


def _nbytes(shape: object, dtype: object) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def _array(owner: object, shape: object, dtype: object, order: str, *, readonly: bool = False) -> np.ndarray:
    # NumPy makes `owner` the base of the array that it builds from this attribute.
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    owner.__array_interface__ = {
        "data": (owner._address, readonly),
        "shape": shape if order == "C" else shape[::-1],
        "typestr": np.dtype(dtype).str,
        "version": 3,
    }
    array = np.asarray(owner)
    return array if order == "C" else array.T
