"""A simulated GPU for code that drives a real one: the fakes, and nothing kept from one machine to the next."""

import sys
from contextlib import contextmanager

from fakes.install import installed_fakes

# They hold the vendor's module from the moment of their import.
DRIVERS = ("engines.runtime.cuda_memory.cuda_python", "engines.runtime.cuda_memory.pycuda_driver")
LIBRARIES = {"cuda-python": {"cuda_python": "12.9.10", "pycuda": False}, "pycuda": {"cuda_python": None}}


@contextmanager
def simulated_device(folder, monkeypatch, *, tensorrt="10.3.0", binding="cuda-python", settings=None, torch2trt=False):
    """Install a machine whose plans are kept in a folder.

    Yields:
        The machine of the fakes.
    """
    monkeypatch.setenv("CACHE_DIRECTORY", str(folder / "cache"))
    monkeypatch.setenv("STATE_DIRECTORY", str(folder / "state"))
    forget()
    try:
        with installed_fakes(settings, tensorrt=tensorrt, torch2trt=torch2trt, **LIBRARIES[binding]) as machine:
            yield machine
            machine.assert_nothing_left()
    finally:
        forget()


def forget():
    for name in DRIVERS:
        sys.modules.pop(name, None)
