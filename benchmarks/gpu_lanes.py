"""Lanes: one binding, one way of a frame, one kind of launch, and a slot of the ring for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from gpu_kernel import BoxMean, Launcher, Means

from edge_agent.ring import FrameRing
from engines.images import Frame
from engines.runtime.cuda_memory import CudaMemory
from engines.runtime.tensorrt import FrameMemory

LAUNCHES = ("stream", "graph")


@dataclass(frozen=True)
class Lane:
    """One way from a slot to the means.

    Attributes:
        binding: `cuda-python` or `pycuda`.
        way: How a frame gets to the GPU, as in `TensorRtRuntime`.
        launch: `stream`, or `graph`: recorded once, enqueued in one call.
        slot: Its own in the ring.
        means: What the kernel writes, (h, w, C) float32, in mapped memory.
        run: Moves the frame where that is needed, launches, and waits.
        wait: Waits only.
    """

    binding: str
    way: FrameMemory
    launch: str
    slot: int
    means: Means
    run: Callable[[], None]
    wait: Callable[[], None]

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.binding}, {self.way}, {self.launch}"


@dataclass(frozen=True)
class Device:
    """One binding, opened: its memory, its kernel, and the ways that it has on this GPU."""

    memory: CudaMemory
    launcher: Launcher
    ways: Sequence[FrameMemory]


@contextmanager
def open_lanes(devices: list[Device], ring: FrameRing, work: BoxMean) -> Iterator[list[Lane]]:
    """Open every lane of every binding; the slots of a ring are taken one after another, each registered once."""
    marks = [device.memory.mark() for device in devices]
    lanes: list[Lane] = []
    try:
        for device in devices:
            with device.memory.current():
                for way in device.ways:
                    for launch in LAUNCHES:
                        lane = open_lane(device, ring, len(lanes), work, way, launch)
                        lanes += [lane] if lane else []
        yield lanes
    finally:
        lanes.clear()
        for device, mark in zip(devices, marks, strict=True):
            with device.memory.current():
                device.memory.release(mark)


def open_lane(device: Device, ring: FrameRing, slot: int, work: BoxMean, way: FrameMemory, launch: str) -> Lane | None:
    """Open a lane; None where the binding has no graphs."""
    memory, mark = device.memory, device.memory.mark()
    address, move = _way_of(memory, ring.slot(slot), way)
    output = memory.mapped(int(np.prod(work.means_shape)) * np.dtype(np.float32).itemsize)

    def enqueue() -> None:
        device.launcher.enqueue(work, address, output.address)

    # The first launch may load what a graph must not.
    move()
    enqueue()
    memory.synchronize()
    start = memory.capture(enqueue) if launch == "graph" else enqueue
    if start is None:
        memory.release(mark)
        return None

    def run() -> None:
        with memory.current():
            move()
            start()
            memory.synchronize()

    def wait() -> None:
        with memory.current():
            memory.synchronize()

    means = output.array.view(np.float32).reshape(work.means_shape)
    return Lane(memory.binding, way, launch, slot, means, run, wait)


def _way_of(memory: CudaMemory, frame: Frame, way: FrameMemory) -> tuple[int, Callable[[], None]]:
    """Return where the GPU reads a frame, and what must be done before: the same as in `TensorRtRuntime`."""
    pixels = frame.reshape(-1)
    if way == "registered":
        return memory.register(pixels), lambda: None
    if way == "device":
        address = memory.device(frame.nbytes)
        return address, lambda: memory.copy_in(address, pixels)
    shared = memory.mapped(frame.nbytes) if way == "mapped" else memory.managed(frame.nbytes)
    return shared.address, lambda: np.copyto(shared.array, pixels)
