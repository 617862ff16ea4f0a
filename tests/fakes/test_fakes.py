"""Every rule has a test that breaks it, and the fakes come and go without a trace."""

import importlib
import sys

import pytest

from fakes.cuda_device import discrete_device
from fakes.evidence import BROKEN_BY
from fakes.install import VENDORS, installed_fakes
from fakes.rules import RULES

for name in (
    "cuda_memory",
    "cuda_work",
    "pycuda",
    "tensorrt_build",
    "tensorrt_run",
    "tensorrt_network",
    "tensorrt_int8",
    "tensorrt_calibration",
):
    importlib.import_module(f"fakes.test_{name}")


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_broken_by_a_test(rule):
    assert BROKEN_BY.get(rule)


def vendor_modules():
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] in VENDORS}


def test_the_fakes_go_again():
    before = vendor_modules()
    with installed_fakes():
        import pycuda.driver
        import tensorrt
        from cuda.bindings import driver

        assert {pycuda.driver.__doc__, tensorrt.__doc__, driver.__doc__} <= {
            "Fake of PyCUDA 2026.1.",
            "Fake of TensorRT 10.3.0.",
            "Fake of cuda-bindings 12.9.10.",
        }
    assert vendor_modules() == before


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"tensorrt": None}, "tensorrt"),
        ({"cuda_python": None}, "cuda"),
        ({"cuda_python": "13.5.0"}, "cuda.cuda"),
        ({"cuda_python": "12.2"}, "cuda.bindings.driver"),
        ({"pycuda": False}, "pycuda.driver"),
    ],
)
def test_a_library_can_be_missing(settings, missing):
    with installed_fakes(**settings), pytest.raises(ModuleNotFoundError):
        importlib.import_module(missing)


def test_all_fakes_see_one_device():
    with installed_fakes(discrete_device(name="card")) as machine:
        import cuda.bindings.driver as cu
        import pycuda.driver

        cu.cuInit(0)
        assert cu.cuDeviceGetName(16, 0)[1].split(b"\0")[0].decode() == pycuda.driver.Device(0).name() == "card"
        context = pycuda.driver.Device(0).retain_primary_context()
        context.push()
        code, address = cu.cuMemAlloc(64)
        assert (code, machine.memory.used_bytes) == (0, 64)
        cu.cuMemFree(address)
        pycuda.driver.Context.pop()
        context.detach()
