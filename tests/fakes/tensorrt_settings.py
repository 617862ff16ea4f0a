"""What the bindings do with the values that they are given: dimensions, weights, and the properties of layers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fakes.tensorrt_core import Environment

if TYPE_CHECKING:
    from fakes.tensorrt_layer import ILayer

# `utils::type` of the bindings knows these; float64 is none of them.
WEIGHT_TYPES = {"float32", "float16", "int8", "int32", "int64", "uint8", "bool"}


def dims(values: object) -> tuple[int, ...]:
    """Convert to `tensorrt.Dims`: an iterable of whole numbers and nothing else, None in it least of all."""
    try:
        return tuple(int(operator.index(value)) for value in values)
    except TypeError as problem:
        raise TypeError(f"incompatible function arguments: {values!r} is no tensorrt.Dims") from problem


def weights_of(env: Environment, array: object) -> np.ndarray:
    """Convert to `tensorrt.Weights` and take a copy, which the real library does not: it keeps the array alive.

    Raises:
        TypeError: It is no array, or of a type that TensorRT does not have.
        ValueError: The array is not contiguous, such as weights of a torch network in channels-last order.
    """
    if not isinstance(array, np.ndarray) or array.dtype.name not in WEIGHT_TYPES:
        kind = getattr(array, "dtype", type(array).__name__)
        raise TypeError(f"incompatible function arguments: {kind} is no tensorrt.Weights")
    if not array.flags.c_contiguous:
        env.machine.refused.append("trt-weights-contiguous")
        text = "Could not convert non-contiguous NumPy array to Weights. Please use numpy.ascontiguousarray()"
        raise ValueError(f"{text} to fix this.")
    return array.copy()


class Setting:
    """A property of a layer; `default` may be a function of the layer."""

    def __init__(self, default: object = None, *, convert: Callable[[object], object] = lambda value: value) -> None:
        self._default, self._convert = default, convert

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, layer: ILayer | None, owner: type) -> object:
        if layer is None:
            return self
        if self._name in layer._settings:
            return layer._settings[self._name]
        return self._default(layer) if callable(self._default) else self._default

    def __set__(self, layer: ILayer, value: object) -> None:
        layer._settings[self._name] = self._convert(value)
        layer._network._facts.forget(layer)
