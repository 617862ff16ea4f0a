"""CUDA memory, streams and graphs: the little that an engine needs of them, over one of two Python bindings.

On a Jetson, CPU and GPU share their memory. What the CPU writes once and the GPU reads once is best left where it is:
the frame ring is registered with CUDA, and the small outputs lie in mapped memory. Everything else is device memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engines.errors import EngineError

_LOG = logging.getLogger(__name__)
Bytes = npt.NDArray[np.uint8]
BINDINGS = ("auto", "pycuda", "cuda-python")


@dataclass(frozen=True)
class DeviceFacts:
    """The GPU.

    Attributes:
        name: As the driver states it.
        compute_capability: Such as (8, 7).
        driver: Version of CUDA that the driver has, such as 12060.
        integrated: CPU and GPU share one memory.
        can_register: The GPU can read memory that others have allocated.
    """

    name: str
    compute_capability: tuple[int, int]
    driver: int
    integrated: bool
    can_register: bool

    def __str__(self) -> str:
        major, minor = self.compute_capability
        return f"{self.name} ({major}.{minor})"


@dataclass(frozen=True)
class Shared:
    """Memory that both sides see: `array` for the CPU, `address` for the GPU. It lives as long as its `CudaMemory`."""

    array: Bytes
    address: int


class CudaMemory(Protocol):
    """The first GPU of the machine, one stream on it, and whatever was allocated with it.

    Every method may be called from any thread, but by one at a time, and inside `current` (but for `close`).
    """

    binding: str
    facts: DeviceFacts
    stream: int

    def current(self) -> AbstractContextManager[None]:
        """Make the device's primary context current in this thread; it is per thread."""

    def register(self, array: Bytes) -> int:
        """Let the GPU read the caller's memory in place; returns its address for the GPU.

        Args:
            array: Contiguous, beginning at a page. The caller keeps it in place until `close`.

        Raises:
            EngineError: CUDA refused it.
        """

    def mapped(self, size: int) -> Shared:
        """Allocate bytes of page-locked memory that both sides see."""

    def managed(self, size: int) -> Shared:
        """Allocate bytes that move to the side that uses them."""

    def device(self, size: int) -> int:
        """Allocate bytes for the GPU alone; returns their address."""

    def copy_in(self, address: int, array: Bytes) -> None:
        """Enqueue a copy of contiguous host memory into device memory."""

    def synchronize(self) -> None:
        """Wait for all that was enqueued.

        Raises:
            EngineError: The GPU failed. Nothing of this object can be used after that.
        """

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None] | None:
        """Record what `enqueue` enqueues, and return what enqueues all of it at once; None without graphs."""

    def mark(self) -> int:
        """Return a mark; `release` frees what was allocated, registered or captured after it."""

    def release(self, mark: int) -> None:
        """Free in reverse order, down to a mark."""

    def close(self) -> None:
        """Free everything, and let the GPU go; a second call does nothing."""


class Possessions:
    """What frees each thing that was allocated, in the order of allocation."""

    def __init__(self) -> None:
        self._frees: list[Callable[[], None]] = []

    def add(self, free: Callable[[], None]) -> None:
        """Remember how a new thing is freed."""
        self._frees.append(free)

    def mark(self) -> int:
        """Return a mark for `release`."""
        return len(self._frees)

    def release(self, mark: int) -> None:
        """Free in reverse order, down to a mark; what a failed GPU refuses to free is logged, and the rest tried."""
        while len(self._frees) > mark:
            _try(self._frees.pop())


def _try(free: Callable[[], None]) -> None:
    try:
        free()
    except EngineError as problem:
        _LOG.warning("%s", problem)


def open_cuda(binding: str = "auto") -> CudaMemory:
    """Open the first GPU.

    Args:
        binding: `pycuda`, `cuda-python`, or `auto`, which prefers the second, for its graphs.

    Raises:
        EngineError: The binding is not installed, or there is no GPU.
    """
    if binding not in BINDINGS:
        raise EngineError(f"the CUDA binding `{binding}` is not known.", fix=f"Use one of {', '.join(BINDINGS)}.")
    problems = []
    if binding in ("auto", "cuda-python"):
        try:
            from engines.runtime.cuda_memory.cuda_python import CudaPythonMemory
        except ImportError as problem:
            problems.append(str(problem))
        else:
            return CudaPythonMemory()
    if binding in ("auto", "pycuda"):
        try:
            from engines.runtime.cuda_memory.pycuda_driver import PycudaMemory
        except ImportError as problem:
            problems.append(str(problem))
        else:
            return PycudaMemory()
    raise EngineError(
        f"CUDA cannot be used from Python ({'; '.join(problems)}).",
        fix="Install a binding: `pip install cuda-python`, or `pip install pycuda`, which builds with nvcc.",
    )
