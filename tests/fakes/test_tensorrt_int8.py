"""Implicit INT8 in weakly typed networks: which layers run in it, and which precisions count."""

import json

import numpy as np
import onnx
import pytest

from fakes.evidence import breaks
from fakes.install import installed_fakes
from fakes.models import inspection_model
from fakes.tensorrt_versions import VERSIONS
from fakes.weak_network import FRAME, Draft

X = FRAME.astype(np.float32) / 255
OLD = [version for version in VERSIONS if version.startswith("10.")]


@pytest.fixture(params=OLD)
def trt(request):
    with installed_fakes(tensorrt=request.param) as machine:
        import tensorrt

        tensorrt.machine = machine
        yield tensorrt


def constrain(draft, names=None, *, outputs=True):
    """Ask for float32 in layers, all that work on floats unless named."""
    for layer in draft.network:
        if layer.name in names if names is not None else layer.type != draft.trt.LayerType.CONSTANT:
            layer.precision = draft.trt.float32
            if outputs:
                layer.set_output_type(0, draft.trt.float32)


def int8_layers(draft):
    inspector = draft.engine().create_engine_inspector()
    report = json.loads(inspector.get_engine_information(draft.trt.LayerInformationFormat.JSON))
    return {layer["Name"]: "Int8" in layer["Inputs"][0]["Format/Datatype"] for layer in report["Layers"]}


def test_11_has_no_calibration():
    with installed_fakes(tensorrt="11.4.0.106"):
        import tensorrt as trt

        names = ["CalibrationAlgoType", "IInt8Calibrator", "IInt8EntropyCalibrator2", "IInt8MinMaxCalibrator"]
        assert not [name for name in names if hasattr(trt, name)]
        assert not {"OBEY_PRECISION_CONSTRAINTS", "INT8"} & set(trt.BuilderFlag.__members__)
        gone = ["reset_precision", "set_output_type", "output_type_is_set", "reset_output_type"]
        assert not [name for name in gone if hasattr(trt.ILayer, name)]
        assert not hasattr(trt.ITensor, "set_dynamic_range")
        assert hasattr(trt.ILayer, "get_output_type")


def test_a_calibrated_network_runs_in_int8(trt):
    draft = Draft(trt)
    exact = draft.maps()
    np.testing.assert_allclose(exact, X, atol=1e-6)
    draft.flag("INT8")
    calibrator = draft.config.int8_calibrator = draft.calibrator([FRAME // 2, FRAME])
    assert draft.config.int8_calibrator is calibrator
    assert 1e-3 < draft.error() < 0.1
    assert calibrator.frames == []
    lines = calibrator.written.decode().splitlines()
    assert (
        lines[0]
        == f"TRT-{'10' + ''.join(f'{int(n):02d}' for n in trt.__version__.split('.')[1:3])}-EntropyCalibration2"
    )
    assert {line.split(":")[0] for line in lines[1:]} >= {"cast", "x", "y", "anomaly_maps"}
    assert "frame" not in {line.split(":")[0] for line in lines[1:]}


def test_convolutions_may_share_their_weights(draft):
    model = onnx.load_model_from_string(inspection_model(quantised=False))
    again = onnx.helper.make_node("Conv", ["y", "kernel_float"], ["yy"], "core/again")
    model.graph.node.insert(4, again)
    model.graph.node[5].input[0] = "yy"
    shared = Draft(draft.trt, model.SerializeToString())
    shared.flag("INT8")
    shared.config.int8_calibrator = shared.calibrator()
    np.testing.assert_allclose(shared.maps(), 3 * X, atol=0.1)


@breaks("trt-missing-scale")
def test_a_layer_without_ranges_is_not_int8(draft):
    draft.config.int8_calibrator = None
    for name in ("x", "y", "r"):
        assert draft.tensor(name).set_dynamic_range(-2.0, 2.0)
    assert draft.tensor("x").dynamic_range == (-2.0, 2.0)
    layers = int8_layers(draft)
    assert (layers["core/conv + core/act"], layers["to_unit"]) == (True, False)
    assert "trt-missing-scale" in draft.machine.refused
    assert any("tensor planes" in text for level, text in draft.logger.messages if level == "WARNING")


def test_the_inspector_names_int8_convolutions_as_the_program_did(draft):
    assert int8_layers(draft)["core/conv + core/act"]
    draft.layer("core/conv").name = "mine"
    draft.config.int8_calibrator = draft.calibrator()
    assert int8_layers(draft)["mine + core/act"]
    draft.flag("OBEY_PRECISION_CONSTRAINTS")
    constrain(draft, ["mine", "core/act", "to_unit"])
    draft.config.int8_calibrator = draft.calibrator()
    assert not int8_layers(draft)["mine + core/act"]


def test_precisions_count_with_a_flag_only(draft):
    constrain(draft)
    assert draft.error() > 1e-3
    draft.flag("OBEY_PRECISION_CONSTRAINTS")
    draft.config.int8_calibrator = draft.calibrator()
    assert draft.error() < 1e-6


def test_prefer_counts_too_and_precisions_can_be_taken_back(draft):
    constrain(draft)
    draft.flag("PREFER_PRECISION_CONSTRAINTS")
    assert draft.error() < 1e-6
    for layer in draft.network:
        layer.reset_precision()
        layer.reset_output_type(0)
        assert not layer.precision_is_set or layer.output_type_is_set(0)
    draft.config.int8_calibrator = draft.calibrator()
    assert draft.error() > 1e-3


def test_what_an_int8_layer_makes_is_int8_unless_its_output_type_is_set(draft):
    draft.flag("OBEY_PRECISION_CONSTRAINTS")
    floats = [layer.name for layer in draft.network if layer.name not in {"core/conv", "core/act", "scale"}]
    constrain(draft, floats)
    # A wide range, so that storing the tensor costs more than computing it.
    draft.tensor("r").set_dynamic_range(-8.0, 8.0)
    stored = draft.error()
    draft.config.int8_calibrator = draft.calibrator()
    draft.layer("core/act").set_output_type(0, draft.trt.float32)
    assert draft.layer("core/act").get_output_type(0) == draft.trt.float32
    assert 1e-3 < draft.error() < stored


@breaks("trt-precision-type", "trt-shape-output-type")
def test_shapes_have_no_precision(draft):
    trt, network = draft.trt, draft.network
    shape = network.add_shape(draft.tensor("x"))
    assert shape.precision == trt.int64
    shape.set_output_type(0, trt.float32)
    assert draft.machine.refused == ["trt-shape-output-type"]
    assert not shape.output_type_is_set(0)
    shape.precision = trt.float32
    assert draft.build() is not None
    assert draft.machine.refused[-1] == "trt-precision-type"
    assert draft.logger.messages[-1][0] == "WARNING"
    numbers = network.add_constant((1,), np.array([1], np.int64))
    numbers.precision = trt.float32
    draft.config.int8_calibrator = draft.calibrator()
    assert draft.refusal() == "trt-precision-type"
    assert "cannot use precision Float with weights of type Int64" in draft.logger.messages[-1][1]


def test_a_cast_of_the_frame_may_be_float(draft):
    cast = draft.layer("cast")
    assert cast.precision == draft.trt.float32
    constrain(draft, ["cast"])
    assert draft.build() is not None
    assert draft.machine.refused == []


@breaks("trt-obey")
@pytest.mark.parametrize("way", ["OBEY", "PREFER"])
def test_a_precision_that_cannot_be(draft, way):
    draft.layer("cast").precision = draft.trt.int8
    draft.flag(f"{way}_PRECISION_CONSTRAINTS")
    assert (draft.build() is None) == (way == "OBEY")
    assert draft.machine.refused == ["trt-obey"]


@breaks("trt-one-constraint")
def test_one_way_to_constrain(draft):
    draft.flag("OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS")
    assert draft.refusal() == "trt-one-constraint"


@breaks("trt-int8-flag")
@pytest.mark.parametrize(("kind", "name"), [("int8", "Int8"), ("float16", "FP16")])
def test_a_precision_needs_its_flag(draft, kind, name):
    draft.config.clear_flag(draft.trt.BuilderFlag.INT8)
    draft.layer("core/conv").precision = getattr(draft.trt, kind)
    assert draft.refusal() == "trt-int8-flag"
    assert f"{name} precision has been set" in draft.logger.messages[-1][1]


@breaks("trt-strong-layer", "trt-strong-calibrator")
def test_strong_typing_excludes_all_of_it(draft):
    strong = Draft(draft.trt, strongly=True)
    layer = strong.layer("core/conv")
    layer.precision = draft.trt.float32
    layer.set_output_type(0, draft.trt.float32)
    assert strong.machine.refused == ["trt-strong-layer"] * 2
    assert not layer.precision_is_set
    assert not layer.output_type_is_set(0)
    strong.config.int8_calibrator = strong.calibrator()
    assert strong.refusal() == "trt-strong-calibrator"
    strong.flag("INT8")
    assert strong.refusal() == "trt-strong-flags"
