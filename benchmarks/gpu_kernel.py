"""The one kernel, and the few calls of the two bindings that the product has no use for.

`box_mean` stands in for the first layer of an engine: it reads each byte of the uint8 frame once, casts, and writes the
mean of each box as float32. Sums of bytes are exact in both, and CUDA divides as IEEE 754 says unless asked otherwise:
so NumPy must get the very same bits.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from gpu_driver import load_nvrtc

from engines.errors import EngineError
from engines.images import Frame
from engines.runtime.cuda_memory import Bytes, CudaMemory

Means = npt.NDArray[np.float32]
NAME = "box_mean"
BLOCK = (32, 8, 1)
SOURCE = """
extern "C" __global__ void box_mean(
    const unsigned char *frame, float *means, int rows, int columns, int channels, int box)
{
    /* A value of a row of the result is one channel of one box: neighbours read neighbours. */
    const int value = blockIdx.x * blockDim.x + threadIdx.x;
    const int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= rows || value >= columns * channels) return;
    const int column = value / channels, channel = value % channels;
    const long long stride = (long long)columns * box * channels;
    unsigned int sum = 0;
    for (int y = 0; y < box; ++y)
        for (int x = 0; x < box; ++x)
            sum += frame[(row * box + y) * stride + (column * box + x) * channels + channel];
    means[row * columns * channels + value] = (float)sum / (float)(box * box);
}
"""
_FIX = "Report it with the output of this program."


@dataclass(frozen=True)
class BoxMean:
    """What is computed: frames of shape (H, W, C) become means of boxes; both sides must be multiples of the box."""

    frame_shape: tuple[int, int, int]
    box: int

    @property
    def means_shape(self) -> tuple[int, int, int]:
        """(h, w, C) of the result."""
        height, width, channels = self.frame_shape
        return height // self.box, width // self.box, channels

    def of(self, frame: Frame) -> Means:
        """Compute it with NumPy, (h, w, C) float32."""
        rows, columns, channels = self.means_shape
        boxes = frame.reshape(rows, self.box, columns, self.box, channels)
        sums = boxes.sum(axis=(1, 3), dtype=np.uint32).astype(np.float32)
        means: Means = sums / np.float32(self.box * self.box)
        return means


class Launcher(Protocol):
    """What enqueues the kernel on the stream of a `CudaMemory`; used inside its `current`.

    Attributes:
        compiler: What compiled the kernel, with its version.
    """

    compiler: str

    def enqueue(self, work: BoxMean, frame: int, means: int) -> None:
        """Enqueue the kernel, with the addresses of a frame and of the result."""

    def copy(self, address: int, array: Bytes) -> None:
        """Copy to the device and wait: cuMemcpyHtoD, and nothing else."""

    def close(self) -> None:
        """Unload the kernel."""


def open_launcher(memory: CudaMemory) -> Launcher:
    """Compile the kernel for the device, and load it with the binding that the memory came from.

    Raises:
        EngineError: There is no compiler, or it refused.
    """
    return CudaPythonLauncher(memory) if memory.binding == "cuda-python" else PycudaLauncher(memory)


class CudaPythonLauncher:
    """See `Launcher`; compiled by NVRTC."""

    def __init__(self, memory: CudaMemory) -> None:
        from cuda.bindings import driver

        self._cuda: Any = driver
        cubin, self.compiler = compile_kernel(memory.facts.compute_capability)
        self._module = self._call(driver.cuModuleLoadData, cubin)
        self._function = self._call(driver.cuModuleGetFunction, self._module, NAME.encode())
        self._stream = driver.CUstream(memory.stream)

    def enqueue(self, work: BoxMean, frame: int, means: int) -> None:
        values = (frame, means, *work.means_shape, work.box)
        types = (ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int] * 4)
        self._call(self._cuda.cuLaunchKernel, self._function, *_grid(work), *BLOCK, 0, self._stream, (values, types), 0)

    def copy(self, address: int, array: Bytes) -> None:
        self._call(self._cuda.cuMemcpyHtoD, address, array.ctypes.data, array.nbytes)

    def close(self) -> None:
        self._call(self._cuda.cuModuleUnload, self._module)

    @staticmethod
    def _call(function: Callable[..., Any], *arguments: Any) -> Any:
        return _checked(function.__name__, function(*arguments))


class PycudaLauncher:
    """See `Launcher`; compiled by PyCUDA's own compiler where there is an nvcc, else by NVRTC."""

    def __init__(self, memory: CudaMemory) -> None:
        import pycuda.driver as cuda

        self._cuda: Any = cuda
        if shutil.which("nvcc"):
            from pycuda.compiler import SourceModule, get_nvcc_version

            self.compiler = f"pycuda.compiler, {get_nvcc_version('nvcc').strip().splitlines()[-1]}"
            self._module = SourceModule(SOURCE, no_extern_c=True)
        else:
            cubin, self.compiler = compile_kernel(memory.facts.compute_capability)
            self._module = cuda.module_from_buffer(cubin)
        self._function = self._module.get_function(NAME)
        self._function.prepare("PPiiii")
        # PyCUDA launches on its own objects only, and the protocol gives the handle.
        self._stream: Any = memory._stream  # type: ignore[attr-defined]  # noqa: SLF001

    def enqueue(self, work: BoxMean, frame: int, means: int) -> None:
        grid = _grid(work)
        self._function.prepared_async_call(grid, BLOCK, self._stream, frame, means, *work.means_shape, work.box)

    def copy(self, address: int, array: Bytes) -> None:
        self._cuda.memcpy_htod(address, array)

    def close(self) -> None:
        # Unloaded with their last references, in the context that is current now.
        del self._function, self._module, self._stream


def compile_kernel(compute_capability: tuple[int, int]) -> tuple[bytes, str]:
    """Compile the kernel with NVRTC to machine code; returns it and the compiler's name.

    Machine code and not PTX: a driver refuses PTX of a newer compiler, machine code of the same major version it takes.

    Raises:
        EngineError: NVRTC is missing or refused.
    """
    load_nvrtc()
    try:
        from cuda.bindings import nvrtc

        major, minor = _checked("nvrtcVersion", nvrtc.nvrtcVersion())
    except (ImportError, RuntimeError) as problem:
        raise EngineError(f"NVRTC cannot be used: {problem}.", fix="Install nvidia-cuda-nvrtc, or nvcc.") from problem
    program = _checked("create", nvrtc.nvrtcCreateProgram(SOURCE.encode(), b"box_mean.cu", 0, [], []))
    option = "--gpu-architecture=sm_{}{}".format(*compute_capability).encode()
    (code,) = nvrtc.nvrtcCompileProgram(program, 1, [option])
    if int(code):
        log = b" " * _checked("log", nvrtc.nvrtcGetProgramLogSize(program))
        nvrtc.nvrtcGetProgramLog(program, log)
        raise EngineError(f"NVRTC refused the kernel: {log.decode(errors='replace').strip()}.", fix=_FIX)
    cubin = b" " * _checked("size", nvrtc.nvrtcGetCUBINSize(program))
    _checked("cubin", nvrtc.nvrtcGetCUBIN(program, cubin))
    nvrtc.nvrtcDestroyProgram(program)
    return cubin, f"NVRTC {major}.{minor}"


def _grid(work: BoxMean) -> tuple[int, int, int]:
    rows, columns, channels = work.means_shape
    return -(-columns * channels // BLOCK[0]), -(-rows // BLOCK[1]), 1


def _checked(what: str, answer: tuple[Any, ...]) -> Any:
    """Return what a call of cuda-python gives after its code.

    Raises:
        EngineError: The code is not 0.
    """
    code, *values = answer
    if int(code):
        raise EngineError(f"CUDA: {what} failed with {code!r}.", fix=_FIX)
    return (values[0] if len(values) == 1 else tuple(values)) if values else None
