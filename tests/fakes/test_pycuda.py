"""PyCUDA over the same machine: its exceptions, its ownership, and what it does not have."""

import gc
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
    frame = cuda.aligned_empty((2, 128), np.uint8)
    slot = cuda.register_host_memory(frame, cuda.mem_host_register_flags.DEVICEMAP)
    assert slot.ctypes.data == frame.ctypes.data
    assert slot.base.get_device_pointer() != frame.ctypes.data
    frame[:] = 7
    cuda.memcpy_htod_async(device, slot, stream)
    cuda.memset_d32_async(maps.base.get_device_pointer(), 0x7FC00000, 64, stream)
    assert event.record(stream).query() is False
    assert event.query()
    assert np.isnan(maps).all()
    cuda.memcpy_dtoh_async(maps, device, stream)
    stream.synchronize()
    assert (maps.view(np.uint8) == 7).all()
    managed = cuda.managed_empty(8, np.uint8, mem_flags=cuda.mem_attach_flags.GLOBAL)
    assert managed.base.get_device_pointer() == managed.ctypes.data
    del stream, event, device, maps, slot, frame, managed
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


@breaks("pycuda-contiguous")
def test_only_contiguous_arrays_are_registered(machine, cuda):
    frame = cuda.aligned_empty((4, 4096), np.uint8)
    with pytest.raises(cuda.LogicError):
        cuda.register_host_memory(frame[:, ::2])
    assert cuda.register_host_memory(frame).shape == (4, 4096)


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
