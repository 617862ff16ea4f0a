"""PyCUDA over the same machine: its exceptions, its ownership, and what it does not have."""

import ctypes
import gc
import mmap
import threading

import numpy as np
import pytest

from fakes.evidence import breaks
from fakes.rules import BrokenRuleError


@breaks("pycuda-autoinit")
def test_autoinit_is_forbidden(machine):
    with pytest.raises(AssertionError, match="primary"):
        import pycuda.autoinit  # noqa: F401 - it must fail
    assert machine.refused == ["pycuda-autoinit"]


def test_a_whole_life_leaves_nothing(machine, cuda):
    stream, event, device = cuda.Stream(1), cuda.Event(cuda.event_flags.DISABLE_TIMING), cuda.mem_alloc(256)
    maps = cuda.pagelocked_empty((2, 32), np.float32, mem_flags=cuda.host_alloc_flags.DEVICEMAP)
    frame = np.frombuffer(mmap.mmap(-1, 4096), np.uint8)
    library, address, seen = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(frame.ctypes.data), ctypes.c_uint64()
    assert library.cuMemHostRegister_v2(address, ctypes.c_size_t(4096), ctypes.c_uint(2)) == 0
    assert library.cuMemHostGetDevicePointer_v2(ctypes.byref(seen), address, ctypes.c_uint(0)) == 0
    assert seen.value not in (0, frame.ctypes.data)
    frame[:] = 7
    cuda.memcpy_htod_async(device, frame[:256], stream)
    cuda.memset_d32_async(maps.base.get_device_pointer(), 0x7FC00000, 64, stream)
    assert event.record(stream).query() is False
    assert event.query()
    assert np.isnan(maps).all()
    cuda.memcpy_dtoh_async(maps, device, stream)
    stream.synchronize()
    assert (maps.view(np.uint8) == 7).all()
    managed = cuda.managed_empty(8, np.uint8, mem_flags=cuda.mem_attach_flags.GLOBAL)
    assert managed.base.get_device_pointer() == managed.ctypes.data
    assert library.cuMemHostUnregister(address) == 0
    del stream, event, device, maps, frame, managed
    gc.collect()
    cuda.Context.pop()
    cuda.primary.detach()
    machine.assert_nothing_left()


def test_codes_become_exceptions(machine, cuda):
    machine.fail_next("cuMemAlloc", "CUDA_ERROR_OUT_OF_MEMORY")
    with pytest.raises(cuda.MemoryError, match="mem_alloc failed: out of memory"):
        cuda.mem_alloc(16)
    with pytest.raises(cuda.LogicError):
        cuda.memset_d8_async(64, 0, 1)
    assert issubclass(cuda.LogicError, cuda.Error)
    cuda.Context.pop()
    with pytest.raises(cuda.LogicError):
        cuda.Stream()


def test_what_it_does_not_have(cuda):
    assert not hasattr(cuda, "Graph")
    assert not hasattr(cuda, "stream_flags")
    assert not hasattr(cuda.Event(), "handle")


def test_the_device(machine, cuda):
    device = cuda.Device(0)
    assert (cuda.Device.count(), device.name(), device.compute_capability()) == (1, "Orin", (8, 7))
    assert device.get_attribute(cuda.device_attribute.HOST_REGISTER_SUPPORTED) == 1
    assert cuda.Context.get_current() == cuda.primary


@breaks("pycuda-register")
def test_it_cannot_register_memory(machine, cuda):
    with pytest.raises(SystemError):
        cuda.register_host_memory(np.frombuffer(mmap.mmap(-1, 4096), np.uint8))
    assert machine.refused == ["pycuda-register"]


@breaks("pycuda-free-twice")
def test_free_works_once(machine, cuda):
    device = cuda.mem_alloc(16)
    device.free()
    with pytest.raises(cuda.LogicError):
        device.free()
    assert machine.refused == ["pycuda-free-twice"]


@breaks("pycuda-thread")
def test_objects_die_in_their_thread(machine, cuda):
    device = [cuda.mem_alloc(16)]
    cuda.Context.pop()
    other = threading.Thread(target=device.clear)
    other.start()
    other.join()
    assert [error.rule for error in machine.broken] == ["pycuda-thread"]
    with pytest.raises(BrokenRuleError, match="pycuda-thread"):
        machine.assert_nothing_left()
