"""What a model costs, convolution by convolution, and the least time that it can take on a board.

The roofline of Williams et al., "Roofline: an insightful visual performance model", 2009: a layer takes at least its
operations over the board's peak and at least its bytes over the memory's bandwidth, whichever is longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx

from engines.structure import producers, shapes_of


@dataclass(frozen=True)
class Board:
    """A Jetson: dense INT8 operations in 10^12/s, and memory bandwidth in 10^9 bytes/s, as NVIDIA states them."""

    name: str
    tops: float
    gb_per_s: float


BOARDS = (
    Board("Orin Nano Super", 33.0, 102.0),
    Board("Orin NX Super", 38.0, 102.0),
    Board("AGX Orin 64", 85.0, 205.0),
)
# Tensor cores do INT8 eight times as fast as CUDA cores do float32 on Orin, and more; a round number on the safe side.
_FLOAT_SLOWER = 8.0


@dataclass(frozen=True)
class ConvolutionCost:
    """One convolution.

    Attributes:
        name: Of its node.
        precision: `int8` or `float32`.
        gmac: Multiply-accumulate operations in 10^9.
        megabytes: Inputs, weights and outputs in 10^6 bytes, each moved once.
    """

    name: str
    precision: str
    gmac: float
    megabytes: float

    def floor_ms(self, board: Board) -> float:
        """Return the least time in milliseconds."""
        slower = 1.0 if self.precision == "int8" else _FLOAT_SLOWER
        return max(2 * self.gmac / board.tops * slower, self.megabytes / board.gb_per_s)


def convolution_costs(model: onnx.ModelProto) -> list[ConvolutionCost]:
    """Return what every convolution of a model with inferred shapes costs, in the order of computation."""
    shapes, made_by = shapes_of(model), producers(model.graph)
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    costs = []
    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        weight = node.input[1]
        while weight not in weights:
            weight = made_by[weight].input[0]
        _, inputs, *window = weights[weight]
        given, made = (math.prod(shapes[name][0]) for name in (node.input[0], node.output[0]))
        source = made_by.get(node.input[0])
        int8 = source is not None and source.op_type == "DequantizeLinear"
        moved = (given + made + math.prod(weights[weight])) * (1 if int8 else 4)
        gmac = made * inputs * math.prod(window) / 1e9
        costs.append(ConvolutionCost(node.name, "int8" if int8 else "float32", gmac, moved / 1e6))
    return costs
