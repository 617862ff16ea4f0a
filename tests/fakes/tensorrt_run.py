"""Runtime, engine and execution context: maps are computed by ONNX Runtime from the bytes at the bound addresses."""

from __future__ import annotations

import operator
import weakref

import numpy as np
import onnx
import onnxruntime

from fakes.cuda_codes import CudaError, CUresult
from fakes.cuda_memory import Block
from fakes.cuda_work import Use, Work, pending
from fakes.tensorrt_core import Environment, ILogger, check_initialised, nptype, volume
from fakes.tensorrt_facts import Binding
from fakes.tensorrt_plan import DamagedPlanError, Plan, plan_from_bytes
from fakes.tensorrt_versions import Named

WEIGHT_BYTES = 64 * 1024


class Runtime:
    """`tensorrt.Runtime(logger)`; engines keep it alive."""

    env: Environment

    def __init__(self, logger: ILogger) -> None:
        check_initialised(logger, self.env.machine)
        self._logger = logger
        self.engine_host_code_allowed = False
        self.max_threads = 1

    @property
    def logger(self) -> ILogger:
        return self._logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        """Load a plan; None and an error on the logger where it is refused."""
        env, content = self.env, bytes(memoryview(serialized_engine))
        ordered = env.machine.faults.take("next_deserialize")
        if ordered is not None:
            env.tell(self._logger, "ERROR", ordered)
            return None
        try:
            plan = plan_from_bytes(content)
        except DamagedPlanError as problem:
            text = f"IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion: {problem})"
            env.refuse(self._logger, "trt-damaged-plan", text)
            return None
        problem = self._problem(plan)
        if problem is not None:
            env.refuse(self._logger, *problem)
            return None
        weights = allocated(env, self._logger, WEIGHT_BYTES)
        return None if weights is None else env.make("ICudaEngine", self, plan, weights)

    def _problem(self, plan: Plan) -> tuple[str, str] | None:
        have = self.env.machine.settings.compute_capability
        if plan.host_code and not self.engine_host_code_allowed:
            return "trt-host-code", "The engine contains host code, which engine_host_code_allowed does not allow."
        if plan.version != self.env.version.text and not plan.host_code:
            text = "The engine plan file is not compatible with this version of TensorRT, expecting library version"
            return "trt-plan-version", f"{text} {self.env.version.text} got {plan.version}, please rebuild."
        if plan.compute_capability != have:
            text = "The engine plan file is generated on an incompatible device, expecting compute"
            built = "{}.{}".format(*plan.compute_capability)
            return "trt-plan-device", f"{text} {have[0]}.{have[1]} got compute {built}, please rebuild."
        return None


class ICudaEngine:
    """`tensorrt.ICudaEngine`; contexts keep it alive."""

    def __init__(self, env: Environment, runtime: Runtime, plan: Plan, weights: Block) -> None:
        self._env, self._runtime, self._plan, self._weights = env, runtime, plan, weights
        graph = onnx.load_model_from_string(plan.model).graph
        constants = {entry.name for entry in graph.initializer}
        modes = env.enums["TensorIOMode"]
        inputs = [(Binding(env, value), modes.INPUT) for value in graph.input if value.name not in constants]
        self._tensors = {t.name: (t, mode) for t, mode in inputs}
        self._tensors |= {value.name: (Binding(env, value), modes.OUTPUT) for value in graph.output}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(plan.model, options, providers=["CPUExecutionProvider"])

    num_io_tensors = property(lambda self: len(self._tensors))
    num_layers = property(lambda self: len(onnx.load_model_from_string(self._plan.model).graph.node))
    num_optimization_profiles = property(lambda _: 1)
    name = property(lambda self: self._plan.name)
    device_memory_size = device_memory_size_v2 = property(lambda self: self._plan.scratch_bytes)
    refittable = property(lambda _: False)
    num_aux_streams = property(lambda _: 0)
    profiling_verbosity = property(lambda self: self._env.enums["ProfilingVerbosity"][self._plan.verbosity])

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Named:
        return self._tensors[name][1] if name in self._tensors else self._env.enums["TensorIOMode"].NONE

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name][0].shape

    def get_tensor_dtype(self, name: str) -> Named:
        return self._tensors[name][0].dtype

    def get_tensor_location(self, _name: str) -> Named:
        return self._env.enums["TensorLocation"].DEVICE

    def create_engine_inspector(self) -> object:
        return self._env.make("EngineInspector", self)

    def create_execution_context(self, strategy: Named | None = None) -> IExecutionContext | None:
        """Make a context; None where its scratch cannot be allocated."""
        managed = strategy is not None and strategy.name == "USER_MANAGED"
        if managed:
            return self._env.make("IExecutionContext", self, None)
        scratch = allocated(self._env, self._runtime._logger, self._plan.scratch_bytes)
        return None if scratch is None else self._env.make("IExecutionContext", self, scratch)

    def create_execution_context_without_device_memory(self) -> IExecutionContext:
        return self._env.make("IExecutionContext", self, None)

    def __del__(self) -> None:
        give_back(self._env, getattr(self, "_weights", None), "engine")


class IExecutionContext:
    """`tensorrt.IExecutionContext`."""

    def __init__(self, env: Environment, engine: ICudaEngine, scratch: Block | None) -> None:
        self._env, self.engine, self._own = env, engine, scratch
        self._scratch = None if scratch is None else (scratch.device, scratch.nbytes)
        self._addresses: dict[str, int] = {}
        self._event: int | None = None
        self._ran = False
        self.name = ""
        self.enqueue_emits_profile = True
        self.debug_sync = False

    all_binding_shapes_specified = property(lambda _: True)
    _logger = property(lambda self: self.engine._runtime._logger)

    def infer_shapes(self) -> list[str]:
        return []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.engine.get_tensor_shape(name)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Bind an address of the device.

        Raises:
            BrokenRuleError: It is not aligned, not the device's, or too little memory lies there.
        """
        env = self._env
        if name not in self.engine._tensors:
            env.refuse(self._logger, "trt-tensor-name", f"IExecutionContext::setTensorAddress: no tensor {name}")
            return False
        address = operator.index(memory)
        if not env.machine.is_aligned(address):
            raise env.machine.broke("trt-address-alignment", f"{name}: {address:#x}")
        self._use(name, address)
        self._addresses[name] = address
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def set_device_memory(self, memory: int, size: int) -> None:
        """Give the context its scratch; what is refused leaves it without."""
        env, address, need = self._env, operator.index(memory), self.engine._plan.scratch_bytes
        self._scratch = None
        if size < need:
            env.refuse(self._logger, "trt-scratch-size", f"setDeviceMemoryV2: {size} bytes, {need} are needed")
        elif not env.machine.is_aligned(address):
            env.refuse(self._logger, "trt-scratch-alignment", f"setDeviceMemoryV2: {address:#x} is not aligned")
        else:
            self._device_range("scratch", address, size, writes=True)
            self._scratch = (address, need)

    def set_input_consumed_event(self, event: int) -> bool:
        self._event = operator.index(event)
        return True

    def get_input_consumed_event(self) -> int | None:
        return self._event

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Enqueue one execution; False and an error on the logger where it is refused."""
        env, stream = self._env, operator.index(stream_handle)
        with env.machine.lock:
            ordered = env.machine.faults.take("next_execute")
            if ordered is not None:
                env.tell(self._logger, "ERROR", ordered)
                return False
            problem = self._problem()
            if problem is not None:
                env.refuse(self._logger, *problem)
                return False
            if stream in {0, 1}:
                text = "Using default stream in enqueueV3() may lead to performance issues due to additional calls to"
                env.machine.refused.append("trt-default-stream")
                env.tell(self._logger, "WARNING", f"{text} cudaStreamSynchronize(). Please use non-default stream.")
            self._enqueue(stream)
            return True

    def _problem(self) -> tuple[str, str] | None:
        try:
            self._env.machine.enter("execute_async_v3")
        except CudaError as error:
            return "trt-context", f"IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime ({error})"
        missing = [name for name in self.engine._tensors if name not in self._addresses]
        if missing:
            return "trt-address-missing", f"IExecutionContext::enqueueV3: Address is not set for {', '.join(missing)}"
        if self._scratch is None:
            return "trt-scratch-missing", "IExecutionContext::enqueueV3: the context has no device memory"
        return None

    def _enqueue(self, stream: int) -> None:
        machine = self._env.machine
        if machine.stream(stream).capture is not None and not self._ran:
            raise machine.broke("trt-run-before-capture", "the context has not run yet")
        tensors = {name: self._use(name, address) for name, address in self._addresses.items()}
        scratch = self._device_range("scratch", *self._scratch, writes=True)
        alone = (("trt-one-at-a-time", id(self)), ("trt-shared-scratch", self._scratch[0]))
        run = _computation(self.engine, tensors, scratch, machine.faults)
        machine.enqueue(stream, Work("execution", run, (*tensors.values(), scratch), alone, weakref.ref(self)))
        if self._event is not None:
            machine.record_event(self._event, stream)
        self._ran = True

    def _use(self, name: str, address: int) -> Use:
        tensor, mode = self.engine._tensors[name]
        nbytes = volume(tensor.shape) * np.dtype(nptype(tensor.dtype)).itemsize
        return self._device_range(name, address, nbytes, writes=mode.name == "OUTPUT")

    def _device_range(self, name: str, address: int, nbytes: int, *, writes: bool) -> Use:
        machine = self._env.machine
        try:
            return machine.use(address, nbytes, writes=writes)
        except CudaError as error:
            rule = "trt-address-size" if error.rule == "bounds" else "trt-address-device"
            raise machine.broke(rule, f"{name}: {error}") from error

    def __del__(self) -> None:
        env = getattr(self, "_env", None)
        if env is None:
            return
        if any(("trt-one-at-a-time", id(self)) in t.work.alone for t in pending(env.machine.streams.values())):
            env.machine.broke("trt-in-flight", "an execution context died while its work was pending")
        give_back(env, self._own, "execution context")


def _computation(engine: ICudaEngine, tensors: dict[str, Use], scratch: Use, faults: object):
    """Make the function that reads the inputs, and writes the outputs and the scratch, when it is called."""
    session = engine._session
    shapes = {name: (tensor.shape, nptype(tensor.dtype)) for name, (tensor, _) in engine._tensors.items()}

    def values_at(name: str) -> np.ndarray:
        shape, dtype = shapes[name]
        use = tensors[name]
        return use.block.bytes_at(use.start, use.end - use.start).view(dtype).reshape(shape)

    def run() -> None:
        if faults.executes_nothing:
            return
        scratch.block.bytes_at(scratch.start, scratch.end - scratch.start)[:] = 0xA5
        feeds = {value.name: values_at(value.name).copy() for value in session.get_inputs()}
        names = [value.name for value in session.get_outputs()]
        try:
            results = session.run(names, feeds)
        except Exception as problem:  # ONNX Runtime's exceptions share no base class but Exception
            raise CudaError(CUresult.CUDA_ERROR_LAUNCH_FAILED, None, str(problem)) from problem
        for name, result in zip(names, results, strict=True):
            values_at(name)[...] = result

    return run


def allocated(env: Environment, logger: ILogger, nbytes: int) -> Block | None:
    """Allocate memory of the device for the library itself; None and an error on the logger where that fails."""
    machine = env.machine
    try:
        return machine.alloc_device(nbytes)
    except CudaError as error:
        rule = error.rule or "out-of-memory"
        env.refuse(logger, "trt-context" if rule == "current-context" else rule, f"Error Code 2: OutOfMemory ({error})")
        return None


def give_back(env: Environment, block: Block | None, what: str) -> None:
    """Free what `allocated` gave; destructors cannot raise, so what is wrong is noted on the machine."""
    if block is None or not block.alive:
        return
    if not block.context.alive:
        env.machine.broke("trt-after-context", f"an {what} died after its CUDA context")
    block.alive = False
