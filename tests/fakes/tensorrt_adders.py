"""The adders of the network API, under the names and with the parameters of the bindings.

Layers and tensors are named as in real networks: `(Unnamed Layer* 3) [Convolution]`, and `..._output` behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

from fakes import tensorrt_layers, tensorrt_shape_layers
from fakes.tensorrt_facts import ONNX_TYPE_OF
from fakes.tensorrt_settings import dims, weights_of
from fakes.tensorrt_versions import Named

if TYPE_CHECKING:
    from fakes.tensorrt_layer import ILayer, ITensor


class Adders:
    """The part of `INetworkDefinition` that adds."""

    def add_input(self, name: str, dtype: Named, shape: Sequence[int]) -> ITensor:
        known = [size if size >= 0 else None for size in dims(shape)]
        return self._new_input(helper.make_tensor_value_info(name, ONNX_TYPE_OF[dtype.name], known))

    def add_constant(self, shape: Sequence[int], weights: np.ndarray) -> ILayer | None:
        """Add a constant; None and an error on the logger where the numbers do not fill the shape."""
        values, size = weights_of(self._env, weights), dims(shape)
        if values.size != int(np.prod(size, dtype=np.int64)):
            text = f"INetworkDefinition::addConstant: Error Code 3: API Usage Error (weights count {values.size}"
            self._env.refuse(self._logger, "trt-weights-count", f"{text} does not fill {size})")
            return None
        return self._added("Constant", [], weights={"values": values.reshape(size)}, shape=size)

    def add_convolution_nd(
        self,
        input: ITensor,  # noqa: A002 - the vendor's parameter
        num_output_maps: int,
        kernel_shape: Sequence[int],
        kernel: np.ndarray,
        bias: np.ndarray | None = None,
    ) -> ILayer:
        weights = {"kernel": weights_of(self._env, kernel)} | (
            {} if bias is None else {"bias": weights_of(self._env, bias)}
        )
        size = dims(kernel_shape)
        return self._added(
            "Convolution", [input], weights=weights, num_output_maps=num_output_maps, kernel_size_nd=size
        )

    def add_pooling_nd(self, input: ITensor, type: Named, window_size: Sequence[int]) -> ILayer:  # noqa: A002
        return self._added("Pooling", [input], type=type, window_size_nd=dims(window_size))

    def add_activation(self, input: ITensor, type: Named) -> ILayer:  # noqa: A002
        return self._added("Activation", [input], type=type)

    def add_elementwise(self, input1: ITensor, input2: ITensor, op: Named) -> ILayer:
        return self._added("ElementWise", [input1, input2], op=op)

    def add_unary(self, input: ITensor, op: Named) -> ILayer:  # noqa: A002
        return self._added("Unary", [input], op=op)

    def add_scale(self, input: ITensor, mode: Named, shift: object, scale: object, power: object) -> ILayer:  # noqa: A002
        return self.add_scale_nd(input, mode, shift, scale, power, 1)

    def add_scale_nd(
        self,
        input: ITensor,  # noqa: A002
        mode: Named,
        shift: np.ndarray,
        scale: np.ndarray,
        power: np.ndarray,
        channel_axis: int,
    ) -> ILayer:
        given = {"shift": shift, "scale": scale, "power": power}
        weights = {name: weights_of(self._env, array) for name, array in given.items() if array is not None}
        return self._added("Scale", [input], weights=weights, mode=mode, channel_axis=channel_axis)

    def add_reduce(self, input: ITensor, op: Named, axes: int, keep_dims: bool) -> ILayer:  # noqa: A002
        return self._added("Reduce", [input], op=op, axes=axes, keep_dims=keep_dims)

    def add_concatenation(self, inputs: Sequence[ITensor]) -> ILayer:
        return self._added("Concatenation", list(inputs))

    def add_shuffle(self, input: ITensor) -> ILayer:  # noqa: A002
        return self._added("Shuffle", [input])

    def add_resize(self, input: ITensor) -> ILayer:  # noqa: A002
        return self._added("Resize", [input])

    def add_slice(
        self,
        input: ITensor,  # noqa: A002
        start: Sequence[int],
        shape: Sequence[int],
        stride: Sequence[int],
    ) -> ILayer:
        return self._added("Slice", [input], start=dims(start), shape=dims(shape), stride=dims(stride))

    def add_shape(self, input: ITensor) -> ILayer:  # noqa: A002
        return self._added("Shape", [input])

    def add_identity(self, input: ITensor) -> ILayer:  # noqa: A002
        return self._added("Identity", [input])

    def add_cast(self, input: ITensor, to_type: Named) -> ILayer:  # noqa: A002
        return self._added("Cast", [input], to_type=to_type)

    def _added(self, kind: str, inputs: list, weights: dict | None = None, **settings: object) -> ILayer:
        name = f"(Unnamed Layer* {len(self._layers)}) [{kind}]"
        entries = [self._own(tensor) for tensor in inputs]
        layer = self._env.make(f"I{kind}Layer", self, name, entries)
        layer._given = weights or {}
        layer._settings = settings
        layer._outputs = [self._env.make("ITensor", self, f"{name}_output", layer)]
        self._layers.append(layer)
        return layer


LAYER_CLASSES = {
    name: value
    for module in (tensorrt_layers, tensorrt_shape_layers)
    for name, value in vars(module).items()
    if name.startswith("I") and name.endswith("Layer") and name != "ILayer"
}
