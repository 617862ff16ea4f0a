"""Build a model with TensorRT for RTX, which needs no GPU for it, and print what became of it as JSON.

    python build_with_rtx.py FOLDER_OF_THE_WHEELS MODEL.onnx

A program of its own: a fault in the native library ends this process and not the tests.
"""

import json
import re
import sys
from pathlib import Path

_LAYER = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<type>.*?), Inputs: \[(?P<inputs>.*?)\], Constants:.*?"
    r"Outputs: \[(?P<outputs>.*?)\], TacticName:.*?Metadata: (?P<made_of>.*)$",
    re.MULTILINE,
)
_TENSOR = re.compile(r"Name: (.*?), Dimensions: \[(.*?)\].*?Datatype: (\w+)")


def main(wheels: str, model: str) -> None:
    sys.path.insert(0, wheels)
    import tensorrt_rtx_bindings as trt

    class Log(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)
            self.lines = []

        def log(self, severity, message):
            self.lines.append((severity.name, message))

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    parsed = parser.parse(Path(model).read_bytes())
    plan = None
    if parsed:
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.clear_flag(trt.BuilderFlag.TF32)
        plan = builder.build_serialized_network(network, config)
    result = {
        "version": trt.__version__,
        "parsed": parsed,
        "built": plan is not None,
        "errors": [parser.get_error(i).desc() for i in range(parser.num_errors)],
        "complaints": [text for severity, text in log.lines if severity not in ("INFO", "VERBOSE")],
        "layers": [
            {
                "name": match["name"],
                "type": match["type"],
                "inputs": tensors(match["inputs"]),
                "outputs": tensors(match["outputs"]),
                "made_of": re.findall(r"\[ONNX Layer: (.*?)\]", match["made_of"]),
            }
            for severity, text in log.lines
            if severity == "VERBOSE"
            for match in _LAYER.finditer(text)
        ],
    }
    json.dump(result, sys.stdout)


def tensors(text: str) -> list[dict]:
    return [
        {"name": name, "shape": [int(side) for side in sides.split(",") if side], "type": kind}
        for name, sides, kind in _TENSOR.findall(text)
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
