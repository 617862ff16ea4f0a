"""Datasets, flattener and calibrator of torch2trt, as on its last master of May 2024."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch


def holds_numbers(value: object) -> bool:
    """Whether the flattener counts a value as a tensor: half, float or bool, so frames of uint8 it leaves out."""
    return isinstance(value, torch.Tensor) and value.dtype in {torch.half, torch.float, torch.bool}


class Flattener:
    """`torch2trt.Flattener`: tells where in nested lists, tuples and dicts the tensors are."""

    def __init__(self, schema: object, size: int) -> None:
        self._schema, self._size = schema, size

    schema = property(lambda self: self._schema)
    size = property(lambda self: self._size)

    @staticmethod
    def from_value(value: object, condition: Callable[[object], bool] = holds_numbers) -> Flattener:
        count = 0

        def schema_of(part: object) -> object:
            nonlocal count
            if condition(part):
                count += 1
                return count - 1
            if isinstance(part, list | tuple):
                return type(part)([schema_of(child) for child in part])
            if isinstance(part, dict):
                return {key: schema_of(part[key]) for key in sorted(part)}
            return None

        schema = schema_of(value)
        return Flattener(schema, count)

    @staticmethod
    def from_dict(x: dict[str, object]) -> Flattener:
        return Flattener(x["schema"], x["size"])

    def dict(self) -> dict[str, object]:
        return {"schema": self._schema, "size": self._size}

    def __len__(self) -> int:
        return self._size

    def flatten(self, value: object) -> list[object]:
        found: list[object] = [None] * self._size

        def visit(schema: object, part: object) -> None:
            if isinstance(schema, int):
                found[schema] = part
            elif isinstance(schema, list | tuple):
                for child, inner in zip(schema, part, strict=False):
                    visit(child, inner)
            elif isinstance(schema, dict):
                for key in schema:
                    visit(schema[key], part[key])

        visit(self._schema, value)
        return found

    def unflatten(self, flattened: list[object]) -> object:
        def restore(schema: object) -> object:
            if isinstance(schema, int):
                return flattened[schema]
            if isinstance(schema, list | tuple):
                return type(schema)([restore(child) for child in schema])
            if isinstance(schema, dict):
                return {key: restore(child) for key, child in schema.items()}
            return None

        return restore(self._schema)


class Dataset:
    """`torch2trt.Dataset`: what a calibrator can be given."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> object:
        raise NotImplementedError

    def insert(self, item: object) -> None:
        raise NotImplementedError


class ListDataset(Dataset):
    """`torch2trt.ListDataset`: each item is the inputs of one call."""

    def __init__(self, items: list[object] | None = None) -> None:
        self.items = list(items or [])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> object:
        return self.items[index]

    def insert(self, item: object) -> None:
        self.items.append(item)


class TensorBatchDataset(Dataset):
    """`torch2trt.TensorBatchDataset`: each input is one tensor, cut along its first dimension."""

    def __init__(self, tensors: tuple[torch.Tensor, ...] | None = None) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return 0 if self.tensors is None else len(self.tensors[0])

    def __getitem__(self, idx: int) -> list[torch.Tensor]:
        if self.tensors is None:
            raise IndexError("Dataset is empty.")
        return [tensor[idx : idx + 1] for tensor in self.tensors]

    def insert(self, tensors: tuple[torch.Tensor, ...]) -> None:
        known = self.tensors
        self.tensors = tensors if known is None else tuple(map(torch.cat, zip(known, tensors, strict=True)))


def default_algorithm(trt: ModuleType) -> object:
    """Return the default of `DatasetCalibrator`; on TensorRT 11 the name is missing and the import fails.

    The real module compares versions as texts, in which "10.3.0" is less than "5.1": on TensorRT 10 it takes the older
    of the entropy calibrations.
    """
    kinds = trt.CalibrationAlgoType
    return kinds.ENTROPY_CALIBRATION_2 if trt.__version__ >= "5.1" else kinds.ENTROPY_CALIBRATION


def make_calibrator(trt: ModuleType) -> type:
    """Make `torch2trt.DatasetCalibrator`, which derives from a class of TensorRT."""
    default = default_algorithm(trt)

    class DatasetCalibrator(trt.IInt8Calibrator):
        """Hands out the addresses of a dataset's tensors, wherever they lie, once: after that it is empty."""

        def __init__(
            self,
            dataset: Dataset,
            algorithm: object = default,
            cache_file: str | None = None,
            flattener: Flattener | None = None,
        ) -> None:
            super().__init__()
            self.dataset, self.algorithm, self.cache_file, self.count = dataset, algorithm, cache_file, 0
            self.flattener = flattener or Flattener.from_value(dataset[0])

        def get_batch(self, *_: object) -> list[int]:
            if self.count >= len(self.dataset):
                return []
            tensors = self.flattener.flatten(self.dataset[self.count])
            self.count += 1
            return [int(tensor.data_ptr()) for tensor in tensors]

        def get_algorithm(self) -> object:
            return self.algorithm

        def get_batch_size(self) -> int:
            return 1

        def read_calibration_cache(self) -> bytes | None:
            if self.cache_file is None or not Path(self.cache_file).exists():
                return None
            return Path(self.cache_file).read_bytes()

        def write_calibration_cache(self, cache: memoryview) -> None:
            if self.cache_file is not None:
                Path(self.cache_file).write_bytes(cache)

    return DatasetCalibrator
