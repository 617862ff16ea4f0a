"""What TensorRT made of a model: its layers, as the engine inspector lists them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_NODE = re.compile(r"\[ONNX Layer: (.*?)\]")
_INT8 = re.compile(r"\bInt8\b", re.IGNORECASE)


@dataclass(frozen=True)
class Layer:
    """One layer of an engine.

    Attributes:
        name: TensorRT's name for it.
        kind: TensorRT's type of layer, such as `CaskConvolution` or `Reformat`.
        inputs: Format and type of each input, in TensorRT's words.
        nodes: Names of the model's nodes that it computes.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    nodes: tuple[str, ...]

    @property
    def takes_int8(self) -> bool:
        """Whether its first input is INT8."""
        return bool(self.inputs) and _INT8.search(self.inputs[0]) is not None

    @property
    def is_reformat(self) -> bool:
        """Whether it only moves data to another layout or type."""
        return self.kind.lower().startswith("reformat") or "reformat" in self.name.lower()


@dataclass(frozen=True)
class Int8Report:
    """Which convolutions of the core run in INT8.

    Attributes:
        int8: Names of the nodes whose layer takes INT8.
        floating: Names of those whose layer takes something else.
        hidden: Names of those that no layer names: inside a fused region.
    """

    int8: tuple[str, ...]
    floating: tuple[str, ...]
    hidden: tuple[str, ...]


def read_layers(information: str) -> list[Layer]:
    """Read the JSON of the engine inspector, built with detailed profiling.

    Raises:
        ValueError: It is not that JSON.
    """
    listed = json.loads(information)["Layers"]
    if not all(isinstance(layer, dict) for layer in listed):
        raise ValueError("the layers have names only: the engine was not built with detailed profiling")
    return [_layer(layer) for layer in listed]


def int8_report(layers: list[Layer], convolutions: list[str]) -> Int8Report:
    """Say which convolutions run in INT8.

    Args:
        layers: Of the engine.
        convolutions: Names of the model's nodes that should.
    """
    layer_of = {node: layer for layer in layers for node in layer.nodes}
    found = [name for name in convolutions if name in layer_of]
    return Int8Report(
        int8=tuple(name for name in found if layer_of[name].takes_int8),
        floating=tuple(name for name in found if not layer_of[name].takes_int8),
        hidden=tuple(name for name in convolutions if name not in layer_of),
    )


def _layer(entry: dict[str, Any]) -> Layer:
    metadata = str(entry.get("Metadata", ""))
    # Older versions have no metadata; there the layer bears the names of its nodes, joined with plus signs.
    nodes = _NODE.findall(metadata) or [part.strip() for part in str(entry.get("Name", "")).split(" + ")]
    inputs = (
        " ".join(str(tensor.get(key, "")) for key in ("Format/Datatype", "Datatype", "DataType", "Format"))
        for tensor in entry.get("Inputs", [])
    )
    return Layer(str(entry.get("Name", "")), str(entry.get("LayerType", "")), tuple(inputs), tuple(nodes))
