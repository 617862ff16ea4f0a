"""Which functions of torch get which layers: the converters of torch2trt's last master that an autoencoder needs.

Written after `torch2trt/converters/native_converters.py` of May 2024. What that file converts and this one does not
is in `NOT_FAKED` and says so when it is called; what it does not convert is not converted here either, of the functions
that autoencoders use: `torch.nn.functional.hardtanh` (so `nn.ReLU6` is not converted, unlike `functional.relu6`),
`torch.nn.functional.pixel_shuffle`, `torch.reshape`, `torch.permute`, and the methods `add`, `sub`, `mul` and `relu_`
of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

import torch

from fakes.torch2trt_context import (
    ConversionContext,
    Registry,
    add_missing_trt_tensors,
    as_array,
    broadcast_trt_tensors,
    get_arg,
)
from fakes.torch2trt_sizes import wrapped

FUNCTIONAL, TENSOR = "torch.nn.functional.", "torch.Tensor."
ELEMENTWISE = {
    "SUM": "torch.add T.__iadd__ T.__add__ T.__radd__",
    "PROD": "torch.mul T.mul_ T.__imul__ T.__mul__ T.__rmul__",
    "SUB": "torch.sub T.__isub__ T.__sub__",
    "DIV": "torch.div T.__truediv__ T.__itruediv__",
    "POW": "torch.pow T.__ipow__ T.__pow__",
}
REFLECTED = {"SUB": "T.__rsub__", "DIV": "T.__rtruediv__", "POW": "T.__rpow__"}
ACTIVATIONS = {
    "RELU": "torch.relu torch.relu_ F.relu F.relu_ T.relu",
    "SIGMOID": "torch.sigmoid F.sigmoid T.sigmoid",
    "TANH": "torch.tanh F.tanh",
}
UNARY = {
    name.upper(): f"torch.{name} torch.{name}_ T.{name} T.{name}_" for name in ("exp", "log", "sqrt", "ceil", "floor")
}
UNARY |= {"ABS": "torch.abs torch.abs_ T.abs T.abs_", "NEG": "torch.neg torch.neg_ T.neg T.__neg__ T.neg_"}
NOT_FAKED = (
    "F.leaky_relu F.elu F.selu F.softsign F.softplus F.adaptive_avg_pool2d F.adaptive_max_pool2d torch.chunk torch.split "
    "T.chunk T.split torch.clone T.clone F.conv1d F.conv3d F.conv_transpose2d torch.einsum T.expand torch.flatten T.flatten "
    "torch.floor_divide F.gelu F.group_norm F.instance_norm F.layer_norm F.linear F.log_softmax torch.matmul F.avg_pool2d "
    "torch.max T.max torch.min T.min torch.mean T.mean torch.sum T.sum torch.prod T.prod F.normalize F.pad F.prelu "
    "torch.roll F.silu F.softmax T.softmax torch.squeeze T.squeeze torch.unsqueeze T.unsqueeze torch.stack torch.narrow "
    "torch.gt torch.lt torch.eq"
)
# Functions without a converter of which the real package warns when they are called.
UNSUPPORTED = "F.hardtanh F.pixel_shuffle"


def register_all(trt: ModuleType, registry: Registry) -> None:
    """Put all converters into a registry."""

    def register(names: str, convert: Callable, *, is_real: bool = True) -> None:
        for short in names.split():
            name = short.replace("F.", FUNCTIONAL).replace("T.", TENSOR)
            registry.tensorrt_converter(name, is_real=is_real)(
                convert(name) if convert in {_warns, _lacks} else convert
            )

    register(UNSUPPORTED, _warns, is_real=False)
    register(NOT_FAKED, _lacks)
    for operation, names in ELEMENTWISE.items():
        register(names, _elementwise(getattr(trt.ElementWiseOperation, operation)))
    for operation, names in REFLECTED.items():
        register(names, _elementwise(getattr(trt.ElementWiseOperation, operation), reflected=True))
    for kind, names in ACTIVATIONS.items():
        register(names, _activation(getattr(trt.ActivationType, kind)))
    for operation, names in UNARY.items():
        register(names, _unary(getattr(trt.UnaryOperation, operation)))
    register("F.conv2d", _convolution)
    register("F.batch_norm", _batch_norm)
    register("F.relu6", _relu6)
    register("F.max_pool2d torch.max_pool2d", _max_pool)
    register("F.interpolate", _interpolate)
    register("torch.cat", _cat)
    register("torch.clamp T.clamp", _clamp)
    register("T.permute", _permute)
    register("torch.transpose T.transpose", _transpose)
    register("T.view T.reshape", _view)
    register("T.contiguous F.dropout F.dropout2d", _nothing)
    register("T.__getitem__", _getitem)


def _warns(name: str) -> Callable:
    return lambda _context: print(f"Warning: Encountered known unsupported method {name}")


def _lacks(name: str) -> Callable:
    def convert(context: ConversionContext) -> None:
        if any(hasattr(value, "_trt") for value in context.method_args):
            raise NotImplementedError(f"the fake has no converter of {name}, the real torch2trt has one")

    return convert


def _input(context: ConversionContext) -> object:
    return add_missing_trt_tensors(context.network, [get_arg(context, "input", 0, None)])[0]


def _done(context: ConversionContext, layer: object) -> None:
    context.method_return._trt = layer.get_output(0)


def _elementwise(operation: object, *, reflected: bool = False) -> Callable:
    def convert(context: ConversionContext) -> None:
        pair = list(context.method_args[:2])
        first, second = reversed(pair) if reflected else pair
        tensors = add_missing_trt_tensors(context.network, [first, second])
        tensors = broadcast_trt_tensors(context.network, tensors, context.method_return.dim())
        _done(context, context.network.add_elementwise(*tensors, operation))

    return convert


def _activation(kind: object) -> Callable:
    return lambda context: _done(context, context.network.add_activation(_input(context), kind))


def _unary(operation: object) -> Callable:
    return lambda context: _done(context, context.network.add_unary(_input(context), operation))


def _as_tuple(value: object, count: int) -> tuple:
    return value if isinstance(value, tuple) else (value,) * count


def _convolution(context: ConversionContext) -> None:
    weight, bias = get_arg(context, "weight", 1, None), get_arg(context, "bias", 2, None)
    kernel = as_array(weight)
    layer = context.network.add_convolution_nd(
        input=_input(context),
        num_output_maps=kernel.shape[0],
        kernel_shape=kernel.shape[2:],
        kernel=kernel,
        bias=None if bias is None else as_array(bias),
    )
    layer.stride_nd = _as_tuple(get_arg(context, "stride", 3, 1), 2)
    layer.padding_nd = _as_tuple(get_arg(context, "padding", 4, 0), 2)
    layer.dilation_nd = _as_tuple(get_arg(context, "dilation", 5, 1), 2)
    layer.num_groups = get_arg(context, "groups", 6, 1)
    _done(context, layer)


def _batch_norm(context: ConversionContext) -> None:
    mean, variance, weight, bias = (
        as_array(get_arg(context, name, place, None))
        for place, name in enumerate(("running_mean", "running_var", "weight", "bias"), 1)
    )
    scale = weight / (variance + get_arg(context, "eps", 7, 10e-6)) ** 0.5
    shift, mode = bias - mean * scale, context.trt.ScaleMode.CHANNEL
    _done(context, context.network.add_scale_nd(_input(context), mode, shift, scale, scale * 0 + 1, 1))


def _relu6(context: ConversionContext) -> None:
    trt, network = context.trt, context.network
    tensors = add_missing_trt_tensors(network, [context.method_args[0], 6])
    value, six = broadcast_trt_tensors(network, tensors, context.method_return.dim())
    above = network.add_activation(input=value, type=trt.ActivationType.RELU).get_output(0)
    _done(context, network.add_elementwise(above, six, trt.ElementWiseOperation.MIN))


def _max_pool(context: ConversionContext) -> None:
    """Convert; without a stride it fails with a TypeError, as None is no number (issues 264 and 457 of torch2trt)."""
    window = _as_tuple(get_arg(context, "kernel_size", 1, None), 2)
    layer = context.network.add_pooling_nd(input=_input(context), type=context.trt.PoolingType.MAX, window_size=window)
    layer.stride_nd = _as_tuple(get_arg(context, "stride", 2, None), 2)
    layer.padding_nd = _as_tuple(get_arg(context, "padding", 3, 0), 2)
    if get_arg(context, "ceil_mode", 5, default=False):
        layer.padding_mode = context.trt.PaddingMode.EXPLICIT_ROUND_UP
    _done(context, layer)


def _interpolate(context: ConversionContext) -> None:
    trt, (size, factor, mode) = context.trt, (get_arg(context, n, i, None) for i, n in _INTERPOLATION)
    tensor, layer = get_arg(context, "input", 0, None), context.network.add_resize(input=_input(context))
    if size is not None:
        sides = list(size) if isinstance(size, Sequence) else [size] * 2
        layer.set_input(1, wrapped([tensor.size(0), tensor.size(1), *sides])._trt)
    if factor is not None:
        layer.scales = [1, 1, *(factor if isinstance(factor, Sequence) else [factor] * 2)]
    kinds = {"nearest": "NEAREST", "linear": "LINEAR", "bilinear": "LINEAR", "bicubic": "CUBIC"}
    kind = kinds.get((mode or "nearest").lower())
    if kind is None:
        raise RuntimeError(f"Interpolation with mode={mode} is not supported by torch2trt.")
    layer.resize_mode = getattr(trt.InterpolationMode, kind)
    if kind != "NEAREST":
        layer.coordinate_transformation = trt.ResizeCoordinateTransformation.HALF_PIXEL
    if get_arg(context, "align_corners", 4, None):
        layer.coordinate_transformation = trt.ResizeCoordinateTransformation.ALIGN_CORNERS
    _done(context, layer)


_INTERPOLATION = ((1, "size"), (2, "scale_factor"), (3, "mode"))


def _cat(context: ConversionContext) -> None:
    tensors, axis = get_arg(context, "input", 0, None), get_arg(context, "dim", 1, 0)
    count = context.method_return.dim()
    parts = broadcast_trt_tensors(context.network, add_missing_trt_tensors(context.network, tensors), count)
    layer = context.network.add_concatenation(inputs=parts)
    layer.axis = axis + count if axis < 0 else axis
    _done(context, layer)


def _clamp(context: ConversionContext) -> None:
    network, operations = context.network, context.trt.ElementWiseOperation
    tensor, layer = _input(context), None
    bounds = ((get_arg(context, "min", 1, None), operations.MAX), (get_arg(context, "max", 2, None), operations.MIN))
    for bound, operation in bounds:
        if bound is None:
            continue
        if isinstance(bound, torch.Tensor):
            raise NotImplementedError("the fake clamps by numbers only, the real torch2trt also by tensors")
        shape = (1,) * len(tensor.shape)
        constant = network.add_constant(shape, (bound * torch.ones(shape)).numpy())
        layer = network.add_elementwise(tensor, constant.get_output(0), operation)
        tensor = layer.get_output(0)
    if layer is None:
        raise RuntimeError("Unsupported argument combination")
    _done(context, layer)


def _permute(context: ConversionContext) -> None:
    tensor, *order = context.method_args
    if hasattr(tensor, "_trt"):
        layer = context.network.add_shuffle(_input(context))
        layer.second_transpose = tuple(order if isinstance(order[0], int) else order[0])
        _done(context, layer)


def _transpose(context: ConversionContext) -> None:
    tensor, first, second = context.method_args
    order = list(range(tensor.dim()))
    order[first], order[second] = order[second], order[first]
    layer = context.network.add_shuffle(_input(context))
    layer.second_transpose = tuple(order)
    _done(context, layer)


def _view(context: ConversionContext) -> None:
    tensor, *size = context.method_args
    if hasattr(tensor, "_trt"):
        given = size[0] if isinstance(size[0], Sequence) else size
        layer = context.network.add_shuffle(tensor._trt)
        layer.set_input(1, wrapped(given)._trt)
        _done(context, layer)


def _nothing(context: ConversionContext) -> None:
    tensor = context.method_args[0]
    if hasattr(tensor, "_trt"):
        context.method_return._trt = tensor._trt


def _getitem(context: ConversionContext) -> None:
    """Convert slices and numbers; the real converter passes them as tensors, and iterates what is no tuple, too."""
    tensor, slices = context.method_args
    if not hasattr(tensor, "_trt"):
        return
    given = list(slices)
    sizes = tuple(tensor._trt.shape)
    if Ellipsis in given:
        place = given.index(Ellipsis)
        given[place : place + 1] = [slice(None)] * (len(sizes) - len(given) + 1)
    given += [slice(None)] * (len(sizes) - len(given))
    if None in given:
        raise NotImplementedError("the fake adds no dimensions by None, the real torch2trt does")
    spans = [
        range(size)[part] if isinstance(part, slice) else range(size)[part : part + 1 or None]
        for part, size in zip(given, sizes, strict=True)
    ]
    counts = [len(span) for span in spans]
    layer = context.network.add_slice(tensor._trt, [s.start for s in spans], counts, [s.step for s in spans])
    if any(isinstance(part, int) for part in given):
        shuffle = context.network.add_shuffle(layer.get_output(0))
        shuffle.reshape_dims = tuple(context.method_return.size())
        layer = shuffle
    _done(context, layer)
