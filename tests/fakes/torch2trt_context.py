"""`torch2trt.ConversionContext`: replaces functions of torch by ones that add a layer for every call.

As in the real package, while a context is entered

* functions and methods are replaced everywhere in the process, not only for the module that is converted;
* a layer can only be added while a module of `torch2trt_kwargs["module"]` runs, as layers are named after it;
* only the outermost of functions that call each other is converted;
* what has no converter leaves its output without `_trt`. A function that returns its input, as one that works in place
  does, leaves the input's `_trt` on it: the network then silently lacks what the function did.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
import torch

from fakes.torch2trt_sizes import Active, PlainShapes, wrapped

MISSING = object()


@dataclass(frozen=True)
class Converter:
    """What stands for a function: its owner and name, the function, and what adds layers for it."""

    owner: object
    name: str
    function: Callable
    convert: Callable
    is_real: bool


@dataclass
class Registry:
    """`torch2trt.CONVERTERS` of one import, and `tensorrt_converter`, which adds to it."""

    converters: dict[str, Converter] = field(default_factory=dict)

    def tensorrt_converter(
        self,
        method: str,
        is_real: bool = True,  # noqa: FBT002 - the signature of the real one
        enabled: bool = True,  # noqa: FBT002
        imports: tuple = (),
    ) -> Callable[[Callable], Callable]:
        """Register a converter of a function by its dotted name; one that torch does not have is passed over."""
        owner, name = _owner_of(method)
        function = getattr(owner, name, None)

        def register(convert: Callable) -> Callable:
            if enabled and function is not None:
                self.converters[method] = Converter(owner, name, function, convert, is_real)
            return convert

        return register


class NetworkWrapper:
    """The network as converters see it: names every layer it adds after the running module."""

    def __init__(self, context: ConversionContext, network: object) -> None:
        self._context, self._network = context, network
        self._counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> object:
        value = getattr(self._network, name)
        if not callable(value):
            return value

        def call(*args: object, **kwargs: object) -> object:
            result = value(*args, **kwargs)
            if isinstance(result, self._context.trt.ILayer):
                with PlainShapes():
                    self._configure(result)
            return result

        return call

    def _configure(self, layer: object) -> None:
        context = self._context
        wanted = given = context.current_device_type()
        context.builder_config.set_device_type(layer, wanted)
        on_dla = wanted == context.trt.DeviceType.DLA
        if on_dla and not context.builder_config.can_run_on_DLA(layer) and context.torch2trt_kwargs["gpu_fallback"]:
            given = context.trt.DeviceType.GPU
        scope = context.current_module_name()
        layer.name = f"{scope}:{self._counts[scope]}:{layer.type.name}:{given.name}"
        self._counts[scope] += 1
        if given != wanted:
            layer.name += f"({wanted.name})"


class ConversionContext:
    """`torch2trt.ConversionContext`; `make_context_type` binds it to a TensorRT and its converters."""

    trt: ModuleType
    registry: Registry

    def __init__(
        self,
        network: object,
        converters: dict[str, Converter] | None = None,
        torch2trt_kwargs: dict[str, object] | None = None,
        builder_config: object = None,
        logger: object = None,
    ) -> None:
        self.network = NetworkWrapper(self, network)
        self.lock = False
        self.method_args = self.method_kwargs = self.method_return = None
        self.torch2trt_kwargs, self.builder_config, self.logger = torch2trt_kwargs, builder_config, logger
        self._converters = self.registry.converters if converters is None else converters
        self._replaced: list[tuple[object, str, object]] = []
        self.module_stack: list[torch.nn.Module] = []
        self.module_handles: list[object] = []
        self.device_type_stack: list[tuple[torch.nn.Module, object]] = []
        self.module_name_map = {module: name for name, module in torch2trt_kwargs["module"].named_modules()}

    def current_module(self) -> torch.nn.Module:
        return self.module_stack[-1]

    def current_module_name(self) -> str:
        return self.get_module_name(self.current_module())

    def get_module_name(self, module: torch.nn.Module) -> str:
        return self.module_name_map[module]

    def current_device_type(self) -> object:
        stack = self.device_type_stack
        return stack[-1][1] if stack else self.torch2trt_kwargs["default_device_type"]

    def current_device_type_module(self) -> torch.nn.Module | None:
        return self.device_type_stack[-1][0] if self.device_type_stack else None

    def __enter__(self) -> ConversionContext:  # noqa: PYI034 - Self is newer than Python 3.10
        for converter in list(self._converters.values()):
            self._replace(converter.owner, converter.name, _converting(self, converter))
        for module in self.module_name_map:
            self.module_handles.append(module.register_forward_pre_hook(self._enter_module))
            self.module_handles.append(module.register_forward_hook(self._leave_module))
        self._replace(torch.Tensor, "size", _size)
        self._replace(torch.Tensor, "shape", property(_shape))
        Active.context = self
        return self

    def __exit__(self, *_: object) -> None:
        Active.context = None
        for owner, name, before in reversed(self._replaced):
            if before is MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        self._replaced.clear()
        for handle in self.module_handles:
            handle.remove()

    def _replace(self, owner: object, name: str, value: object) -> None:
        self._replaced.append((owner, name, vars(owner).get(name, MISSING)))
        setattr(owner, name, value)

    def _enter_module(self, module: torch.nn.Module, _input: object) -> None:
        self.module_stack.append(module)
        if module in self.torch2trt_kwargs["device_types"]:
            self.device_type_stack.append((module, self.torch2trt_kwargs["device_types"][module]))

    def _leave_module(self, module: torch.nn.Module, _input: object, _output: object) -> None:
        if self.current_device_type_module() is module:
            self.device_type_stack.pop()
        self.module_stack.pop()


def make_context_type(trt: ModuleType, registry: Registry) -> type[ConversionContext]:
    """Bind the context to one TensorRT and one set of converters."""
    return type("ConversionContext", (ConversionContext,), {"trt": trt, "registry": registry})


def get_arg(context: ConversionContext, name: str, pos: int, default: object) -> object:
    """Return an argument of the converted call by its name, else by its place."""
    if name in context.method_kwargs:
        return context.method_kwargs[name]
    return context.method_args[pos] if len(context.method_args) > pos else default


def add_missing_trt_tensors(network: NetworkWrapper, tensors: list[object]) -> list[object]:
    """Return the network's tensors of torch's; those that have none, and numbers, become constants.

    A constant of a tensor stays on it as `_trt` for good, even for another network later.
    """
    with PlainShapes():
        (dtype,) = {tensor.dtype for tensor in tensors if isinstance(tensor, torch.Tensor)}
        return [_trt_of(network, tensor, dtype) for tensor in tensors]


def broadcast_trt_tensors(network: NetworkWrapper, tensors: list[object], dimensions: int) -> list[object]:
    """Put dimensions of size 1 before those of tensors that have too few."""
    found = []
    for tensor in tensors:
        shape = tuple(tensor.shape)
        if len(shape) < dimensions:
            layer = network.add_shuffle(tensor)
            layer.reshape_dims = (1,) * (dimensions - len(shape)) + shape
            found.append(layer.get_output(0))
        else:
            found.append(tensor)
    return found


def _trt_of(network: NetworkWrapper, tensor: object, dtype: torch.dtype) -> object:
    if hasattr(tensor, "_trt"):
        return tensor._trt
    if isinstance(tensor, int | float):
        return network.add_constant((1,), (tensor * torch.ones(1, dtype=dtype)).numpy()).get_output(0)
    array = tensor.detach().cpu().numpy()
    lead = next((axis for axis, size in enumerate(array.shape) if size != 1), array.ndim)
    tensor._trt = network.add_constant(array.shape[lead:], array).get_output(0)
    return tensor._trt


def _converting(context: ConversionContext, converter: Converter) -> Callable:
    """Make the function that stands for another while a context is entered."""

    def call(*args: object, **kwargs: object) -> object:
        is_outermost = not context.lock
        if is_outermost and converter.is_real:
            context.lock = True
        output = converter.function(*args, **kwargs)
        if is_outermost:
            context.method_args, context.method_kwargs, context.method_return = args, kwargs, output
            converter.convert(context)
            output = context.method_return
            context.method_args = context.method_kwargs = context.method_return = None
            context.lock = False
        return output

    return call


def _owner_of(method: str) -> tuple[object, str]:
    """Find what has a function: a module, or a class in one."""
    path, _, name = method.rpartition(".")
    try:
        return importlib.import_module(path), name
    except ModuleNotFoundError:
        module, _, kind = path.rpartition(".")
        return getattr(importlib.import_module(module), kind), name


def _plain_size(tensor: torch.Tensor) -> torch.Size:
    return torch._C.TensorBase.size(tensor)


def _size(tensor: torch.Tensor, dim: int | None = None) -> object:
    """Stand for `Tensor.size`: of a tensor of the network it adds a shape layer and one slice per dimension."""
    size = _plain_size(tensor)
    if hasattr(tensor, "_trt"):
        network = Active.context.network._network
        shape = network.add_shape(tensor._trt).get_output(0)
        size = wrapped(size)
        for index, number in enumerate(size):
            number._raw_trt = network.add_slice(shape, [index], [1], [1]).get_output(0)
    return size if dim is None else size[dim]


def _shape(tensor: torch.Tensor) -> object:
    return _size(tensor) if Active.wraps[0] else _plain_size(tensor)


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """Return weights as converters hand them to TensorRT: in the order they lie in memory, contiguous or not."""
    return tensor.detach().cpu().numpy()
