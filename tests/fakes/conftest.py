"""What the tests of the fakes share: a machine with a current context."""

import importlib.util
import mmap

import numpy as np
import pytest

from fakes.install import installed_fakes
from fakes.tensorrt_versions import VERSIONS

# The rest of the fakes needs no torch.
collect_ignore = [] if importlib.util.find_spec("torch") else ["test_torch2trt.py"]


class Driver:
    """cuda.bindings.driver with codes as exceptions; `code` gives the code of a call instead."""

    def __init__(self, module):
        self.module = module

    def __getattr__(self, name):
        function = getattr(self.module, name)

        def call(*args):
            code, *values = function(*args)
            assert code == 0, f"{name}: {code!r}"
            return values[0] if values else None

        return call

    def code(self, name, *args):
        return getattr(self.module, name)(*args)[0].name.removeprefix("CUDA_ERROR_")


@pytest.fixture
def machine():
    with installed_fakes() as installed:
        yield installed


@pytest.fixture
def driver(machine):
    """The driver, initialised, with the primary context current in this thread."""
    import cuda.bindings.driver as module

    wrapped = Driver(module)
    wrapped.cuInit(0)
    wrapped.cuCtxSetCurrent(wrapped.cuDevicePrimaryCtxRetain(wrapped.cuDeviceGet(0)))
    return wrapped


@pytest.fixture
def stream(driver):
    return driver.cuStreamCreate(1)


@pytest.fixture
def pages():
    """Four pages of page-aligned host memory."""
    return np.frombuffer(mmap.mmap(-1, 4 * mmap.PAGESIZE), np.uint8)


@pytest.fixture
def cuda(machine):
    """PyCUDA, initialised, with the primary context pushed."""
    import pycuda.driver as module

    module.init()
    context = module.Device(0).retain_primary_context()
    context.push()
    module.primary = context
    return module


@pytest.fixture
def draft():
    """A weakly typed network of TensorRT 10.3, to be built in INT8 with a calibrator."""
    from fakes.weak_network import Draft

    with installed_fakes(tensorrt="10.3.0") as installed:
        import tensorrt

        tensorrt.machine = installed
        made = Draft(tensorrt)
        made.flag("INT8")
        made.config.int8_calibrator = made.calibrator()
        yield made


@pytest.fixture(params=VERSIONS)
def trt(request):
    """TensorRT in each of its versions."""
    with installed_fakes(tensorrt=request.param) as installed:
        import tensorrt

        tensorrt.machine = installed
        yield tensorrt
