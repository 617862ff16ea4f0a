"""Puts the fakes into `sys.modules` under the vendors' names, and takes them out again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from fakes.cuda_device import DeviceSettings
from fakes.cuda_machine import CudaMachine
from fakes.cuda_python import make_driver
from fakes.libcuda import opened_by_ctypes
from fakes.pycuda_driver import make_pycuda
from fakes.tensorrt_module import make_tensorrt
from fakes.torch2trt_module import Torch2TrtFinder

VENDORS = ("tensorrt", "torch2trt", "cuda", "pycuda")


class Forbidden(MetaPathFinder, Loader):
    """Lets every other import below the vendors' names fail, `pycuda.autoinit` as an assertion."""

    def __init__(self, machine: CudaMachine) -> None:
        self._machine = machine

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname == "pycuda.autoinit":
            self._machine.refused.append("pycuda-autoinit")
            raise AssertionError("pycuda.autoinit makes a context of its own; retain the primary one")
        if fullname.partition(".")[0] in VENDORS:
            raise ModuleNotFoundError(f"No module named {fullname!r} (fakes are installed)", name=fullname)
        return None


@contextmanager
def installed_fakes(
    settings: DeviceSettings | None = None,
    *,
    tensorrt: str | None = "10.3.0",
    cuda_python: str | None = "12.9.10",
    pycuda: bool = True,
    torch2trt: bool = False,
) -> Iterator[CudaMachine]:
    """Install the fakes of one machine; a library given as None or False cannot be imported.

    Args:
        settings: The device; a Jetson Orin unless given.
        tensorrt: A version of `tensorrt_versions.VERSIONS`.
        cuda_python: `12.2` has only `cuda.cuda`, other 12.x have that and `cuda.bindings.driver`, 13.x the latter.
        pycuda: Whether PyCUDA is there.
        torch2trt: Whether torch2trt is there, and torch can put tensors on the device; needs torch.

    Yields:
        The machine: order failures on it, and call `assert_nothing_left` at the end.
    """
    machine = CudaMachine(settings)
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in VENDORS}
    finder = Forbidden(machine)
    _remove()
    sys.modules.update(_modules(machine, tensorrt, cuda_python, pycuda=pycuda))
    finders = [*([Torch2TrtFinder(machine)] if torch2trt else []), finder]
    sys.meta_path[:0] = finders
    try:
        with opened_by_ctypes(machine), _cuda_tensors(machine) if torch2trt else nullcontext():
            yield machine
    finally:
        for added in finders:
            sys.meta_path.remove(added)
        _remove()
        sys.modules.update(before)


def _modules(
    machine: CudaMachine, tensorrt: str | None, cuda_python: str | None, *, pycuda: bool
) -> dict[str, ModuleType]:
    modules: dict[str, ModuleType] = {}
    if tensorrt is not None:
        modules["tensorrt"] = make_tensorrt(machine, tensorrt)
    if cuda_python is not None:
        modules["cuda"] = _package("cuda")
        if not cuda_python.startswith("13"):
            modules["cuda.cuda"] = make_driver(machine, cuda_python, "cuda.cuda")
        if cuda_python != "12.2":
            modules["cuda.bindings"] = _package("cuda.bindings")
            modules["cuda.bindings"].__version__ = cuda_python
            modules["cuda.bindings.driver"] = make_driver(machine, cuda_python)
    if pycuda:
        modules["pycuda"] = _package("pycuda")
        modules["pycuda.driver"] = make_pycuda(machine)
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    return modules


def _cuda_tensors(machine: CudaMachine) -> AbstractContextManager[None]:
    from fakes.torch_cuda import cuda_tensors

    return cuda_tensors(machine)


def _package(name: str) -> ModuleType:
    package = ModuleType(name)
    package.__path__ = []
    return package


def _remove() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in VENDORS]:
        del sys.modules[name]
