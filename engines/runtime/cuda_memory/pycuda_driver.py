"""CUDA through PyCUDA: objects that free what they own. It has no graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pycuda.driver as cuda

from engines.errors import EngineError
from engines.runtime.cuda_memory import Bytes, DeviceFacts, Possessions, Shared
from engines.runtime.cuda_memory.host_registration import register, unregister

# CU_STREAM_NON_BLOCKING of cuda.h, which PyCUDA does not name.
_NON_BLOCKING = 1
_FIX = "See `edge-agent doctor`; if the GPU has failed, restart the service."


class PycudaMemory:
    """See `CudaMemory`. `pycuda.autoinit` is not used: it would make a context of its own beside the primary one."""

    binding = "pycuda"

    def __init__(self) -> None:
        with _vendor_errors("no GPU can be opened"):
            cuda.init()
            device = cuda.Device(0)
            self.facts = _read_facts(device)
            self._context: Any = device.retain_primary_context()
        self._owned = Possessions()
        with self.current(), _vendor_errors("no stream can be made"):
            self._stream = cuda.Stream(_NON_BLOCKING)
        self.stream = int(self._stream.handle)

    @contextmanager
    def current(self) -> Iterator[None]:
        self._context.push()
        try:
            yield
        finally:
            cuda.Context.pop()

    def register(self, array: Bytes) -> int:
        begin = array.ctypes.data
        address = register(begin, array.nbytes)
        self._own(lambda: unregister(begin))
        return address

    def mapped(self, size: int) -> Shared:
        with _vendor_errors("mapped memory cannot be allocated"):
            array = cuda.pagelocked_empty((size,), np.uint8, mem_flags=cuda.host_alloc_flags.DEVICEMAP)
            self._own(array.base.free)
            return Shared(array, int(array.base.get_device_pointer()))

    def managed(self, size: int) -> Shared:
        with _vendor_errors("managed memory cannot be allocated"):
            array = cuda.managed_empty((size,), np.uint8, mem_flags=cuda.mem_attach_flags.GLOBAL)
            self._own(array.base.free)
            return Shared(array, int(array.base.get_device_pointer()))

    def device(self, size: int) -> int:
        with _vendor_errors("device memory cannot be allocated"):
            allocation = cuda.mem_alloc(size)
            self._own(allocation.free)
            return int(allocation)

    def copy_in(self, address: int, array: Bytes) -> None:
        with _vendor_errors("a frame cannot be copied"):
            cuda.memcpy_htod_async(address, array, self._stream)

    def synchronize(self) -> None:
        with _vendor_errors("the GPU failed"):
            self._stream.synchronize()

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None] | None:  # noqa: ARG002 - there is no such API
        return None

    def mark(self) -> int:
        return self._owned.mark()

    def release(self, mark: int) -> None:
        self._owned.release(mark)

    def close(self) -> None:
        if self._context is None:
            return
        with self.current():
            self.release(0)
            # It is destroyed with its last reference, and needs the context for it.
            del self._stream
        self._context.detach()
        self._context = None

    def _own(self, free: Callable[[], None]) -> None:
        def free_it() -> None:
            with _vendor_errors("memory cannot be freed"):
                free()

        self._owned.add(free_it)


def _read_facts(device: Any) -> DeviceFacts:
    kinds = cuda.device_attribute
    # Older versions of PyCUDA do not name it; 99 is its number in cuda.h.
    register = getattr(kinds, "HOST_REGISTER_SUPPORTED", None)
    return DeviceFacts(
        name=device.name(),
        compute_capability=device.compute_capability(),
        driver=cuda.get_driver_version(),
        integrated=bool(device.get_attribute(kinds.INTEGRATED)),
        can_register=register is None or bool(device.get_attribute(register)),
    )


@contextmanager
def _vendor_errors(what: str) -> Iterator[None]:
    try:
        yield
    except cuda.Error as problem:
        raise EngineError(f"CUDA: {what}: {problem}.", fix=_FIX) from problem
