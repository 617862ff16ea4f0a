"""`libcuda.so.1` as ctypes opens it: the three functions by which host memory is registered."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from fakes.cuda_codes import CudaError
from fakes.cuda_machine import CudaMachine

NAME = "libcuda.so.1"


class Libcuda:
    """Functions return codes; addresses come as `c_void_p`, as the prototypes of cuda.h have them."""

    def __init__(self, machine: CudaMachine) -> None:
        self._machine = machine

    def cuMemHostRegister_v2(self, p: ctypes.c_void_p, size: ctypes.c_size_t, flags: ctypes.c_uint) -> int:  # noqa: N802 - of cuda.h
        return self._code(lambda: self._machine.register_host(p.value, size.value, flags.value))

    def cuMemHostGetDevicePointer_v2(self, out: Any, p: ctypes.c_void_p, flags: ctypes.c_uint) -> int:  # noqa: N802 - of cuda.h
        def write() -> None:
            out._obj.value = int(self._machine.device_pointer(p.value, flags.value))

        return self._code(write)

    def cuMemHostUnregister(self, p: ctypes.c_void_p) -> int:  # noqa: N802 - of cuda.h
        return self._code(lambda: self._machine.unregister_host(p.value))

    def _code(self, call: Callable[[], object]) -> int:
        try:
            with self._machine.lock:
                call()
        except CudaError as error:
            return int(error.code)
        return 0


@contextmanager
def opened_by_ctypes(machine: CudaMachine) -> Iterator[None]:
    """Let `ctypes.CDLL` find the library."""
    real = ctypes.CDLL

    def open_library(name: Any, *args: Any, **options: Any) -> Any:
        return Libcuda(machine) if name == NAME else real(name, *args, **options)

    with patch.object(ctypes, "CDLL", open_library):
        yield
