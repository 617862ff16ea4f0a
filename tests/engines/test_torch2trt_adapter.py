"""The other builder: the same plan file, the same runtime, and the maps of the recipe within its tolerance."""

import gc
import json
from contextlib import closing

import onnx
import pytest
from device import simulated_device

from engines.cli import main
from engines.errors import EngineError
from engines.golden import load_golden
from engines.plans.builder import BuildOptions
from engines.plans.library import load_library
from engines.recipe import MODEL_FILES
from engines.runtime.cuda_memory import open_cuda
from engines.runtime.tensorrt import TensorRtRuntime
from engines.torch2trt_adapter import Torch2trtBuilder

pytest.importorskip("torch", reason="torch2trt needs torch: pip install 'edge-agent[train]'")

OLD = ["10.3.0", "10.13.3.9", "10.16.1.11"]
INSTEAD = "Leave out `--builder torch2trt`"


@pytest.fixture(params=OLD)
def device(request, tmp_path, monkeypatch):
    with simulated_device(tmp_path, monkeypatch, tensorrt=request.param, torch2trt=True) as machine:
        yield machine
        gc.collect()


def build(recipe, result, *more):
    code = main(["build", str(recipe), "--json", str(result), *more])
    return code, json.loads(result.read_text()) if code == 0 else None


def test_it_makes_the_plan_that_the_agent_looks_for(device, tiny_recipe, tmp_path, capsys):
    code, built = build(tiny_recipe, tmp_path / "built.json", "--builder", "torch2trt")
    assert code == 0
    assert built["plan"]["builder"] == "torch2trt"
    assert "by torch2trt, weak typing" in capsys.readouterr().out
    runtime = TensorRtRuntime(tiny_recipe / MODEL_FILES["tensorrt"])
    assert not runtime.plan.built_now
    assert runtime.plan.facts["builder"] == "torch2trt"
    runtime.close()


def test_all_convolutions_but_the_last_are_int8(device, tiny_recipe, tmp_path):
    _, other = build(tiny_recipe, tmp_path / "built.json", "--builder", "torch2trt")
    _, usual = build(tiny_recipe, tmp_path / "built.json", "--builder", "tensorrt")
    assert usual["plan"]["builder"] == "tensorrt"
    assert usual["built_now"]
    assert other["plan"]["int8_convolutions"] == usual["plan"]["int8_convolutions"] > 10
    assert other["plan"]["hidden_convolutions"] == 0


def test_a_plan_that_is_there_will_do_whoever_built_it(device, tiny_recipe, tmp_path):
    build(tiny_recipe, tmp_path / "built.json", "--builder", "torch2trt")
    _, found = build(tiny_recipe, tmp_path / "built.json")
    assert not found["built_now"]
    assert found["plan"]["builder"] == "torch2trt"


@pytest.fixture(scope="session")
def headed_recipe(tmp_path_factory, good_frames_folder):
    """A recipe with a defect head, on tiles."""
    folder = tmp_path_factory.mktemp("headed") / "part"
    words = ["--steps", "30", "--width", "16", "--tiles", "1x2", "--size", "64", "--errors", "ssim,msgms,learned"]
    assert main(["train", str(good_frames_folder), "--recipe", str(folder), *words]) == 0
    return folder


def test_the_defect_head_and_tiles_are_converted_too(device, headed_recipe, tmp_path):
    code, built = build(headed_recipe, tmp_path / "built.json", "--builder", "torch2trt")
    assert code == 0
    _, usual = build(headed_recipe, tmp_path / "built.json", "--builder", "tensorrt")
    assert built["plan"]["int8_convolutions"] == usual["plan"]["int8_convolutions"] > 20


def test_tensorrt_11_is_refused_and_the_main_path_named(tiny_recipe, tmp_path, monkeypatch, capsys):
    with simulated_device(tmp_path, monkeypatch, tensorrt="11.4.0.106", torch2trt=True):
        assert build(tiny_recipe, tmp_path / "built.json", "--builder", "torch2trt")[0] == 69
        assert build(tiny_recipe, tmp_path / "built.json")[0] == 0
        gc.collect()
    error = capsys.readouterr().err
    assert "TensorRT 11.4.0.106 has none" in error
    assert INSTEAD in error


def test_without_torch2trt_it_says_where_it_comes_from(tiny_recipe, tmp_path, monkeypatch, capsys):
    with simulated_device(tmp_path, monkeypatch):
        assert build(tiny_recipe, tmp_path / "built.json", "--builder", "torch2trt")[0] == 69
        gc.collect()
    error = capsys.readouterr().err
    assert "docs/jetson.md" in error
    assert INSTEAD in error


def test_a_converter_that_fails_is_an_engine_error(device, tiny_recipe, tmp_path, capsys):
    import torch2trt

    @torch2trt.tensorrt_converter("torch.nn.functional.interpolate")
    def fail(_context):
        raise AssertionError("layer not supported")

    assert build(tiny_recipe, tmp_path / "built.json", "--builder", "torch2trt")[0] == 69
    assert "cannot convert the core" in capsys.readouterr().err
    assert not list((tmp_path / "cache" / "plans").glob("*.plan"))


def test_the_calibration_frames_leave_the_gpu(device, tiny_recipe, tmp_path):
    with closing(open_cuda("auto")) as memory, memory.current():
        mark = memory.mark()
        builder = Torch2trtBuilder([golden.frame for golden in load_golden(tiny_recipe)], memory)
        model = (tiny_recipe / MODEL_FILES["tensorrt"]).read_bytes()
        builder(load_library(), model, BuildOptions(), progress=lambda *_: None)
        assert memory.mark() == mark
        gc.collect()


def test_what_the_conversion_would_leave_out_is_refused(device, tiny_recipe, tmp_path):
    model = onnx.load(tiny_recipe / MODEL_FILES["tensorrt"])
    for node in model.graph.node:
        if node.op_type == "MaxPool" and node.name.startswith("core/"):
            next(a for a in node.attribute if a.name == "pads").ints[:] = [0, 0, 0, 1]
    with closing(open_cuda("auto")) as memory, memory.current():
        builder = Torch2trtBuilder([golden.frame for golden in load_golden(tiny_recipe)], memory)
        with pytest.raises(EngineError, match="MaxPool with unusual pads"):
            builder(load_library(), model.SerializeToString(), BuildOptions(), progress=lambda *_: None)
        gc.collect()
