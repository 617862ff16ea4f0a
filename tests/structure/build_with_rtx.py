"""Build a model with our builder and TensorRT for RTX, which needs no GPU for it; print what became of it as JSON.

    python build_with_rtx.py FOLDER_OF_THE_WHEELS MODEL.onnx

A program of its own: a fault in the native library ends this process and not the tests.
"""

import json
import logging
import re
import sys
from pathlib import Path

from engines.errors import EngineError
from engines.plans.builder import BuildOptions, TensorRtBuilder
from engines.plans.library import Library

LAYER = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<type>.*?), Inputs: \[(?P<inputs>.*?)\], Constants:.*?"
    r"Outputs: \[(?P<outputs>.*?)\], TacticName:.*?Metadata: (?P<made_of>.*)$",
    re.MULTILINE,
)
_TENSOR = re.compile(r"Name: (.*?), Dimensions: \[(.*?)\].*?Datatype: (\w+)")


def main(wheels: str, model: str) -> None:
    sys.path.insert(0, wheels)
    import tensorrt_rtx_bindings as trt

    # What the library says at its most talkative ends with the layers of the engine.
    lines: list[str] = []
    said = logging.getLogger("engines.plans.library")
    said.setLevel(logging.DEBUG)
    said.addHandler(ListHandler(lines))
    phases = set()
    # It is of the 11 generation: strongly typed networks only.
    library = Library(trt, "11.0.0")
    try:
        built = TensorRtBuilder()(
            library, Path(model).read_bytes(), BuildOptions(), progress=lambda phase, _share: phases.add(phase)
        )
    except EngineError as problem:
        built, refused = None, str(problem)
    result = {
        "version": trt.__version__,
        "built": built is not None,
        "refused": None if built else refused,
        "plan_bytes": len(built.plan) if built else 0,
        "timing_cache_bytes": len(built.timing_cache) if built else 0,
        "phases": sorted(phases),
        "complaints": list(built.complaints) if built else [],
        "layers": [
            {
                "name": match["name"],
                "type": match["type"],
                "inputs": tensors(match["inputs"]),
                "outputs": tensors(match["outputs"]),
                "made_of": re.findall(r"\[ONNX Layer: (.*?)\]", match["made_of"]),
            }
            for text in lines
            for match in LAYER.finditer(text)
        ],
    }
    json.dump(result, sys.stdout)


class ListHandler(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def tensors(text: str) -> list[dict]:
    return [
        {"name": name, "shape": [int(side) for side in sides.split(",") if side], "type": kind}
        for name, sides, kind in _TENSOR.findall(text)
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
