"""What is asked of CUDA's libraries themselves, for no binding need be installed: is there a GPU, where is NVRTC?"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from engines.errors import EngineError

_LIBRARY = "libcuda.so.1"


def require_gpu() -> None:
    """Return where there is a GPU.

    Raises:
        EngineError: There is none, or no driver.
    """
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError as problem:
        raise _refused(f"there is no NVIDIA driver ({problem})") from problem
    code = driver.cuInit(0)
    if code:
        raise _refused(f"cuInit failed with {_name(driver, code)}")
    count = ctypes.c_int()
    code = driver.cuDeviceGetCount(ctypes.byref(count))
    if code or not count.value:
        raise _refused(f"the driver lists no GPU ({_name(driver, code)})")


def driver_library() -> Path | None:
    """Return the file of the driver's library; None before `require_gpu`."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    found = (Path(line.split(maxsplit=5)[-1]) for line in lines if "/libcuda.so" in line)
    return next(found, None)


def load_nvrtc() -> bool:
    """Load NVRTC, so that cuda-python finds it; returns whether it can be used.

    By itself, cuda-python looks in the interpreter's own folders and in the system's, not where the path leads.
    """
    for path in (found for entry in sys.path for found in sorted(Path(entry).glob("nvidia/*/lib/libnvrtc.so.*"))):
        ctypes.CDLL(str(path))
        break
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError):
        return False
    return True


def child_environment() -> dict[str, str]:
    """Return the environment in which a Python of ours imports what this one can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _name(driver: ctypes.CDLL, code: int) -> str:
    name = ctypes.c_char_p()
    driver.cuGetErrorName(code, ctypes.byref(name))
    return name.value.decode() if name.value else f"error {code}"


def _refused(reason: str) -> EngineError:
    return EngineError(f"no CUDA GPU can be used here: {reason}.", fix="Run it where `nvidia-smi` lists one.")
