"""Sizes of tensors while torch2trt converts: whole numbers that are tensors of the network, too."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from fakes.torch2trt_context import ConversionContext

OPERATIONS = {"mul": "PROD", "add": "SUM", "sub": "SUB", "floordiv": "FLOOR_DIV"}


class Active:
    """The context that converts now, and whether sizes are wrapped; one of each in the process, as in torch2trt."""

    context: ClassVar[ConversionContext | None] = None
    wraps: ClassVar[list[bool]] = [True]


class PlainShapes:
    """`use_shape_wrapping(False)`: sizes are plain inside."""

    def __enter__(self) -> None:
        Active.wraps.insert(0, False)

    def __exit__(self, *_: object) -> None:
        Active.wraps.pop(0)


class IntWrapper(int):
    """`torch2trt.IntWrapper`: a number, and the int64 tensor that holds it."""

    @property
    def _trt(self) -> object:
        if not hasattr(self, "_raw_trt"):
            values = np.array([int.__index__(self)], np.int64)
            self._raw_trt = Active.context.network._network.add_constant([1], values).get_output(0)
        return self._raw_trt


def _calculating(name: str, *, reflected: bool) -> object:
    compute = getattr(operator, name)

    def calculate(self: IntWrapper, other: int) -> IntWrapper:
        pair = [number if isinstance(number, IntWrapper) else IntWrapper(number) for number in (self, other)]
        first, second = reversed(pair) if reflected else pair
        result, context = IntWrapper(compute(int.__index__(first), int.__index__(second))), Active.context
        operation = getattr(context.trt.ElementWiseOperation, OPERATIONS[name])
        layer = context.network._network.add_elementwise(first._trt, second._trt, operation)
        result._raw_trt = layer.get_output(0)
        return result

    return calculate


for _name in OPERATIONS:
    setattr(IntWrapper, f"__{_name}__", _calculating(_name, reflected=False))
    setattr(IntWrapper, f"__r{_name}__", _calculating(_name, reflected=True))


class SizeWrapper(tuple):
    """`torch2trt.SizeWrapper`: a size whose numbers are tensors, too."""

    __slots__ = ()

    @property
    def _trt(self) -> object:
        parts = [number._trt for number in self]
        return Active.context.network._network.add_concatenation(parts).get_output(0)


def wrapped(numbers: object) -> SizeWrapper:
    """Wrap numbers that are not yet wrapped."""
    return SizeWrapper(number if isinstance(number, IntWrapper) else IntWrapper(number) for number in numbers)
