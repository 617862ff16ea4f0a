"""The layers of the network API that move or describe numbers, each with the ONNX nodes that do the same."""

from __future__ import annotations

import numpy as np
from onnx import helper

from fakes.tensorrt_layers import AddedLayer, Emitted
from fakes.tensorrt_settings import Setting, dims


class ShapedLayer(AddedLayer):
    """A layer of which an input may stand for one of its settings."""

    def _value(self, index: int) -> tuple[int, ...] | None:
        """Return the numbers at an input; None where there is no such input."""
        if len(self._entries) <= index or isinstance(self._entries[index], str):
            return None
        value = self._network._facts.checked(self._entries[index]).value
        if value is None:
            raise NotImplementedError("the fake knows shapes that are constant at build time only")
        return tuple(int(number) for number in value.reshape(-1))


class IConstantLayer(AddedLayer):
    """`tensorrt.IConstantLayer`."""

    _KIND = "CONSTANT"
    shape = Setting(convert=dims)
    weights = property(lambda self: self._given["values"])

    def _emit(self) -> Emitted:
        return [], {self._outputs[0].name: self._given["values"]}


class IShapeLayer(AddedLayer):
    """`tensorrt.IShapeLayer`: int64, as in TensorRT 10."""

    _KIND = "SHAPE"

    def _emit(self) -> Emitted:
        return [self._node_of("Shape")], {}


class IConcatenationLayer(AddedLayer):
    """`tensorrt.IConcatenationLayer`; the axis is by default the third from the last, or the first."""

    _KIND = "CONCATENATION"
    axis = Setting(lambda layer: max(0, len(layer._shape()) - 3))

    def _emit(self) -> Emitted:
        return [self._node_of("Concat", axis=int(self.axis))], {}


class IShuffleLayer(ShapedLayer):
    """`tensorrt.IShuffleLayer`: transpose, reshape, transpose; 0 keeps a dimension, -1 is what remains."""

    _KIND = "SHUFFLE"
    _MOST_INPUTS = 2
    first_transpose, second_transpose = Setting(convert=dims), Setting(convert=dims)
    reshape_dims = Setting(convert=dims)

    def _emit(self) -> Emitted:
        steps: list[tuple[str, list[str], dict[str, object]]] = []
        weights = {}
        if self.first_transpose is not None:
            steps.append(("Transpose", [], {"perm": self.first_transpose}))
        target = self._value(1) or self.reshape_dims
        if target is not None:
            self._check_volume(target)
            name = self._own_name("shape")
            weights[name] = np.array(target, np.int64)
            steps.append(("Reshape", [name], {}))
        if self.second_transpose is not None:
            steps.append(("Transpose", [], {"perm": self.second_transpose}))
        return self._chain(steps or [("Identity", [], {})]), weights

    def _check_volume(self, target: tuple[int, ...]) -> None:
        shape = self._shape()
        turned = shape if self.first_transpose is None else tuple(shape[axis] for axis in self.first_transpose)
        kept = [turned[i] if size == 0 and i < len(turned) else size for i, size in enumerate(target)]
        known, whole = int(np.prod([size for size in kept if size != -1])), int(np.prod(shape))
        if -1 not in shape and (whole % known if -1 in kept else whole != known):
            raise self._invalid("trt-invalid-layer", f"reshape changes volume, from {shape} to {target}")

    def _chain(self, steps: list[tuple[str, list[str], dict[str, object]]]) -> list:
        nodes, name = [], self._names()[0]
        for index, (operator, more, given) in enumerate(steps):
            output = self._outputs[0].name if index == len(steps) - 1 else self._own_name(f"step {index}")
            nodes.append(helper.make_node(operator, [name, *more], [output], "" if index else self.name, **given))
            name = output
        return nodes


class ISliceLayer(ShapedLayer):
    """`tensorrt.ISliceLayer`; start, shape and stride may come from inputs 1, 2 and 3."""

    _KIND = "SLICE"
    _MOST_INPUTS = 4
    start, shape, stride = Setting(convert=dims), Setting(convert=dims), Setting(convert=dims)
    mode = Setting()

    def _emit(self) -> Emitted:
        given = (self.start, self.shape, self.stride)
        start, size, stride = (self._value(index + 1) or known for index, known in enumerate(given))
        reaches = zip(start, size, stride, self._shape(), strict=True)
        if any(a < 0 or n < 0 or a + (n - 1) * s >= whole for a, n, s, whole in reaches):
            raise self._invalid("trt-invalid-layer", f"slice is out of bounds of {self._shape()}: {start}, {size}")
        ends = [a + (n - 1) * s + 1 for a, n, s in zip(start, size, stride, strict=True)]
        parts = {"starts": start, "ends": ends, "axes": range(len(start)), "steps": stride}
        weights = {self._own_name(name): np.array(value, np.int64) for name, value in parts.items()}
        return [self._node_of("Slice", [self._names()[0], *weights])], weights


MODES = {"NEAREST": "nearest", "LINEAR": "linear", "CUBIC": "cubic"}
ROUNDING = {"HALF_UP": "round_prefer_ceil", "HALF_DOWN": "round_prefer_floor", "FLOOR": "floor", "CEIL": "ceil"}


class IResizeLayer(ShapedLayer):
    """`tensorrt.IResizeLayer`, by scales, by shape or by a shape at input 1; corners and rounding as by default."""

    _KIND = "RESIZE"
    _MOST_INPUTS = 2
    resize_mode, coordinate_transformation, nearest_rounding = Setting(), Setting(), Setting()
    selector_for_single_pixel = Setting()
    scales = Setting(convert=lambda values: tuple(float(value) for value in values))
    shape = Setting(convert=dims)

    def _emit(self) -> Emitted:
        target = self._value(1) or self.shape
        if target is None and self.scales is None:
            raise self._invalid("trt-invalid-layer", "resize has neither scales nor a shape")
        name = self._own_name("sizes" if target else "scales")
        weights = {name: np.array(target, np.int64) if target else np.array(self.scales, np.float32)}
        transformation = self.coordinate_transformation
        node = self._node_of(
            "Resize",
            [self._names()[0], "", *(["", name] if target else [name])],
            mode=MODES[self.resize_mode.name] if self.resize_mode else "nearest",
            coordinate_transformation_mode=transformation.name.lower() if transformation else "asymmetric",
            nearest_mode=ROUNDING[self.nearest_rounding.name] if self.nearest_rounding else "floor",
        )
        return [node], weights
