"""The layers of the network API that compute, each with the ONNX nodes that compute the same.

Properties have the names and defaults that the bindings document.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from fakes.tensorrt_facts import ONNX_TYPE_OF, InvalidNetworkError
from fakes.tensorrt_layer import ILayer, Weights
from fakes.tensorrt_settings import Setting, dims

Emitted = tuple[list[onnx.NodeProto], Weights]


class AddedLayer(ILayer):
    """What added layers share: weights as given, and settings."""

    _settings: dict[str, object]
    _given: dict[str, np.ndarray]

    def _shape(self, index: int = 0) -> tuple[int, ...]:
        return self._network._facts.checked(self._entries[index]).shape

    def _dtype(self, index: int = 0) -> str:
        return self._network._facts.checked(self._entries[index]).dtype

    def _names(self) -> list[str]:
        return [entry if isinstance(entry, str) else entry.name for entry in self._entries]

    def _own_name(self, part: str) -> str:
        return f"{self._outputs[0].name} {part}"

    def _node_of(self, operator: str, inputs: list[str] | None = None, output: str = "", **given: object):
        names = self._names() if inputs is None else inputs
        return helper.make_node(operator, names, [output or self._outputs[0].name], self.name, **given)

    def _invalid(self, rule: str, text: str) -> InvalidNetworkError:
        return InvalidNetworkError(rule, f"{self.name}: {text}")


def _ones(layer: AddedLayer) -> tuple[int, ...]:
    return (1,) * (len(layer._shape()) - 2)


def _zeros(layer: AddedLayer) -> tuple[int, ...]:
    return (0,) * (len(layer._shape()) - 2)


class IConvolutionLayer(AddedLayer):
    """`tensorrt.IConvolutionLayer`."""

    _KIND = "CONVOLUTION"
    num_output_maps, num_groups = Setting(), Setting(1)
    kernel_size_nd = Setting(convert=dims)
    stride_nd, dilation_nd = Setting(_ones, convert=dims), Setting(_ones, convert=dims)
    padding_nd = Setting(_zeros, convert=dims)
    kernel = property(lambda self: self._given["kernel"])
    bias = property(lambda self: self._given.get("bias"))

    def _emit(self) -> Emitted:
        shape = (self.num_output_maps, self._shape()[1] // self.num_groups, *self.kernel_size_nd)
        if self.kernel.size != int(np.prod(shape)):
            text = f"kernel weights has count {self.kernel.size} but {int(np.prod(shape))} was expected"
            raise self._invalid("trt-weights-count", text)
        weights = {self._own_name("kernel"): self.kernel.reshape(shape)}
        if self.bias is not None:
            weights[self._own_name("bias")] = self.bias.reshape(-1)
        node = self._node_of(
            "Conv",
            [*self._names(), *weights],
            kernel_shape=self.kernel_size_nd,
            strides=self.stride_nd,
            pads=[*self.padding_nd, *self.padding_nd],
            dilations=self.dilation_nd,
            group=self.num_groups,
        )
        return [node], weights


class IPoolingLayer(AddedLayer):
    """`tensorrt.IPoolingLayer`; the stride is one unless it is set, and not the window's size as in torch."""

    _KIND = "POOLING"
    type = Setting()
    window_size_nd = Setting(convert=dims)
    stride_nd, padding_nd = Setting(_ones, convert=dims), Setting(_zeros, convert=dims)
    padding_mode, average_count_excludes_padding = Setting(), Setting(True)  # noqa: FBT003 - a default

    def _emit(self) -> Emitted:
        given = {
            "kernel_shape": self.window_size_nd,
            "strides": self.stride_nd,
            "pads": [*self.padding_nd, *self.padding_nd],
            "ceil_mode": int(self.padding_mode is not None and self.padding_mode.name == "EXPLICIT_ROUND_UP"),
        }
        if self.type.name == "MAX":
            return [self._node_of("MaxPool", **given)], {}
        counts = int(not self.average_count_excludes_padding)
        return [self._node_of("AveragePool", count_include_pad=counts, **given)], {}


ACTIVATIONS = {"RELU": "Relu", "SIGMOID": "Sigmoid", "TANH": "Tanh", "SOFTSIGN": "Softsign", "SELU": "Selu"}
PARAMETRIC = {"LEAKY_RELU": "LeakyRelu", "ELU": "Elu"}


class IActivationLayer(AddedLayer):
    """`tensorrt.IActivationLayer`."""

    _KIND = "ACTIVATION"
    type, alpha, beta = Setting(), Setting(0.0), Setting(0.0)

    def _emit(self) -> Emitted:
        kind = self.type.name
        if kind in ACTIVATIONS:
            return [self._node_of(ACTIVATIONS[kind])], {}
        if kind in PARAMETRIC:
            return [self._node_of(PARAMETRIC[kind], alpha=float(self.alpha))], {}
        if kind != "CLIP":
            raise NotImplementedError(f"the fake has no activation {kind}")
        bounds = {self._own_name("low"): np.float32(self.alpha), self._own_name("high"): np.float32(self.beta)}
        return [self._node_of("Clip", [*self._names(), *bounds])], {n: np.array(v) for n, v in bounds.items()}


ELEMENTWISE = {
    "SUM": "Add",
    "PROD": "Mul",
    "MAX": "Max",
    "MIN": "Min",
    "SUB": "Sub",
    "DIV": "Div",
    "POW": "Pow",
    "FLOOR_DIV": "Div",
    "EQUAL": "Equal",
    "GREATER": "Greater",
    "LESS": "Less",
}


class IElementWiseLayer(AddedLayer):
    """`tensorrt.IElementWiseLayer`: both inputs have as many dimensions, of which those of size 1 are broadcast."""

    _KIND = "ELEMENTWISE"
    op = Setting()

    def _emit(self) -> Emitted:
        first, second = self._shape(0), self._shape(1)
        if len(first) != len(second) or self._dtype(0) != self._dtype(1):
            text = (
                f"elementwise inputs must have same dimensions or follow broadcast rules (input dimensions were {first}"
            )
            raise self._invalid("trt-elementwise", f"{text} {self._dtype(0)} and {second} {self._dtype(1)})")
        nodes = [self._node_of(ELEMENTWISE[self.op.name])]
        if self.op.name == "FLOOR_DIV" and self._dtype() == "FLOAT":
            nodes[0].output[0] = self._own_name("quotient")
            nodes.append(helper.make_node("Floor", [nodes[0].output[0]], [self._outputs[0].name]))
        return nodes, {}


UNARY = {"RECIP": "Reciprocal"}


class IUnaryLayer(AddedLayer):
    """`tensorrt.IUnaryLayer`."""

    _KIND = "UNARY"
    op = Setting()

    def _emit(self) -> Emitted:
        return [self._node_of(UNARY.get(self.op.name, self.op.name.capitalize()))], {}


class IScaleLayer(AddedLayer):
    """`tensorrt.IScaleLayer`: (x * scale + shift) ** power; powers other than 1 are not faked."""

    _KIND = "SCALE"
    mode, channel_axis = Setting(), Setting(1)

    def _emit(self) -> Emitted:
        if (self._given.get("power", np.ones(1)) != 1).any():
            raise NotImplementedError("the fake has no scale layers with a power")
        shape = [1] * len(self._shape())
        if self.mode.name == "CHANNEL":
            shape[self.channel_axis] = -1
        scale, shift = (self._given.get(name, np.float32([start])) for name, start in (("scale", 1), ("shift", 0)))
        count = self._shape()[self.channel_axis] if self.mode.name == "CHANNEL" else 1
        if {scale.size, shift.size} - {count} and self.mode.name != "ELEMENTWISE":
            text = f"shift weights has count {shift.size}, scale weights {scale.size}, but {count} was expected"
            raise self._invalid("trt-weights-count", text)
        scaled, names = self._own_name("scaled"), [self._own_name("scale"), self._own_name("shift")]
        nodes = [
            self._node_of("Mul", [*self._names(), names[0]], scaled),
            helper.make_node("Add", [scaled, names[1]], [self._outputs[0].name]),
        ]
        return nodes, dict(zip(names, (scale.reshape(shape), shift.reshape(shape)), strict=True))


REDUCE = {"SUM": "ReduceSum", "PROD": "ReduceProd", "MAX": "ReduceMax", "MIN": "ReduceMin", "AVG": "ReduceMean"}


class IReduceLayer(AddedLayer):
    """`tensorrt.IReduceLayer`; `axes` is a bit mask."""

    _KIND = "REDUCE"
    op, axes, keep_dims = Setting(), Setting(), Setting()

    def _emit(self) -> Emitted:
        axes = [axis for axis in range(len(self._shape())) if self.axes >> axis & 1]
        operator, keeps = REDUCE[self.op.name], int(self.keep_dims)
        if self._network._opset < 18 and operator != "ReduceSum":
            return [self._node_of(operator, axes=axes, keepdims=keeps)], {}
        name = self._own_name("axes")
        return [self._node_of(operator, [*self._names(), name], keepdims=keeps)], {name: np.array(axes, np.int64)}


class IIdentityLayer(AddedLayer):
    """`tensorrt.IIdentityLayer`; it converts nothing here."""

    _KIND = "IDENTITY"

    def _emit(self) -> Emitted:
        return [self._node_of("Identity")], {}


class ICastLayer(AddedLayer):
    """`tensorrt.ICastLayer`."""

    _KIND = "CAST"
    to_type = Setting()

    def _emit(self) -> Emitted:
        return [self._node_of("Cast", to=ONNX_TYPE_OF[self.to_type.name])], {}
