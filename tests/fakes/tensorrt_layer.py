"""Tensors and layers of a network; every type of layer that the network API adds derives from `ILayer`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import onnx

from fakes.tensorrt_core import Environment
from fakes.tensorrt_versions import Named

if TYPE_CHECKING:
    from fakes.tensorrt_facts import Fact
    from fakes.tensorrt_network import INetworkDefinition

# `isNonActivationType` of trtexec (samples/common/sampleEngines.cpp): layers of these types take no precision.
NOT_ACTIVATIONS = {"INT32", "INT64", "BOOL", "UINT8"}
Weights = dict[str, np.ndarray | onnx.TensorProto]


class ITensor:
    """`tensorrt.ITensor`: an input of the network, or an output of a layer; its shape and type follow from both."""

    def __init__(self, env: Environment, network: INetworkDefinition, name: str, maker: ILayer | None = None) -> None:
        self._env, self._network, self._name, self._maker = env, network, name, maker
        self._fact: Fact | None = None
        self._range: tuple[float, float] | None = None
        self.location = env.enums["TensorLocation"].DEVICE

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        self._name = value

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions, -1 where not known; those of an impossible layer cannot be read, as in the bindings."""
        return self._network._facts.of(self).shape

    @property
    def dtype(self) -> Named:
        return self._env.enums["DataType"][self._network._facts.of(self).dtype]

    @dtype.setter
    def dtype(self, value: Named) -> None:
        """Only a network output's type can be changed, and here only to what it is."""
        if value != self.dtype:
            raise NotImplementedError("the fake converts no network outputs")

    is_network_input = property(lambda self: self._maker is None)
    is_network_output = property(lambda self: any(self is tensor for tensor in self._network._outputs))

    @property
    def dynamic_range(self) -> tuple[float, float] | None:
        return self._range

    def set_dynamic_range(self, min: float, max: float) -> bool:  # noqa: A002 - the vendor's parameters
        self._range = (float(min), float(max))
        return True


class ILayer:
    """`tensorrt.ILayer`; the class of what was parsed, and the base of what is added."""

    _KIND, _MOST_INPUTS = "", 0

    def __init__(self, env: Environment, network: INetworkDefinition, name: str, entries: Iterable[object]) -> None:
        self._env, self._network, self._name = env, network, name
        self._entries: list[ITensor | str] = list(entries)
        self._outputs: list[ITensor] = []
        self._node: onnx.NodeProto | None = None
        self._kind, self._most_inputs = self._KIND, self._MOST_INPUTS
        self._weights: Weights = {}
        self.metadata = ""
        self._precision: Named | None = None
        self._output_types: dict[int, Named] = {}

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        """A name that another layer has is refused, as TensorRT for RTX 1.7 does; the layer keeps its own."""
        layers = (self._network.get_layer(index) for index in range(self._network.num_layers))
        if any(layer is not self and layer.name == value for layer in layers):
            text = f"ILayer::setName: Error Code 3: API Usage Error ({self._name} to {value}: already in use)"
            self._env.refuse(self._network._logger, "trt-rename", text)
            return
        self._name = value

    type = property(lambda self: self._env.enums["LayerType"][self._kind])
    _slots = property(lambda self: [i for i, entry in enumerate(self._entries) if isinstance(entry, ITensor)])
    num_inputs = property(lambda self: len(self._slots))
    num_outputs = property(lambda self: len(self._outputs))

    def get_input(self, index: int) -> ITensor | None:
        return self._entries[self._slots[index]] if 0 <= index < self.num_inputs else None

    def get_output(self, index: int) -> ITensor | None:
        return self._outputs[index] if 0 <= index < self.num_outputs else None

    def set_input(self, index: int, tensor: ITensor) -> None:
        """Replace an input; only some types of layers can be given more than they have."""
        self._network._own(tensor)
        slots = self._slots
        if index < len(slots):
            self._entries[slots[index]] = tensor
        elif index < self._most_inputs:
            self._entries += [""] * (index + 1 - len(self._entries))
            self._entries[index] = tensor
        else:
            text = f"ILayer::setInput: Error Code 3: API Usage Error ({self.name}: has {len(slots)} inputs, no {index})"
            self._env.refuse(self._network._logger, "trt-input-index", text)
            return
        self._network._facts.forget(self)

    precision_is_set = property(lambda self: self._precision is not None)

    @property
    def precision(self) -> Named:
        """What was set; else the type of what the layer works on, FLOAT unless that is no activation."""
        return self._precision or self._natural_type()

    @precision.setter
    def precision(self, value: Named) -> None:
        if not self._rejects_types("setPrecision"):
            self._precision = value

    def reset_precision(self) -> None:
        self._precision = None

    def set_output_type(self, index: int, dtype: Named) -> None:
        if self._rejects_types("setOutputType"):
            return
        if self._natural_type().name in NOT_ACTIVATIONS and dtype != self._natural_type():
            text = f"ILayer::setOutputType: Error Code 3: API Usage Error ({self.name}: the type is that of a shape)"
            self._env.refuse(self._network._logger, "trt-shape-output-type", text)
            return
        self._output_types[index] = dtype

    def output_type_is_set(self, index: int) -> bool:
        return index in self._output_types

    def reset_output_type(self, index: int) -> None:
        self._output_types.pop(index, None)

    def get_output_type(self, index: int) -> Named:
        return self._output_types.get(index) or self._outputs[index].dtype

    def _natural_type(self) -> Named:
        types = self._env.enums["DataType"]
        name = self._network._facts.of(self._outputs[0]).dtype if self._outputs else "FLOAT"
        return types[name] if name in NOT_ACTIVATIONS else types.FLOAT

    def _rejects_types(self, function: str) -> bool:
        if self._network._strongly_typed:
            text = f"ILayer::{function}: Error Code 3: API Usage Error ({self.name}: the network is strongly typed)"
            self._env.refuse(self._network._logger, "trt-strong-layer", text)
        return self._network._strongly_typed

    def _emit(self) -> tuple[list[onnx.NodeProto], Weights]:
        """Write the layer as nodes; the first bears its name. Names of inputs may be replaced afterwards."""
        node = onnx.NodeProto()
        node.CopyFrom(self._node)
        del node.input[:], node.output[:]
        node.name = self.name
        node.input.extend(entry if isinstance(entry, str) else entry.name for entry in self._entries)
        node.output.extend(tensor.name for tensor in self._outputs)
        return [node], self._weights
