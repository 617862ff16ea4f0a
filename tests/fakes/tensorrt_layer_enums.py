"""Enumerations of the network API, with the values of the bindings.

`ResizeMode` and `SliceMode` of TensorRT 8 are gone from 10 on: `InterpolationMode` and `SampleMode` stand for them.
"""

from __future__ import annotations


def _numbered(names: str) -> dict[str, int]:
    return {name: value for value, name in enumerate(names.split())}


IN_ALL = {
    "ActivationType": _numbered(
        "RELU SIGMOID TANH LEAKY_RELU ELU SELU SOFTSIGN SOFTPLUS CLIP HARD_SIGMOID SCALED_TANH THRESHOLDED_RELU"
    ),
    "ElementWiseOperation": _numbered("SUM PROD MAX MIN SUB DIV POW FLOOR_DIV AND OR XOR EQUAL GREATER LESS"),
    "UnaryOperation": _numbered(
        "EXP LOG SQRT RECIP ABS NEG SIN COS TAN SINH COSH ASIN ACOS ATAN ASINH ACOSH ATANH CEIL FLOOR ERF NOT SIGN ROUND"
    ),
    "ReduceOperation": _numbered("SUM PROD MAX MIN AVG"),
    "PoolingType": _numbered("MAX AVERAGE MAX_AVERAGE_BLEND"),
    "PaddingMode": _numbered("EXPLICIT_ROUND_DOWN EXPLICIT_ROUND_UP SAME_UPPER SAME_LOWER"),
    "ScaleMode": _numbered("UNIFORM CHANNEL ELEMENTWISE"),
    "InterpolationMode": _numbered("NEAREST LINEAR CUBIC"),
    "ResizeCoordinateTransformation": _numbered("ALIGN_CORNERS ASYMMETRIC HALF_PIXEL"),
    "ResizeRoundMode": _numbered("HALF_UP HALF_DOWN FLOOR CEIL"),
    "ResizeSelector": _numbered("FORMULA UPPER"),
    "SampleMode": _numbered("STRICT_BOUNDS WRAP CLAMP FILL REFLECT"),
    "DeviceType": _numbered("GPU DLA"),
}
ONLY_IN_10 = {
    "CalibrationAlgoType": _numbered("LEGACY_CALIBRATION ENTROPY_CALIBRATION ENTROPY_CALIBRATION_2 MINMAX_CALIBRATION")
}
