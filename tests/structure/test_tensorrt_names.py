"""Every name of TensorRT's that the code uses exists in the bindings of every version that it claims to run with.

The bindings cannot be imported without their native libraries, but their names are in the file.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
VERSIONS = ["10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106"]
# The files that hold TensorRT's objects, and the variables that they lie in.
FILES = [
    "engines/plans/builder.py",
    "engines/plans/library.py",
    "engines/runtime/tensorrt.py",
    "engines/torch2trt_adapter/__init__.py",
    "engines/torch2trt_adapter/convert.py",
]
OBJECTS = {
    "trt", "base", "builder", "network", "parser", "config", "cache", "runtime", "engine", "inspector", "context",
    "_runtime", "_engine", "_trt", "_network", "layer", "tensor",
}  # fmt: skip
# Used only where `Library.has_weak_typing` holds, that is before 11; the fakes of 11 do not have it either.
GUARDED = {
    name: ["11.4.0.106"]
    for name in (
        *("OBEY_PRECISION_CONSTRAINTS", "CalibrationAlgoType", "MINMAX_CALIBRATION", "int8_calibrator"),
        *("precision", "set_output_type", "set_dynamic_range"),
    )
}


def names_used():
    """Return the attributes of TensorRT's module and objects, and what the code overrides of its classes."""
    names = set()
    for file in FILES:
        for node in ast.walk(ast.parse((ROOT / file).read_text())):
            if isinstance(node, ast.Attribute) and chain_of(node.value) & OBJECTS:
                names.add(node.attr)
            if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "base" for b in node.bases):
                names |= {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
    return sorted(names - OBJECTS - {"__init__"})


def chain_of(node):
    """Return the names before the last dot: of `library.trt.Runtime(log).x` those are `library`, `trt`, `Runtime`."""
    found = set()
    while isinstance(node, ast.Attribute | ast.Call):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        node = node.func if isinstance(node, ast.Call) else node.value
    return found | ({node.id} if isinstance(node, ast.Name) else set())


@cache
def binding(version):
    (path,) = (CACHE / f"tensorrt-{version}").glob("*/tensorrt.so")
    return path.read_bytes()


@pytest.fixture(params=VERSIONS)
def version(request):
    if not (CACHE / f"tensorrt-{request.param}").is_dir():
        pytest.skip(f"the bindings of TensorRT {request.param} are not here: `make gate` fetches them")
    return request.param


def test_the_names_are_found():
    names = names_used()
    assert len(names) > 40
    assert {"execute_async_v3", "STRONGLY_TYPED", "step_complete", "build_serialized_network", "INT8"} <= set(names)


def test_every_name_exists(version):
    # As pybind11 keeps it: the whole name, ended by a zero. A name that ends another one cannot be told apart from it.
    content = binding(version)
    missing = {name for name in names_used() if name.encode() + b"\0" not in content}
    assert missing <= {name for name, versions in GUARDED.items() if version in versions} | {"__version__"}


def test_only_what_a_version_lacks_is_guarded(version):
    content = binding(version)
    assert not [name for name, versions in GUARDED.items() if version in versions and name.encode() + b"\0" in content]


def test_a_name_that_does_not_exist_would_be_missed(version):
    assert b"execute_async_v9\0" not in binding(version)
    assert (b"EXPLICIT_BATCH\0" in binding(version)) == (version != "11.4.0.106")
