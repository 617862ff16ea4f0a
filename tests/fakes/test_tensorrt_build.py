"""Parser and builder of each version: what is read, what is refused, and how failure looks."""

import json

import numpy as np
import pytest

from fakes.evidence import breaks
from fakes.install import installed_fakes
from fakes.models import inspection_model
from fakes.tensorrt_versions import VERSIONS

OLD = [version for version in VERSIONS if version.startswith("10.")]


def heard(trt):
    class Listening(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)
            self.messages = []

        def log(self, severity, msg):
            self.messages.append((severity.name, msg))

    return Listening()


def parsed(trt, model, *, strongly=True):
    """Builder, network, parser, whether it parsed, and the logger."""
    logger = heard(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if strongly else 0)
    parser = trt.OnnxParser(network, logger)
    return builder, network, parser, parser.parse(model), logger


def built(trt, model=None, *, strongly=True, **settings):
    """A plan, or None, and the logger."""
    builder, network, _, is_read, logger = parsed(trt, model or inspection_model(), strongly=strongly)
    assert is_read
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    for flag in settings.get("flags", ()):
        config.set_flag(getattr(trt.BuilderFlag, flag))
    if "workspace" in settings:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings["workspace"])
    config.progress_monitor = settings.get("monitor")
    return builder.build_serialized_network(network, config), logger


@pytest.fixture
def trt10():
    with installed_fakes(tensorrt="10.3.0") as machine:
        import tensorrt

        tensorrt.machine = machine
        yield tensorrt


def test_a_network_is_read_and_built(trt):
    builder, network, parser, is_read, _ = parsed(trt, inspection_model())
    assert is_read
    assert parser.num_errors == 0
    assert (network.num_inputs, network.get_input(0).name, network.get_input(0).shape) == (1, "frame", (1, 16, 64, 1))
    assert trt.nptype(network.get_output(0).dtype) is np.float32
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    assert [layer.name for layer in layers if layer.type == trt.LayerType.CONVOLUTION] == ["core/conv"]
    config = builder.create_builder_config()
    assert config.get_flag(trt.BuilderFlag.TF32)
    del builder, parser
    plan, _ = built(trt)
    assert plan.nbytes == len(bytes(plan)) == memoryview(plan).nbytes
    assert plan
    with pytest.raises(TypeError):
        len(plan)


@breaks("trt-absent-name")
def test_names_that_11_removed_are_absent():
    with installed_fakes(tensorrt="11.4.0.106") as machine:
        import tensorrt as trt

        assert trt.__version__ == "11.4.0.106"
        assert not hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
        assert not {"INT8", "FP16"} & set(trt.BuilderFlag.__members__)
        assert not hasattr(trt.ICudaEngine, "device_memory_size")
        assert not hasattr(trt, "IInt8EntropyCalibrator2")
        builder, network, *_ = parsed(trt, inspection_model(), strongly=False)
        assert not hasattr(network.get_layer(0), "precision")
        assert not hasattr(builder, "platform_has_fast_int8")
        assert set(machine.refused) == {"trt-absent-name"}


@pytest.mark.parametrize("version", OLD)
def test_10_has_them(version):
    with installed_fakes(tensorrt=version):
        import tensorrt as trt

        assert {"INT8", "FP16"} <= set(trt.BuilderFlag.__members__)
        builder, network, *_ = parsed(trt, inspection_model(), strongly=False)
        assert int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH) == 0
        network.get_layer(0).precision = trt.int8
        assert network.get_layer(0).precision == trt.int8
        assert builder.platform_has_fast_int8
        assert "MONITOR_MEMORY" in trt.BuilderFlag.__members__ or version == "10.3.0"


@breaks("trt-base-init")
def test_a_logger_calls_the_base(trt10):
    class Careless(trt10.ILogger):
        def __init__(self):
            self.messages = []

        def log(self, severity, msg): ...

    for make in (trt10.Builder, trt10.Runtime):
        with pytest.raises(TypeError, match="__init__"):
            make(Careless())
    trt10.Builder(heard(trt10))


REFUSED = {
    "trt-unsupported-operator": {"extra": "Det"},
    "trt-uint8": {"transposes_uint8": True},
    "trt-opset": {"opset": 8},
    "trt-zero-point": {"zero": 3},
}


@breaks(*REFUSED)
@pytest.mark.parametrize("rule", REFUSED)
def test_what_the_parser_refuses(trt, rule):
    _, _, parser, is_read, logger = parsed(trt, inspection_model(**REFUSED[rule]))
    assert not is_read
    assert rule in trt.machine.refused
    error = parser.get_error(0)
    assert error.desc()
    assert error.code().name.startswith(("UNSUPPORTED", "INVALID"))
    assert error.node() >= -1
    assert ("ERROR", error.desc()) in logger.messages
    parser.clear_errors()
    assert parser.num_errors == 0


@breaks("trt-opset")
def test_a_newer_opset_is_read_by_a_newer_version():
    results = {}
    for version in VERSIONS:
        with installed_fakes(tensorrt=version):
            import tensorrt as trt

            results[version] = parsed(trt, inspection_model(opset=21))[3]
    assert results == {version: version != "10.3.0" for version in VERSIONS}


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_bytes_that_are_no_model(trt10, content):
    _, _, parser, is_read, _ = parsed(trt10, content)
    assert not is_read
    assert parser.get_error(0).code() == trt10.ErrorCode.MODEL_DESERIALIZE_FAILED


@breaks("trt-uint8-zero-point")
def test_a_uint8_zero_point_is_warned_of(trt):
    _, _, _, is_read, logger = parsed(trt, inspection_model(zero_type=np.uint8))
    assert is_read
    assert any(severity == "WARNING" and "UINT8 zero_point" in text for severity, text in logger.messages)
    assert parsed(trt, inspection_model())[4].messages == []


@breaks("trt-strong-flags", "trt-int8-flag")
def test_typing_and_precision_flags_go_together(trt10):
    plan, logger = built(trt10, flags=["INT8"])
    assert plan is None
    assert "strongly typed" in logger.messages[-1][1]
    plan, logger = built(trt10, strongly=False)
    assert plan is None
    assert "int8 is not configured in the builder" in logger.messages[-1][1]
    assert built(trt10)[0] is not None
    assert built(trt10, strongly=False, flags=["INT8"])[0] is not None
    assert built(trt10, inspection_model(quantised=False), strongly=False)[0] is not None


def test_11_is_always_strongly_typed():
    with installed_fakes(tensorrt="11.4.0.106"):
        import tensorrt as trt

        assert built(trt, strongly=False)[0] is not None


@breaks("trt-strong-layer")
def test_a_strongly_typed_layer_has_its_type(trt10):
    _, network, _, _, logger = parsed(trt10, inspection_model())
    network.get_layer(0).precision = trt10.int8
    assert not network.get_layer(0).precision_is_set
    assert "strongly typed" in logger.messages[-1][1]


@breaks("trt-dynamic-shape", "trt-workspace")
def test_what_the_builder_refuses(trt):
    assert built(trt, inspection_model(height="h"))[0] is None
    assert built(trt, workspace=1024)[0] is None
    assert trt.machine.refused == ["trt-dynamic-shape", "trt-workspace"]
    assert built(trt, workspace=1 << 20)[0] is not None


def test_an_ordered_failure_returns_none_once(trt):
    trt.machine.faults.next_build = "out of luck"
    plan, logger = built(trt)
    assert plan is None
    assert logger.messages == [("ERROR", "out of luck")]
    assert built(trt)[0] is not None


@breaks("trt-cancel")
@pytest.mark.parametrize("cancels", [False, True])
def test_a_monitor_sees_the_build_and_stops_it(trt, cancels):
    class Monitor(trt.IProgressMonitor):
        def __init__(self):
            trt.IProgressMonitor.__init__(self)
            self.calls = []

        def phase_start(self, phase_name, parent_phase, num_steps):
            self.calls.append(("start", phase_name, parent_phase))

        def step_complete(self, phase_name, step):
            return not cancels

        def phase_finish(self, phase_name):
            self.calls.append(("finish", phase_name))

    monitor = Monitor()
    assert (built(trt, monitor=monitor)[0] is None) == cancels
    assert [call[0] for call in monitor.calls] == ["start", "start", "finish", "finish"]


@breaks("trt-timing-cache")
def test_a_timing_cache_belongs_to_a_version(trt10):
    config = trt10.Builder(heard(trt10)).create_builder_config()
    cache = config.create_timing_cache(b"")
    assert config.set_timing_cache(cache, ignore_mismatch=False)
    other = json.dumps(json.loads(bytes(cache.serialize())) | {"version": "10.0.1"}).encode()
    assert config.create_timing_cache(b"damaged") is None
    foreign = config.create_timing_cache(other)
    assert not config.set_timing_cache(foreign, ignore_mismatch=False)
    assert config.set_timing_cache(foreign, ignore_mismatch=True)
    assert config.get_timing_cache() is foreign


def engine_layers(trt, model):
    plan, logger = built(trt, model)
    machine = trt.machine
    if not machine.initialised:
        machine.init()
        machine.push(machine.retain_primary())
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return json.loads(text)


@pytest.mark.parametrize(("changes", "is_int8"), [({}, True), ({"conv": "ConvTranspose"}, False)])
def test_the_inspector_shows_what_runs_in_int8(trt, changes, is_int8):
    report = engine_layers(trt, inspection_model(**changes))
    layer = next(layer for layer in report["Layers"] if "[ONNX Layer: core/conv]" in layer["Metadata"])
    assert layer["Name"].endswith("core/conv + core/act")
    tensor = layer["Inputs"][0]
    old = not trt.__version__.startswith("11")
    assert ("Int8" in tensor["Format/Datatype" if old else "DataType"]) == is_int8
    assert ("Bindings" in report) == old
    assert len(layer["Inputs"]) == 1
