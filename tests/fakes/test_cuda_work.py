"""Streams, events and graphs: work runs late, in no other order than promised, with the addresses of its capture."""

import threading

import numpy as np
import pytest

from fakes.cuda_memory import host_bytes
from fakes.evidence import breaks
from fakes.rules import BrokenRuleError

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2


@pytest.fixture
def mapped(driver):
    """An array of mapped memory and its device address."""
    host = driver.cuMemHostAlloc(256, 2)
    address = int(driver.cuMemHostGetDevicePointer(host, 0))
    array = host_bytes(host, 256)
    array[:] = 0
    return array, address


def test_work_runs_when_somebody_waits(driver, stream, mapped):
    array, address = mapped
    driver.cuMemsetD8Async(address, 5, 256, stream)
    assert not array.any()
    driver.cuStreamSynchronize(stream)
    assert (array == 5).all()


def test_a_query_says_no_first(driver, stream, mapped):
    array, address = mapped
    driver.cuMemsetD8Async(address, 5, 256, stream)
    assert driver.code("cuStreamQuery", stream) == "NOT_READY"
    assert driver.module.cuStreamQuery(stream)[0] == 0
    assert array.all()


def test_locked_memory_is_read_when_the_copy_runs_and_pageable_at_once(driver, stream, mapped):
    array, _ = mapped
    pageable, target = np.zeros(256, np.uint8), [driver.cuMemAlloc(256) for _ in range(2)]
    driver.cuMemcpyHtoDAsync(target[0], array.ctypes.data, 256, stream)
    driver.cuMemcpyHtoDAsync(target[1], pageable, 256, stream)
    array[:], pageable[:] = 9, 9
    back = np.full((2, 256), 7, np.uint8)
    driver.cuMemcpyDtoHAsync(back[0], target[0], 256, stream)
    driver.cuMemcpyDtoHAsync(back[1], target[1], 256, stream)
    assert back[:, 0].tolist() == [9, 0]


@breaks("handle")
def test_handles_are_checked(machine, driver, stream):
    event = driver.cuEventCreate(0)
    driver.cuStreamDestroy(stream)
    driver.cuEventDestroy(event)
    assert driver.code("cuStreamSynchronize", stream) == "INVALID_HANDLE"
    assert driver.code("cuEventQuery", event) == "INVALID_HANDLE"
    assert driver.code("cuGraphLaunch", driver.module.CUgraphExec(64), 0) == "INVALID_HANDLE"
    assert driver.code("cuGraphInstantiate", driver.module.CUgraph(64), 0) == "INVALID_HANDLE"


@breaks("event-timing")
def test_time_needs_events_that_measure_it(driver, stream):
    events = [driver.cuEventCreate(flags) for flags in (2, 0, 0)]
    for event in events:
        driver.cuEventRecord(event, stream)
    assert driver.code("cuEventElapsedTime", events[1], events[2]) == "NOT_READY"
    driver.cuStreamSynchronize(stream)
    assert driver.code("cuEventElapsedTime", events[0], events[1]) == "INVALID_HANDLE"
    assert driver.cuEventElapsedTime(events[1], events[2]) > 0


@breaks("stream-race")
def test_streams_do_not_wait_for_each_other(machine, driver, stream, mapped):
    array, address = mapped
    other, event = driver.cuStreamCreate(1), driver.cuEventCreate(2)
    driver.cuMemsetD8Async(address, 1, 256, stream)
    with pytest.raises(BrokenRuleError, match="stream-race"):
        driver.cuMemsetD8Async(address, 2, 256, other)
    driver.cuEventRecord(event, stream)
    driver.cuStreamWaitEvent(other, event, 0)
    driver.cuMemsetD8Async(address, 2, 256, other)
    driver.cuStreamSynchronize(other)
    assert (array == 2).all()


def test_the_default_stream_waits_for_blocking_streams_only(driver, mapped):
    array, address = mapped
    blocking, other = driver.cuStreamCreate(0), driver.cuStreamCreate(1)
    driver.cuMemsetD8Async(address, 1, 128, blocking)
    driver.cuMemsetD8Async(address + 128, 1, 128, other)
    driver.cuMemsetD8Async(address, 2, 64, 0)
    driver.cuStreamSynchronize(0)
    assert [array[0], array[64], array[128]] == [2, 1, 0]
    with pytest.raises(BrokenRuleError, match="stream-race"):
        driver.cuMemsetD8Async(address + 128, 2, 64, 0)


def test_an_event_is_done_when_its_work_is(driver, stream, mapped):
    array, address = mapped
    event = driver.cuEventCreate(2)
    assert driver.module.cuEventQuery(event)[0] == 0
    driver.cuMemsetD8Async(address, 1, 256, stream)
    driver.cuEventRecord(event, stream)
    driver.cuMemsetD8Async(address, 2, 256, stream)
    assert driver.code("cuEventQuery", event) == "NOT_READY"
    driver.cuEventSynchronize(event)
    assert (array == 1).all()


def captured(driver, stream, work, mode=GLOBAL):
    driver.cuStreamBeginCapture(stream, mode)
    work()
    graph = driver.cuStreamEndCapture(stream)
    executable = driver.cuGraphInstantiate(graph, 0)
    driver.cuGraphDestroy(graph)
    return executable


def test_a_graph_runs_when_it_is_launched(driver, stream, mapped):
    array, address = mapped
    executable = captured(driver, stream, lambda: driver.cuMemsetD8Async(address, 3, 256, stream))
    driver.cuStreamSynchronize(stream)
    assert not array.any()
    for _ in range(2):
        array[:] = 0
        driver.cuGraphLaunch(executable, stream)
        driver.cuStreamSynchronize(stream)
        assert (array == 3).all()
    driver.cuGraphExecDestroy(executable)


@breaks("graph-address")
def test_a_graph_keeps_its_addresses(driver, stream):
    address = driver.cuMemAlloc(64)
    executable = captured(driver, stream, lambda: driver.cuMemsetD8Async(address, 3, 64, stream))
    driver.cuGraphLaunch(executable, stream)
    driver.cuStreamSynchronize(stream)
    driver.cuMemFree(address)
    driver.cuMemAlloc(64)
    with pytest.raises(BrokenRuleError, match="graph-address"):
        driver.cuGraphLaunch(executable, stream)


@breaks("capture-sync")
@pytest.mark.parametrize("name", ["cuStreamSynchronize", "cuStreamQuery"])
def test_nobody_waits_for_a_capture(driver, stream, name):
    driver.cuStreamBeginCapture(stream, GLOBAL)
    assert driver.code(name, stream) == "STREAM_CAPTURE_UNSUPPORTED"
    assert driver.cuStreamIsCapturing(stream) == 2
    assert driver.code("cuStreamEndCapture", stream) == "STREAM_CAPTURE_INVALIDATED"
    assert driver.cuStreamIsCapturing(stream) == 0
    driver.cuStreamSynchronize(stream)


@breaks("capture-alloc")
def test_a_strict_capture_prohibits_allocations(driver, stream):
    driver.cuStreamBeginCapture(stream, RELAXED)
    driver.cuMemAlloc(64)
    driver.cuStreamEndCapture(stream)
    driver.cuStreamBeginCapture(stream, GLOBAL)
    assert driver.code("cuMemAlloc", 64) == "STREAM_CAPTURE_UNSUPPORTED"
    assert driver.code("cuStreamEndCapture", stream) == "STREAM_CAPTURE_INVALIDATED"


@breaks("capture-default-stream", "capture-not-begun", "capture-implicit")
def test_what_cannot_be_captured(machine, driver):
    stream = driver.cuStreamCreate(0)
    assert driver.code("cuStreamBeginCapture", 0, GLOBAL) == "STREAM_CAPTURE_UNSUPPORTED"
    assert driver.code("cuStreamEndCapture", stream) == "ILLEGAL_STATE"
    driver.cuStreamBeginCapture(stream, GLOBAL)
    assert driver.code("cuStreamBeginCapture", stream, GLOBAL) == "ILLEGAL_STATE"
    driver.cuStreamEndCapture(stream)
    address = driver.cuMemAlloc(64)
    driver.cuStreamBeginCapture(stream, GLOBAL)
    assert driver.code("cuMemsetD8Async", address, 1, 64, 0) == "STREAM_CAPTURE_IMPLICIT"
    assert driver.code("cuStreamEndCapture", stream) == "STREAM_CAPTURE_INVALIDATED"


@breaks("capture-thread")
def test_the_same_thread_ends_a_capture(machine, driver, stream):
    driver.cuStreamBeginCapture(stream, THREAD_LOCAL)
    codes, context = [], machine.primary

    def end():
        machine.push(context)
        codes.append(driver.code("cuStreamEndCapture", stream))

    other = threading.Thread(target=end)
    other.start()
    other.join()
    assert codes == ["STREAM_CAPTURE_WRONG_THREAD"]
    driver.cuStreamEndCapture(stream)


@breaks("capture-unjoined", "capture-isolation", "event-captured")
def test_forks_are_joined_and_marks_of_a_capture_stay_in_it(driver, stream):
    other, forked, joined, outside = driver.cuStreamCreate(1), *(driver.cuEventCreate(2) for _ in range(3))
    address = int(driver.cuMemAlloc(512))
    driver.cuEventRecord(outside, other)
    for joins in (False, True):
        driver.cuStreamBeginCapture(stream, GLOBAL)
        driver.cuEventRecord(forked, stream)
        driver.cuStreamWaitEvent(other, forked, 0)
        driver.cuMemsetD8Async(address, 1, 64, other)
        if joins:
            driver.cuEventRecord(joined, other)
            driver.cuStreamWaitEvent(stream, joined, 0)
        code = driver.module.cuStreamEndCapture(stream)[0]
        assert code.name == ("CUDA_SUCCESS" if joins else "CUDA_ERROR_STREAM_CAPTURE_UNJOINED")
    assert driver.code("cuEventSynchronize", joined) == "CAPTURED_EVENT"
    driver.cuStreamBeginCapture(stream, GLOBAL)
    assert driver.code("cuStreamWaitEvent", stream, outside, 0) == "STREAM_CAPTURE_ISOLATION"
    assert driver.code("cuStreamEndCapture", stream) == "STREAM_CAPTURE_INVALIDATED"


@breaks("capture-pageable")
def test_pageable_memory_is_not_captured(driver, stream, mapped):
    address, pageable = driver.cuMemAlloc(64), np.zeros(64, np.uint8)
    driver.cuStreamBeginCapture(stream, GLOBAL)
    driver.cuMemcpyHtoDAsync(address, mapped[0].ctypes.data, 64, stream)
    with pytest.raises(BrokenRuleError, match="capture-pageable"):
        driver.cuMemcpyHtoDAsync(address, pageable, 64, stream)


def test_launches_of_one_graph_follow_each_other(driver, stream, mapped):
    _, address = mapped
    executable = captured(driver, stream, lambda: driver.cuMemsetD8Async(address, 3, 256, stream))
    driver.cuGraphLaunch(executable, stream)
    driver.cuGraphLaunch(executable, driver.cuStreamCreate(1))
