"""Makes the fake package `torch2trt`, at import and not before, so that the import fails where the real one does."""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from fakes.cuda_machine import CudaMachine

SUBMODULES = ("torch2trt", "dataset", "dataset_calibrator", "flattener", "converters")


class Torch2TrtFinder(MetaPathFinder, Loader):
    """Finds `torch2trt` and nothing else."""

    def __init__(self, machine: CudaMachine) -> None:
        self._machine = machine

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname == "torch2trt" else None

    def exec_module(self, module: ModuleType) -> None:
        """Fill the package.

        Raises:
            AttributeError: On TensorRT 11, whose calibrators are gone; not an ImportError.
            ModuleNotFoundError: There is no TensorRT at all.
        """
        import tensorrt as trt

        from fakes import torch2trt_context, torch2trt_converters, torch2trt_data

        algorithm, calibrator = torch2trt_data.default_algorithm(trt), torch2trt_data.make_calibrator(trt)
        registry = torch2trt_context.Registry()
        torch2trt_converters.register_all(trt, registry)
        names = {
            "CONVERTERS": registry.converters,
            "ConversionContext": torch2trt_context.make_context_type(trt, registry),
            "DEFAULT_CALIBRATION_ALGORITHM": algorithm,
            "Dataset": torch2trt_data.Dataset,
            "DatasetCalibrator": calibrator,
            "Flattener": torch2trt_data.Flattener,
            "ListDataset": torch2trt_data.ListDataset,
            "TensorBatchDataset": torch2trt_data.TensorBatchDataset,
            "add_missing_trt_tensors": torch2trt_context.add_missing_trt_tensors,
            "broadcast_trt_tensors": torch2trt_context.broadcast_trt_tensors,
            "get_arg": torch2trt_context.get_arg,
            "tensorrt_converter": registry.tensorrt_converter,
            "torch2trt": _torch2trt,
            "trt": trt,
        }
        for name in SUBMODULES:
            part = ModuleType(f"torch2trt.{name}")
            part.__dict__.update(names)
            sys.modules[part.__name__] = part
            setattr(module, name, part)
        module.__doc__ = "Fake of torch2trt, master of May 2024."
        # The function hides the submodule of the same name, as in the real package.
        module.__dict__.update(names)


def _torch2trt(*_: object, **__: object) -> None:
    raise NotImplementedError("the fake converts by ConversionContext only, not by torch2trt()")
