"""Replace the core of a network as `engines.torch2trt_adapter` does, on TensorRT for RTX; print what became of it as JSON.

    python convert_with_rtx.py FOLDER_OF_THE_WHEELS MODEL.onnx

RTX has no implicit INT8, so the network stays in float32: what is shown is that a real builder lets the core be replaced
and drops the old one. A program of its own, as `build_with_rtx.py` is.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import onnx
import torch
from build_with_rtx import LAYER, ListHandler
from torch.nn import functional

from engines.plans.builder import BuildOptions, configure, draft_network, finish
from engines.plans.library import Library
from engines.torch2trt_adapter import convert
from engines.torch2trt_adapter.quantisers import without_quantisers


class Converters:
    """The layers that torch2trt adds for the functions that the core calls."""

    def __init__(self, trt, network):
        self.trt, self.network = trt, network
        self.real = (functional.conv2d, functional.max_pool2d, functional.interpolate, torch.add)

    def conv2d(self, value, weight, bias, stride, padding):
        layer = self.network.add_convolution_nd(
            value._trt, len(weight), tuple(weight.shape[2:]), weight.numpy(), bias.numpy()
        )
        layer.stride_nd, layer.padding_nd = stride, padding
        return attached(self.real[0](value, weight, bias, stride, padding), layer)

    def max_pool2d(self, value, window, stride):
        layer = self.network.add_pooling_nd(value._trt, self.trt.PoolingType.MAX, window)
        layer.stride_nd = stride
        return attached(self.real[1](value, window, stride), layer)

    def interpolate(self, value, scale_factor, mode):
        layer = self.network.add_resize(value._trt)
        layer.scales, layer.resize_mode = [1, 1, scale_factor, scale_factor], self.trt.InterpolationMode.NEAREST
        return attached(self.real[2](value, scale_factor=scale_factor, mode=mode), layer)

    def add(self, one, other):
        layer = self.network.add_elementwise(one._trt, other._trt, self.trt.ElementWiseOperation.SUM)
        return attached(self.real[3](one, other), layer)


def attached(value, layer):
    value._trt = layer.get_output(0)
    return value


def main(wheels: str, path: str) -> None:
    sys.path.insert(0, wheels)
    import tensorrt_rtx_bindings as trt

    @contextmanager
    def context(network, **_) -> Iterator[None]:
        converters = Converters(trt, network)
        with (
            patch.object(functional, "conv2d", converters.conv2d),
            patch.object(functional, "max_pool2d", converters.max_pool2d),
            patch.object(functional, "interpolate", converters.interpolate),
            patch.object(torch, "add", converters.add),
        ):
            yield

    lines: list[str] = []
    said = logging.getLogger("engines.plans.library")
    said.setLevel(logging.DEBUG)
    said.addHandler(ListHandler(lines))
    library = Library(trt, "11.0.0")
    plain, _ = without_quantisers(onnx.load(path))
    draft = draft_network(library, plain.SerializeToString(), "strong")
    before = draft.network.num_layers
    # The generation of RTX has no precisions to set.
    with patch.object(convert, "_keep_float"), patch.object(convert, "_set_precisions"):
        convert.convert_core(SimpleNamespace(ConversionContext=context), trt, draft.network, None, plain, {})
    layers = [draft.network.get_layer(index) for index in range(draft.network.num_layers)]
    config = configure(library, draft, BuildOptions(), "strong")
    built = finish(library, draft, config, "strong", b"", lambda _phase, _share: None)
    result = {
        "built": not isinstance(built, str),
        "refused": built if isinstance(built, str) else None,
        "complaints": [text for text in draft.log.complaints if "catchCudaError" not in text],
        "added": [layer.name for layer in layers[before:]],
        "engine": [match["made_of"] + match["name"] for text in lines for match in LAYER.finditer(text)],
        "replaced": [layer.name for layer in layers[:before] if layer.name.startswith("replaced ")],
    }
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
