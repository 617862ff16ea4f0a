"""TensorRT on the GPU, reading frames where the camera wrote them.

Each slot of the ring has an execution context of its own with its own addresses and, where the binding has them, a CUDA
graph that enqueues one inference in one call. All contexts share one scratch memory, for one stream runs them in turn.
"""

from __future__ import annotations

import logging
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from engines.errors import EngineError
from engines.files import sha256_of
from engines.images import Frame
from engines.plans.builder import Progress
from engines.plans.library import load_library
from engines.plans.provide import provide_plan
from engines.plans.store import default_store
from engines.runtime import Maps, check_slots
from engines.runtime.cuda_memory import CudaMemory, open_cuda
from engines.service_manager import ask_for_patience

FrameMemory = Literal["registered", "mapped", "device", "managed"]
FRAME_MEMORIES: tuple[FrameMemory, ...] = get_args(FrameMemory)

_LOG = logging.getLogger(__name__)
_REBUILD = "Delete the plan in the cache directory: it is built again at the next start."


@dataclass(frozen=True)
class _Slot:
    """One slot: `move` brings the frame to where the GPU reads it, `launch` enqueues the inference."""

    context: Any
    move: Callable[[], None]
    launch: Callable[[], None]
    maps: Maps


class TensorRtRuntime:
    """The `tensorrt` runtime; see `Runtime`.

    Args:
        model: `model.int8.onnx` of a recipe; where no plan of it is in the cache, one is built.
        binding: The CUDA binding, see `open_cuda`.
        frame_memory: How frames get to the GPU; None takes what `edge-engines bench` found fastest, else the ring
            itself where the GPU shares the CPU's memory, else a copy.
        progress: Called while a plan is built; where not given, a service manager is told to wait.

    Attributes:
        device: The GPU.
        plan: What was loaded.
        frame_memory: How frames get to the GPU.
    """

    name = "tensorrt"

    def __init__(
        self,
        model: Path,
        *,
        binding: str = "auto",
        frame_memory: FrameMemory | None = None,
        progress: Progress = ask_for_patience,
    ) -> None:
        library = load_library()
        self.model_sha256 = sha256_of(model)
        self._slots: list[_Slot] = []
        self._memory: CudaMemory | None = open_cuda(binding)
        try:
            with self._memory.current():
                self.device = self._memory.facts
                self.plan = provide_plan(library, self.device, model, progress=progress)
                self._log = library.new_log()
                self._runtime = library.trt.Runtime(self._log)
                self._engine = self._runtime.deserialize_cuda_engine(self.plan.content)
                self._require(self._engine is not None, "the plan cannot be loaded")
                self._user_managed = library.trt.ExecutionContextAllocationStrategy.USER_MANAGED
                self._read_tensors(library.trt)
                self._scratch_size = max(1, int(self._engine.device_memory_size_v2))
                self._scratch = self._memory.device(self._scratch_size)
                self._bound = self._memory.mark()
        except BaseException:
            self.close()
            raise
        self.frame_memory = frame_memory or self._usual_memory()

    def bind(self, slots: Sequence[Frame]) -> None:
        memory = self._open_memory()
        check_slots(slots, self.frame_shape)
        with memory.current():
            _settle(memory)
            self._slots.clear()
            memory.release(self._bound)
            self._slots = [self._bind(memory, slot) for slot in slots]

    def infer(self, slot: int) -> Maps:
        memory = self._open_memory()
        if not 0 <= slot < len(self._slots):
            raise EngineError(
                f"slot {slot} is not bound ({len(self._slots)} are).", fix="Bind the ring before inference."
            )
        bound = self._slots[slot]
        bound.maps.fill(np.nan)
        with memory.current():
            bound.move()
            bound.launch()
            memory.synchronize()
        return bound.maps

    def discard(self) -> bool:
        default_store().discard(self.plan.key)
        return not self.plan.built_now

    def close(self) -> None:
        memory, self._memory = self._memory, None
        if memory is None:
            return
        # TensorRT's objects die in the reverse order of their making, in the context that they were made in.
        with memory.current():
            _settle(memory)
            self._slots.clear()
            for name in ("_engine", "_runtime", "_log"):
                self.__dict__.pop(name, None)
        memory.close()

    def _bind(self, memory: CudaMemory, frame: Frame) -> _Slot:
        context = self._engine.create_execution_context(self._user_managed)
        self._require(context is not None, "no execution context can be made")
        context.set_device_memory(self._scratch, self._scratch_size)
        address, move = self._way_of(memory, frame)
        output = memory.mapped(int(np.prod(self.maps_shape)) * np.dtype(np.float32).itemsize)
        for name, place in ((self._input, address), (self._output, output.address)):
            self._require(context.set_tensor_address(name, place), f"the address of `{name}` was refused")

        def launch() -> None:
            self._require(context.execute_async_v3(memory.stream), "the inference could not be enqueued")

        # The first run of a context allocates what a graph must not.
        move()
        launch()
        memory.synchronize()
        maps: Maps = output.array.view(np.float32).reshape(self.maps_shape)
        maps.fill(np.nan)
        return _Slot(context, move, memory.capture(launch) or launch, maps)

    def _way_of(self, memory: CudaMemory, frame: Frame) -> tuple[int, Callable[[], None]]:
        """Return where the GPU reads a frame, and what must be done before it does."""
        pixels = frame.reshape(-1)
        kind = self.frame_memory
        if kind == "registered" and frame.ctypes.data % mmap.PAGESIZE == 0:
            try:
                return memory.register(pixels), lambda: None
            except EngineError as problem:
                _LOG.warning("every frame is copied to the GPU: %s", problem)
        if kind in ("registered", "device"):
            # A slot that does not begin at a page, as that of the test piece, cannot be registered.
            address = memory.device(frame.nbytes)
            return address, lambda: memory.copy_in(address, pixels)
        shared = memory.mapped(frame.nbytes) if kind == "mapped" else memory.managed(frame.nbytes)
        return shared.address, lambda: np.copyto(shared.array, pixels)

    def _usual_memory(self) -> FrameMemory:
        measured = self.plan.facts.get("frame_memory")
        if measured in FRAME_MEMORIES:
            return measured  # type: ignore[no-any-return]
        if self.device.integrated and self.device.can_register:
            return "registered"
        _LOG.warning("%s cannot read the frame ring in place: every frame is copied to it", self.device)
        return "device"

    def _read_tensors(self, trt: Any) -> None:
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        outputs = [name for name in names if name not in inputs]
        shapes = [tuple(engine.get_tensor_shape(name)) for name in (*inputs, *outputs)]
        types = [engine.get_tensor_dtype(name) for name in (*inputs, *outputs)]
        self._require(
            types == [trt.DataType.UINT8, trt.DataType.FLOAT] and all(len(shape) == 4 for shape in shapes),
            f"it is not an inspection engine: {names} of types {types}",
        )
        (self._input,), (self._output,) = inputs, outputs
        self.frame_shape: tuple[int, int, int] = shapes[0][1:]
        self.maps_shape: tuple[int, int, int] = shapes[1][1:]

    def _require(self, fact: bool, problem: str) -> None:
        if not fact:
            reason = f" ({self._log.complaints[-1]})" if self._log.complaints else ""
            raise EngineError(f"TensorRT: {problem}{reason}.", fix=_REBUILD)

    def _open_memory(self) -> CudaMemory:
        if self._memory is None:
            raise EngineError("the runtime is closed.", fix="Open it again with `open_runtime`.")
        return self._memory


def _settle(memory: CudaMemory) -> None:
    """Wait for what a failed inference has left: memory must not go while the GPU uses it."""
    try:
        memory.synchronize()
    except EngineError as problem:
        _LOG.warning("%s", problem)
