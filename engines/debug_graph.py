"""The debug engine: the same model with the reconstruction as a second output, for reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from engines.errors import RecipeError
from engines.images import Frame
from engines.runtime.onnxruntime_cpu import session_options
from engines.structure import RECONSTRUCTION, STITCHED, load_model

OUTPUT = "reconstruction"


def with_reconstruction(model_path: Path) -> bytes:
    """Return a model file of a recipe with a second output `reconstruction`, uint8 (1, h, w, C').

    Raises:
        RecipeError: The file is not an inspection graph.
    """
    model = load_model(model_path)
    values = {value.name: value for value in model.graph.value_info}
    source = STITCHED if STITCHED in values else RECONSTRUCTION
    if source not in values:
        raise RecipeError(
            f"{model_path} is not a model of this product.",
            fix="Give a model file of a recipe that `edge-engines verify` accepts.",
        )
    _, channels, height, width = (side.dim_value for side in values[source].type.tensor_type.shape.dim)
    for name, number in (("debug/most", 1.0), ("debug/least", 0.0), ("debug/codes", 255.0), ("debug/half", 0.5)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), name))
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Clip", [source, "debug/least", "debug/most"], {}),
        ("Mul", ["debug/Clip", "debug/codes"], {}),
        # Cast cuts off; half a code makes it round.
        ("Add", ["debug/Mul", "debug/half"], {}),
        ("Transpose", ["debug/Add"], {"perm": [0, 2, 3, 1]}),
        ("Cast", ["debug/Transpose"], {"to": TensorProto.UINT8}),
    ]
    for operator, inputs, attributes in steps:
        output = OUTPUT if operator == "Cast" else f"debug/{operator}"
        model.graph.node.append(
            helper.make_node(operator, inputs, [output], name=f"debug/node_{operator}", **attributes)
        )
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.UINT8, [1, height, width, channels]))
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


class Reconstructor:
    """The debug engine, loaded: what the autoencoder made of a frame."""

    def __init__(self, model_path: Path, *, threads: int) -> None:
        """Load the model with its second output.

        Raises:
            RecipeError: The file is not an inspection graph.
        """
        self._session = ort.InferenceSession(
            with_reconstruction(model_path), session_options(threads), providers=["CPUExecutionProvider"]
        )

    def reconstruct(self, frame: Frame) -> Frame:
        """Return the reconstruction of a frame (H, W, C), at model resolution: (h, w, C') uint8, newly allocated."""
        (picture,) = self._session.run([OUTPUT], {"frame": frame[np.newaxis]})
        return np.asarray(picture[0], np.uint8)
