import gc

import numpy as np
import onnx
import pytest
from device import simulated_device

from engines.errors import EngineError
from engines.plans.builder import BuildOptions, TensorRtBuilder
from engines.plans.layers import Layer, int8_report, read_layers
from engines.plans.library import load_library
from engines.recipe import MODEL_FILES

VERSIONS = ["10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106"]


@pytest.fixture(params=VERSIONS)
def library(request, tmp_path, monkeypatch):
    with simulated_device(tmp_path, monkeypatch, tensorrt=request.param):
        yield load_library()
        gc.collect()


@pytest.fixture
def model(tiny_recipe):
    return (tiny_recipe / MODEL_FILES["tensorrt"]).read_bytes()


@pytest.fixture
def configurations(library, monkeypatch):
    """What the builder was given: flags and limits at the moment of each build."""
    trt, seen = library.trt, []
    original = trt.Builder.build_serialized_network

    def build(self, network, config):
        seen.append(
            {
                "tf32": config.get_flag(trt.BuilderFlag.TF32),
                "int8": hasattr(trt.BuilderFlag, "INT8") and config.get_flag(trt.BuilderFlag.INT8),
                "workspace": config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE),
                "level": config.builder_optimization_level,
                "verbosity": config.profiling_verbosity,
            }
        )
        return original(self, network, config)

    monkeypatch.setattr(trt.Builder, "build_serialized_network", build)
    return seen


def silent(_phase, _share):
    pass


def test_one_strongly_typed_build_is_enough(library, model, configurations):
    built = TensorRtBuilder()(library, model, BuildOptions(workspace_mib=64, optimisation_level=2), progress=silent)
    assert built.typing == "strong"
    (given,) = configurations
    assert not given["tf32"], "float32 would have 10 bits of mantissa on Orin"
    assert not given["int8"]
    assert given["workspace"] == 64 << 20
    assert given["level"] == 2
    assert given["verbosity"] == library.trt.ProfilingVerbosity.DETAILED
    assert built.timing_cache


def test_progress_begins_and_ends(library, model):
    told = []
    TensorRtBuilder()(library, model, BuildOptions(), progress=lambda phase, share: told.append((phase, share)))
    assert all(0.0 <= share <= 1.0 for _, share in told)
    assert told[-1][1] == 1.0


def test_a_timing_cache_that_is_not_one_is_done_without(library, model):
    assert TensorRtBuilder()(library, model, BuildOptions(), timing_cache=b"damaged", progress=silent).plan


def test_an_unsigned_zero_point_is_never_built(library, model):
    graph = onnx.load_model_from_string(model)
    for tensor in graph.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8 and not tensor.dims:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(0, np.uint8), tensor.name))
    with pytest.raises(EngineError, match=r"(?i)zero.point"):
        TensorRtBuilder()(library, graph.SerializeToString(), BuildOptions(), progress=silent)


def test_the_layers_of_both_generations_are_read():
    old = '{"Layers": [{"Name": "a + b", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Int8 NC/32HW32"}]}]}'
    new = (
        '{"Layers": [{"Name": "x", "LayerType": "Reformat", "Metadata": "[ONNX Layer: a]\\u001e[ONNX Layer: b]", '
        '"Inputs": [{"Format": "NHWC", "DataType": "Int8"}]}]}'
    )
    for text in (old, new):
        (layer,) = read_layers(text)
        assert layer.nodes == ("a", "b")
        assert layer.takes_int8
    assert layer.is_reformat


def test_layers_with_names_only_are_refused():
    with pytest.raises(ValueError, match="detailed profiling"):
        read_layers('{"Layers": ["a", "b"]}')


def test_the_report_tells_int8_from_float_and_from_hidden():
    layers = [
        Layer("1", "", ("Int8 NCHW",), ("a",)),
        Layer("2", "", ("Float NCHW",), ("b",)),
        Layer("3", "", (), ("c",)),
    ]
    report = int8_report(layers, ["a", "b", "c", "d"])
    assert report.int8 == ("a",)
    assert report.floating == ("b", "c")
    assert report.hidden == ("d",)
