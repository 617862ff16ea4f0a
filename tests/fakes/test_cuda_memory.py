"""Contexts and memory: each rule of the driver broken once, beside what is right."""

import mmap
import threading
from functools import partial

import numpy as np
import pytest

from fakes.cuda_device import MIB, DeviceSettings, discrete_device
from fakes.evidence import breaks
from fakes.install import installed_fakes
from fakes.rules import BrokenRuleError

PAGE = mmap.PAGESIZE
MAPPED = 2


@breaks("initialised", "current-context")
def test_nothing_goes_before_init_and_without_a_context(machine):
    import cuda.bindings.driver as cu

    assert cu.cuDeviceGetCount() == (cu.CUresult.CUDA_ERROR_NOT_INITIALIZED, None)
    assert cu.cuInit(0) == (cu.CUresult.CUDA_SUCCESS,)
    assert cu.cuDeviceGetCount() == (cu.CUresult.CUDA_SUCCESS, 1)
    assert cu.cuMemAlloc(256)[0] == cu.CUresult.CUDA_ERROR_INVALID_CONTEXT
    assert machine.refused == ["initialised", "current-context"]


@breaks("current-context")
def test_contexts_are_per_thread(machine, driver):
    codes = []
    other = threading.Thread(target=lambda: codes.append(driver.code("cuMemAlloc", 256)))
    other.start()
    other.join()
    assert codes == ["INVALID_CONTEXT"]
    driver.cuMemFree(driver.cuMemAlloc(256))


@breaks("primary-release", "context-destroyed", "context-last")
def test_the_last_release_destroys_the_context(machine, driver):
    driver.cuMemAlloc(256)
    context = driver.cuDevicePrimaryCtxRetain(0)
    driver.cuDevicePrimaryCtxRelease(0)
    with pytest.raises(BrokenRuleError, match="context-last"):
        driver.cuDevicePrimaryCtxRelease(0)
    assert driver.code("cuDevicePrimaryCtxRelease", 0) == "INVALID_CONTEXT"
    assert driver.code("cuMemAlloc", 256) == "CONTEXT_IS_DESTROYED"
    assert driver.code("cuCtxSetCurrent", context) == "CONTEXT_IS_DESTROYED"


@breaks("leak")
def test_what_is_left_is_named(machine, driver):
    address = driver.cuMemAlloc(256)
    with pytest.raises(BrokenRuleError, match=r"device memory of 256 bytes, primary context"):
        machine.assert_nothing_left()
    machine.broken.clear()
    driver.cuMemFree(address)
    driver.cuCtxSetCurrent(driver.module.CUcontext(0))
    driver.cuDevicePrimaryCtxRelease(0)
    machine.assert_nothing_left()


def test_push_and_pop_are_a_stack(machine, driver):
    context = driver.cuCtxPopCurrent()
    assert int(driver.cuCtxGetCurrent()) == 0
    driver.cuCtxPushCurrent(context)
    assert driver.cuCtxGetCurrent() == context
    driver.cuCtxPopCurrent()
    assert driver.code("cuCtxPopCurrent") == "INVALID_CONTEXT"


@breaks("device-pointer")
def test_a_host_pointer_is_no_device_pointer(machine, driver, stream, pages):
    driver.cuMemHostRegister(pages.ctypes.data, pages.nbytes, MAPPED)
    assert driver.code("cuMemsetD8Async", pages.ctypes.data, 7, 16, stream) == "INVALID_VALUE"
    assert machine.refused == ["device-pointer"]
    address = driver.cuMemHostGetDevicePointer(pages.ctypes.data, 0)
    assert int(address) != pages.ctypes.data
    driver.cuMemsetD8Async(address, 7, 16, stream)
    driver.cuStreamSynchronize(stream)
    assert pages[:17].tolist() == [7] * 16 + [0]


def test_a_discrete_device_takes_host_pointers_of_registered_memory(pages):
    with installed_fakes(discrete_device()) as machine:
        machine.init()
        machine.push(machine.retain_primary())
        assert machine.register_host(pages.ctypes.data, pages.nbytes, MAPPED).device == pages.ctypes.data


@breaks("bounds")
def test_copies_stay_inside_their_memory(machine, driver, stream):
    address, source = driver.cuMemAlloc(100), np.arange(101, dtype=np.uint8)
    assert driver.code("cuMemcpyHtoDAsync", address, source, 101, stream) == "INVALID_VALUE"
    assert driver.code("cuMemAlloc", 0) == "INVALID_VALUE"
    driver.cuMemcpyHtoDAsync(address, source, 100, stream)
    back = np.zeros(100, np.uint8)
    driver.cuMemcpyDtoHAsync(back, address, 100, stream)
    assert back.tolist() == source[:100].tolist()


def test_device_addresses_are_aligned_and_no_host_addresses(machine, driver):
    addresses = [int(driver.cuMemAlloc(n)) for n in (1, 255, 257)]
    assert [address % 256 for address in addresses] == [0, 0, 0]
    assert [machine.memory.by_host(address) for address in addresses] == [None] * 3


@breaks("use-after-free", "free-twice")
def test_freed_memory_is_gone(machine, driver, stream):
    address = driver.cuMemAlloc(256)
    driver.cuMemFree(address)
    assert driver.code("cuMemFree", address) == "INVALID_VALUE"
    with pytest.raises(BrokenRuleError, match="use-after-free"):
        driver.cuMemsetD8Async(address, 0, 1, stream)


@breaks("free-twice")
def test_host_memory_is_freed_once(machine, driver):
    host = driver.cuMemHostAlloc(256, MAPPED)
    driver.cuMemFreeHost(host)
    assert driver.code("cuMemFreeHost", host) == "INVALID_VALUE"


@breaks("free-in-flight")
@pytest.mark.parametrize("kind", ["device", "registered"])
def test_memory_in_use_is_not_given_back(machine, driver, stream, pages, kind):
    if kind == "device":
        address = driver.cuMemAlloc(256)
        give_back = partial(driver.cuMemFree, address)
    else:
        driver.cuMemHostRegister(pages, pages.nbytes, MAPPED)
        address = driver.cuMemHostGetDevicePointer(pages, 0)
        give_back = partial(driver.cuMemHostUnregister, pages)
    driver.cuMemsetD8Async(address, 1, 256, stream)
    with pytest.raises(BrokenRuleError, match="free-in-flight"):
        give_back()
    driver.cuStreamSynchronize(stream)
    give_back()


@breaks("out-of-memory")
def test_memory_ends():
    with installed_fakes(DeviceSettings(total_bytes=MIB)) as machine:
        import cuda.bindings.driver as cu

        cu.cuInit(0)
        cu.cuCtxSetCurrent(cu.cuDevicePrimaryCtxRetain(0)[1])
        assert cu.cuMemAlloc(MIB + 1) == (cu.CUresult.CUDA_ERROR_OUT_OF_MEMORY, None)
        code, address = cu.cuMemAlloc(MIB)
        assert code == cu.CUresult.CUDA_SUCCESS
        cu.cuMemFree(address)
        assert machine.memory.used_bytes == 0


@breaks("register-page", "register-mapped", "register-twice", "unregister-unknown")
def test_registration_takes_whole_pages_once(machine, driver, pages):
    address = pages.ctypes.data
    assert driver.code("cuMemHostRegister", address + 64, PAGE, MAPPED) == "INVALID_VALUE"
    assert driver.code("cuMemHostRegister", 64 * PAGE, PAGE, MAPPED) == "INVALID_VALUE"
    assert driver.code("cuMemHostUnregister", address) == "HOST_MEMORY_NOT_REGISTERED"
    driver.cuMemHostRegister(address, PAGE + 1, MAPPED)
    assert driver.code("cuMemHostRegister", address + PAGE, PAGE, MAPPED) == "HOST_MEMORY_ALREADY_REGISTERED"
    assert driver.code("cuMemHostUnregister", address + PAGE) == "HOST_MEMORY_NOT_REGISTERED"
    driver.cuMemHostUnregister(address)
    driver.cuMemHostRegister(address + PAGE, PAGE, MAPPED)
    assert machine.refused[:2] == ["register-page", "register-mapped"]


@breaks("register-read-only")
def test_read_only_memory_needs_its_flag(machine, driver, stream):
    memory = mmap.mmap(-1, PAGE, prot=mmap.PROT_READ)
    pages = np.frombuffer(memory, np.uint8)
    assert driver.code("cuMemHostRegister", pages, PAGE, MAPPED) == "INVALID_VALUE"
    driver.cuMemHostRegister(pages, PAGE, MAPPED | 8)
    address = driver.cuMemHostGetDevicePointer(pages, 0)
    assert driver.code("cuMemsetD8Async", address, 1, 1, stream) == "INVALID_VALUE"
    assert machine.refused == ["register-read-only"] * 2


@breaks("register-supported")
def test_some_devices_cannot_register(pages):
    with installed_fakes(DeviceSettings(host_register_supported=False)) as machine:
        import cuda.bindings.driver as cu

        cu.cuInit(0)
        cu.cuCtxSetCurrent(cu.cuDevicePrimaryCtxRetain(0)[1])
        attribute = cu.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED
        assert cu.cuDeviceGetAttribute(attribute, 0)[1] == 0
        assert cu.cuMemHostRegister(pages, pages.nbytes, 0)[0] == cu.CUresult.CUDA_ERROR_NOT_SUPPORTED
        assert machine.refused == ["register-supported"]


@breaks("device-map")
def test_only_mapped_memory_has_a_device_pointer(machine, driver):
    assert driver.code("cuMemHostGetDevicePointer", driver.cuMemHostAlloc(64, 0), 0) == "INVALID_VALUE"
    assert machine.refused == ["device-map"]
    assert int(driver.cuMemHostGetDevicePointer(driver.cuMemHostAlloc(64, MAPPED), 0)) % 256 == 0


@breaks("managed-flags")
def test_managed_memory_says_who_may_touch_it(machine, driver):
    assert driver.code("cuMemAllocManaged", 64, 0) == "INVALID_VALUE"
    address = driver.cuMemAllocManaged(64, 1)
    assert machine.memory.by_host(int(address)).device == int(address)


@breaks("memset-alignment")
def test_words_are_filled_at_words(machine, driver, stream):
    address = int(driver.cuMemAlloc(64))
    assert driver.code("cuMemsetD32Async", address + 2, 0, 1, stream) == "INVALID_VALUE"
    driver.cuMemsetD32Async(address + 4, 0x7FC00000, 2, stream)
    back = np.zeros(2, np.float32)
    driver.cuMemcpyDtoHAsync(back, address + 4, 8, stream)
    assert np.isnan(back).all()


def test_names_come_as_bytes_with_a_terminator(machine, driver):
    assert driver.cuDeviceGetName(32, 0).split(b"\0")[0] == b"Orin"
    assert driver.module.cuGetErrorName(2)[1] == b"CUDA_ERROR_OUT_OF_MEMORY"
    assert len(driver.cuDeviceGetUuid(0).bytes) == 16


def test_ordered_failures_happen_once(machine, driver):
    machine.fail_next("cuMemAlloc", "CUDA_ERROR_OUT_OF_MEMORY")
    assert driver.code("cuMemAlloc", 64) == "OUT_OF_MEMORY"
    driver.cuMemAlloc(64)
