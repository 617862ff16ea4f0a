"""Runtime, engine and contexts: maps come from the bytes at the addresses, and the rules of execution hold."""

import gc

import numpy as np
import pytest

from fakes.cuda_codes import CudaError
from fakes.cuda_device import DeviceSettings
from fakes.cuda_memory import host_bytes
from fakes.evidence import breaks
from fakes.install import installed_fakes
from fakes.models import SHAPE
from fakes.rules import BrokenRuleError
from fakes.tensorrt_versions import VERSIONS
from fakes.test_tensorrt_build import built, heard

NBYTES = int(np.prod(SHAPE))


class Bench:
    """One engine with memory for its tensors: mapped host memory with `frame` and `maps` as views of it."""

    def __init__(self, machine, trt, **plan):
        self.machine, self.trt, self.logger = machine, trt, heard(trt)
        machine.init()
        machine.push(machine.retain_primary())
        self.plan = bytes(built(trt, **plan)[0])
        self.engine = trt.Runtime(self.logger).deserialize_cuda_engine(self.plan)
        self.frame, self.frame_address = self.mapped(NBYTES)
        maps, self.maps_address = self.mapped(4 * NBYTES)
        self.maps = maps.view(np.float32)
        self.maps[:] = np.nan
        self.frame[:] = np.arange(NBYTES) % 251
        self.stream = machine.create_stream(1).handle

    def mapped(self, nbytes):
        block = self.machine.alloc_host(nbytes, 2)
        return host_bytes(block.host, nbytes), self.machine.device_pointer(block.host)

    def context(self, *, bound=True, scratch=None):
        strategies = self.trt.ExecutionContextAllocationStrategy
        strategy = strategies.STATIC if scratch is None else strategies.USER_MANAGED
        context = self.engine.create_execution_context(strategy)
        if scratch is not None:
            context.set_device_memory(scratch, self.engine.device_memory_size_v2)
        if bound:
            assert context.set_tensor_address("frame", self.frame_address)
            assert context.set_tensor_address("anomaly_maps", self.maps_address)
        return context

    def expected(self):
        x = self.frame.astype(np.float32) / 255
        quantised = np.clip(np.round(x * 64), -128, 127) / 64
        return np.abs(x - 2 * quantised)


@pytest.fixture(params=VERSIONS)
def bench(request):
    with installed_fakes(tensorrt=request.param) as machine:
        import tensorrt as trt

        yield Bench(machine, trt)


@pytest.fixture
def bench10():
    with installed_fakes(tensorrt="10.3.0") as machine:
        import tensorrt as trt

        yield Bench(machine, trt)


def test_maps_come_from_the_bytes_at_execution(bench):
    context = bench.context()
    assert context.execute_async_v3(bench.stream)
    bench.frame[::2] = 9
    assert np.isnan(bench.maps).all()
    bench.machine.synchronize_stream(bench.stream)
    np.testing.assert_allclose(bench.maps, bench.expected(), atol=1e-5)


def test_the_engine_describes_itself(bench):
    trt, engine = bench.trt, bench.engine
    assert [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)] == ["frame", "anomaly_maps"]
    assert engine.get_tensor_mode("frame") == trt.TensorIOMode.INPUT
    assert engine.get_tensor_mode("nothing") == trt.TensorIOMode.NONE
    assert engine.get_tensor_shape("frame") == SHAPE
    assert trt.nptype(engine.get_tensor_dtype("anomaly_maps")) is np.float32
    assert engine.get_tensor_location("frame") == trt.TensorLocation.DEVICE
    assert engine.device_memory_size_v2 % 256 == 0
    assert bench.context(bound=False).infer_shapes() == []


def test_a_whole_life_leaves_nothing(bench):
    machine, context = bench.machine, bench.context()
    assert context.execute_async_v3(bench.stream)
    machine.synchronize_stream(bench.stream)
    del context
    bench.engine = None
    gc.collect()
    for block in machine.memory.alive("pinned"):
        machine.free_host(block.host)
    machine.destroy_stream(bench.stream)
    machine.pop()
    machine.release_primary()
    machine.assert_nothing_left()


@breaks("trt-damaged-plan")
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_plans_are_refused(bench10, damage):
    plan = bytearray(bench10.plan)
    plan[-5] ^= 1
    content = {"cut": bench10.plan[:-1], "flipped": bytes(plan), "empty": b""}[damage]
    assert bench10.trt.Runtime(bench10.logger).deserialize_cuda_engine(content) is None
    assert bench10.machine.refused[-1] == "trt-damaged-plan"
    assert bench10.logger.messages[-1][0] == "ERROR"


@breaks("trt-plan-version", "trt-plan-device")
def test_plans_do_not_travel(bench10):
    foreign = (("10.13.3.9", DeviceSettings()), ("10.3.0", DeviceSettings(compute_capability=(7, 2))))
    for version, settings in foreign:
        with installed_fakes(settings, tensorrt=version) as machine:
            import tensorrt as trt

            machine.init()
            machine.push(machine.retain_primary())
            assert trt.Runtime(heard(trt)).deserialize_cuda_engine(bench10.plan) is None
            assert machine.refused == ["trt-plan-device" if version == "10.3.0" else "trt-plan-version"]


@breaks("trt-host-code")
def test_host_code_must_be_allowed(bench10):
    plan, _ = built(bench10.trt, flags=["VERSION_COMPATIBLE"])
    runtime = bench10.trt.Runtime(bench10.logger)
    assert runtime.engine_host_code_allowed is False
    assert runtime.deserialize_cuda_engine(plan) is None
    runtime.engine_host_code_allowed = True
    assert runtime.deserialize_cuda_engine(plan) is not None
    assert bench10.machine.refused == ["trt-host-code"]


@breaks("trt-context")
def test_execution_needs_a_current_context(bench):
    context = bench.context()
    popped = bench.machine.pop()
    assert not context.execute_async_v3(bench.stream)
    assert bench.logger.messages[-1][0] == "ERROR"
    assert bench.engine.create_execution_context() is None
    assert bench.machine.refused.count("trt-context") == 2
    bench.machine.push(popped)
    assert context.execute_async_v3(bench.stream)


@breaks("trt-tensor-name", "trt-address-missing")
def test_every_tensor_has_an_address(bench):
    context = bench.context(bound=False)
    assert not context.set_tensor_address("image", bench.frame_address)
    assert context.set_tensor_address("frame", bench.frame_address)
    assert not context.execute_async_v3(bench.stream)
    assert bench.machine.refused == ["trt-tensor-name", "trt-address-missing"]
    assert context.set_tensor_address("anomaly_maps", bench.maps_address)
    assert context.get_tensor_address("frame") == bench.frame_address
    assert context.execute_async_v3(bench.stream)


@breaks("trt-address-alignment", "trt-address-device", "trt-address-size")
@pytest.mark.parametrize("fault", ["alignment", "device", "size"])
def test_addresses_are_the_devices_and_aligned_and_large_enough(bench10, fault):
    context = bench10.context()
    host = bench10.frame.ctypes.data
    small = bench10.machine.alloc_device(256).device
    address = {"alignment": bench10.frame_address + 64, "device": host, "size": small}[fault]
    with pytest.raises(BrokenRuleError, match=f"trt-address-{fault}"):
        context.set_tensor_address("frame", address)


@breaks("trt-scratch-missing", "trt-scratch-size", "trt-scratch-alignment")
def test_user_managed_scratch(bench):
    strategies = bench.trt.ExecutionContextAllocationStrategy
    context = bench.engine.create_execution_context(strategies.USER_MANAGED)
    context.set_tensor_address("frame", bench.frame_address)
    context.set_tensor_address("anomaly_maps", bench.maps_address)
    need = bench.engine.device_memory_size_v2
    scratch = bench.machine.alloc_device(need + 256).device
    assert not context.execute_async_v3(bench.stream)
    context.set_device_memory(scratch, need - 1)
    assert not context.execute_async_v3(bench.stream)
    context.set_device_memory(scratch + 64, need)
    assert not context.execute_async_v3(bench.stream)
    assert {"trt-scratch-missing", "trt-scratch-size", "trt-scratch-alignment"} == set(bench.machine.refused)
    context.set_device_memory(scratch, need)
    assert context.execute_async_v3(bench.stream)


def test_scratch_holds_nothing_of_the_callers(bench10):
    context = bench10.context(scratch=bench10.machine.alloc_device(bench10.engine.device_memory_size_v2).device)
    block = bench10.machine.memory.alive("device")[-1]
    assert context.execute_async_v3(bench10.stream)
    bench10.machine.synchronize_stream(bench10.stream)
    assert (block.backing == 0xA5).all()


@breaks("trt-one-at-a-time")
def test_a_context_runs_once_at_a_time(bench10):
    context, other = bench10.context(), bench10.machine.create_stream(1).handle
    assert context.execute_async_v3(bench10.stream)
    assert context.execute_async_v3(bench10.stream)
    with pytest.raises(BrokenRuleError, match="trt-one-at-a-time"):
        context.execute_async_v3(other)
    bench10.machine.synchronize_stream(bench10.stream)
    assert context.execute_async_v3(other)


@breaks("trt-shared-scratch")
def test_contexts_that_share_a_scratch_take_turns(bench10):
    machine = bench10.machine
    scratch, other = machine.alloc_device(bench10.engine.device_memory_size_v2).device, machine.create_stream(1).handle
    *contexts, third = [bench10.context(scratch=scratch) for _ in range(3)]
    third.set_tensor_address("anomaly_maps", bench10.mapped(4 * NBYTES)[1])
    assert all(context.execute_async_v3(bench10.stream) for context in contexts)
    with pytest.raises(BrokenRuleError, match="trt-shared-scratch"):
        third.execute_async_v3(other)


@breaks("trt-default-stream")
def test_the_default_stream_is_warned_of(bench):
    assert bench.context().execute_async_v3(0)
    severity, text = bench.logger.messages[-1]
    assert (severity, "default stream" in text) == ("WARNING", True)
    bench.machine.synchronize_stream(0)
    assert np.isfinite(bench.maps).all()


def captured(bench, context):
    bench.machine.begin_capture(bench.stream, 1)
    assert context.execute_async_v3(bench.stream)
    return bench.machine.instantiate(bench.machine.end_capture(bench.stream).handle).handle


@breaks("trt-run-before-capture", "graph-owner")
def test_a_graph_of_a_context(bench10):
    machine, context = bench10.machine, bench10.context()
    with pytest.raises(BrokenRuleError, match="trt-run-before-capture"):
        captured(bench10, context)
    machine.end_capture(bench10.stream)
    context.execute_async_v3(bench10.stream)
    machine.synchronize_stream(bench10.stream)
    graph = captured(bench10, context)
    bench10.frame[:] = 77
    machine.launch(graph, bench10.stream)
    machine.synchronize_stream(bench10.stream)
    np.testing.assert_allclose(bench10.maps, bench10.expected(), atol=1e-5)
    del context
    gc.collect()
    with pytest.raises(BrokenRuleError, match="graph-owner"):
        machine.launch(graph, bench10.stream)


def test_the_event_tells_when_the_frame_was_read_but_not_from_a_graph(bench10):
    machine, context = bench10.machine, bench10.context()
    event = machine.create_event(2).handle
    assert context.set_input_consumed_event(event)
    context.execute_async_v3(bench10.stream)
    assert not machine.query_event(event)
    assert machine.query_event(event)
    machine.begin_capture(bench10.stream, 1)
    context.execute_async_v3(bench10.stream)
    machine.end_capture(bench10.stream)
    with pytest.raises(CudaError, match="CAPTURED_EVENT"):
        machine.query_event(event)


@breaks("trt-in-flight", "trt-after-context")
def test_objects_die_in_order(bench10):
    machine, context = bench10.machine, bench10.context()
    context.execute_async_v3(bench10.stream)
    del context
    gc.collect()
    assert [error.rule for error in machine.broken] == ["trt-in-flight"]
    with pytest.raises(BrokenRuleError, match="context-last"):
        machine.release_primary()
    bench10.engine = None
    gc.collect()
    assert machine.broken[-1].rule == "trt-after-context"


def test_ordered_failures(bench):
    machine, context = bench.machine, bench.context()
    machine.faults.next_execute = "no luck"
    assert not context.execute_async_v3(bench.stream)
    assert bench.logger.messages[-1] == ("ERROR", "no luck")
    machine.faults.next_deserialize = "no luck"
    assert bench.trt.Runtime(bench.logger).deserialize_cuda_engine(bench.plan) is None
    machine.fail_next("cuMemAlloc", "CUDA_ERROR_OUT_OF_MEMORY")
    assert bench.engine.create_execution_context() is None
    machine.faults.executes_nothing = True
    assert context.execute_async_v3(bench.stream)
    machine.synchronize_stream(bench.stream)
    assert np.isnan(bench.maps).all()
