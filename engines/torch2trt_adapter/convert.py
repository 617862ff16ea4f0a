"""The core in torch, run once while torch2trt looks on: every function that it knows adds its layers to the network."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from engines.structure import last_convolutions, shapes_of

_CORE = "core/"
_LARGEST_CODE = 127
# torch2trt's name for the network's tensor that belongs to a torch tensor.
_ATTACHED = "_trt"
# What may run in INT8. Whatever else lies in the core stays as the parser made it.
_CONVERTED = frozenset({"Conv", "Clip", "MaxPool", "Resize", "Add"})


class _OnDevice(Tensor):
    """A tensor in CUDA memory that torch knows nothing of."""

    address: int

    def data_ptr(self) -> int:
        return self.address


def on_device(address: int) -> Tensor:
    """Return what the calibrator asks for the address of its data; the memory stays the caller's."""
    tensor = torch.zeros(()).as_subclass(_OnDevice)
    tensor.address = address
    return tensor


def convert_core(
    torch2trt: Any, trt: Any, network: Any, config: Any, model: onnx.ModelProto, steps: dict[str, float]
) -> None:
    """Replace the core of a network, which the parser has read, by what torch2trt makes of it.

    Args:
        torch2trt: The module.
        trt: The module `tensorrt`.
        network: Weakly typed, with the whole model; changed.
        config: What it will be built with.
        model: What the parser has read.
        steps: INT8 steps of its tensors, by name.
    """
    parsed = [network.get_layer(index) for index in range(network.num_layers)]
    core = _Core(trt, network, model)
    replaced = {node.name for node in core.nodes}
    kept = [layer for layer in parsed if layer.name not in replaced]
    for layer in parsed:
        if layer.name in replaced:
            # Two layers cannot have the same name.
            layer.name = f"replaced {layer.name}"
    told = {
        "module": core,
        "int8_mode": True,
        "fp16_mode": False,
        "device_types": {},
        "default_device_type": trt.DeviceType.GPU,
        "gpu_fallback": False,
    }
    with torch2trt.ConversionContext(network, torch2trt_kwargs=told, builder_config=config), torch.no_grad():
        core()
    for layer in kept:
        for index in range(layer.num_inputs):
            tensor = layer.get_input(index)
            if tensor is not None and tensor.name in core.made:
                layer.set_input(index, core.made[tensor.name])
        _keep_float(trt, layer)
    _set_precisions(trt, core, model, steps)
    for name, step in steps.items():
        tensor = core.tensor(name)
        # TensorRT takes these before what its calibrator measures.
        tensor.set_dynamic_range(-step * _LARGEST_CODE, step * _LARGEST_CODE)


def _set_precisions(trt: Any, core: _Core, model: onnx.ModelProto, steps: dict[str, float]) -> None:
    """Have the core round where the recipe does, and nowhere else.

    A convolution and its bound become one layer, and nothing between them is stored. Sums are made in float32, as they
    are where a sum becomes part of the convolution before it.
    """
    last = {node.name for node in last_convolutions(model)}
    operator = {node.output[0]: node.op_type for node in core.nodes}
    bounded = {node.input[0] for node in core.nodes if node.op_type == "Clip"}
    for node in core.nodes:
        layer, output = core.layers[node.name], node.output[0]
        if node.name in last or "Add" in (node.op_type, operator.get(node.input[0])):
            _keep_float(trt, layer)
            continue
        if node.op_type == "Conv":
            layer.precision = trt.DataType.INT8
        if output not in steps and output not in bounded:
            layer.set_output_type(0, trt.DataType.FLOAT)


class _Core(nn.Module):
    """The nodes that are converted; `made` has the new tensors by the old names, `layers` the last new layer by node."""

    def __init__(self, trt: Any, network: Any, model: onnx.ModelProto) -> None:
        super().__init__()
        self._trt, self._network = trt, network
        self._constants = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in model.graph.initializer
        }
        self._shapes = shapes_of(model)
        self._parsed = _tensors(network)
        self._values: dict[str, Tensor] = {}
        self.nodes = [n for n in model.graph.node if n.name.startswith(_CORE) and n.op_type in _CONVERTED]
        self.made: dict[str, Any] = {}
        self.layers: dict[str, Any] = {}

    def forward(self) -> None:
        """Run every node on zeros, in order."""
        for node in self.nodes:
            first = self._network.num_layers
            value = self._run(node)
            self._values[node.output[0]] = value
            made = self.made[node.output[0]] = getattr(value, _ATTACHED)
            for index in range(first, self._network.num_layers):
                layer = self._network.get_layer(index)
                if layer.num_outputs and layer.get_output(0).name == made.name:
                    # By this name the inspector's list is read.
                    layer.name, layer.metadata = node.name, f"[ONNX Layer: {node.name}]"
                    self.layers[node.name] = layer

    def tensor(self, name: str) -> Any:
        """Return the network's tensor that a tensor of the model has become."""
        return self.made.get(name) or self._parsed[name]

    def _run(self, node: onnx.NodeProto) -> Tensor:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        _check_plain(node, attributes)
        first = self._value(node.input[0])
        match node.op_type:
            case "Conv":
                weight, bias = (self._constants[name] for name in node.input[1:])
                stride, pads = tuple(attributes["strides"]), tuple(attributes["pads"][:2])
                return functional.conv2d(first, weight, bias, stride, pads)
            case "MaxPool":
                return functional.max_pool2d(first, tuple(attributes["kernel_shape"]), tuple(attributes["strides"]))
            case "Resize":
                return functional.interpolate(first, scale_factor=2.0, mode="nearest")
            case "Add":
                return torch.add(first, self._value(node.input[1]))
            case _:
                return self._clip(first, *(float(self._constants[name]) for name in node.input[1:]))

    def _clip(self, value: Tensor, low: float, high: float) -> Tensor:
        # torch2trt makes two layers of a clamp, which no INT8 convolution takes in; TensorRT has one for it.
        layer = self._network.add_activation(getattr(value, _ATTACHED), self._trt.ActivationType.CLIP)
        layer.alpha, layer.beta = low, high
        clipped = torch.zeros_like(value)
        setattr(clipped, _ATTACHED, layer.get_output(0))
        return clipped

    def _value(self, name: str) -> Tensor:
        """Return what a converted node has made, or stand in for what another layer of the network makes."""
        if name not in self._values:
            stand_in = torch.zeros(self._shapes[name][0])
            setattr(stand_in, _ATTACHED, self._parsed[name])
            self._values[name] = stand_in
        return self._values[name]


def _check_plain(node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
    """Refuse what the conversion would silently leave out.

    Raises:
        NotImplementedError: The node has it.
    """
    pads = list(attributes.get("pads", []))
    wanted: dict[str, set[Any]] = {
        "dilations": {(1, 1)},
        "group": {1},
        "ceil_mode": {0},
        "auto_pad": {b"NOTSET"},
        "coordinate_transformation_mode": {b"asymmetric"},
        "mode": {b"nearest"},
        "nearest_mode": {b"floor"},
    }
    odd = [
        name
        for name, value in attributes.items()
        if name in wanted and (tuple(value) if isinstance(value, list) else value) not in wanted[name]
    ]
    if pads[: len(pads) // 2] != pads[len(pads) // 2 :] or (node.op_type == "MaxPool" and any(pads)):
        odd.append("pads")
    if odd:
        raise NotImplementedError(f"{node.name}: {node.op_type} with unusual {', '.join(odd)}")


def _tensors(network: Any) -> dict[str, Any]:
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    outputs = [layer.get_output(index) for layer in layers for index in range(layer.num_outputs)]
    return {tensor.name: tensor for tensor in outputs}


def _keep_float(trt: Any, layer: Any) -> None:
    """Have a layer compute in float32, if it computes with numbers of that kind at all."""
    inputs = [layer.get_input(index) for index in range(layer.num_inputs)]
    outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
    if all(tensor.dtype == trt.DataType.FLOAT for tensor in (*inputs, *outputs) if tensor is not None):
        layer.precision = trt.DataType.FLOAT
        for index in range(layer.num_outputs):
            layer.set_output_type(index, trt.DataType.FLOAT)
