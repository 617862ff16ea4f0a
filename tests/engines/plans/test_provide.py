"""What is refused before a plan is kept, and what becomes of plans that turn out to be wrong or are older."""

import gc
import json
import shutil
import socket
import threading
from contextlib import closing, suppress
from dataclasses import replace

import pytest
from device import simulated_device
from running_station import RunningStation

from calibrate.cli import main as calibrate
from edge_agent.live_recipe import open_live_recipe
from edge_agent.recipe_switch import RecipeSwitch
from edge_agent.station import EnginePart, load_station
from engines.cli import main
from engines.errors import EngineError
from engines.plans import builder, provide
from engines.plans.builder import TensorRtBuilder
from engines.plans.layers import Layer
from engines.plans.library import load_library
from engines.plans.store import PlanStore
from engines.recipe import MODEL_FILES
from engines.runtime.tensorrt import TensorRtRuntime


@pytest.fixture
def device(tmp_path, monkeypatch):
    with simulated_device(tmp_path, monkeypatch) as machine:
        yield machine
        gc.collect()


def plans(tmp_path):
    return list((tmp_path / "cache" / "plans").glob("*.plan"))


def with_layers(monkeypatch, change):
    real = provide.inspect_plan
    monkeypatch.setattr(provide, "inspect_plan", lambda *given: [change(layer) for layer in real(*given)])


def test_one_convolution_without_int8_is_refused(device, tiny_recipe, tmp_path, monkeypatch, capsys):
    names = provide.int8_convolutions((tiny_recipe / MODEL_FILES["tensorrt"]).read_bytes())

    def floating(layer):
        return replace(layer, inputs=("Row major linear FP32",)) if names[3] in layer.nodes else layer

    with_layers(monkeypatch, floating)
    assert main(["build", str(tiny_recipe)]) == 69
    assert f"without INT8: {names[3]}" in capsys.readouterr().err
    assert not plans(tmp_path)


def test_a_list_that_names_no_convolution_proves_nothing(device, tiny_recipe, tmp_path, monkeypatch, capsys):
    with_layers(monkeypatch, lambda _: Layer("myelin", "Myelin", (), ()))
    assert main(["build", str(tiny_recipe)]) == 69
    assert "does not say of any convolution" in capsys.readouterr().err
    assert not plans(tmp_path)


def test_a_plan_from_before_there_were_two_builders_is_taken(device, tiny_recipe, tmp_path, monkeypatch, capsys):
    real = PlanStore.save

    def older(store, key, content, facts):
        return real(store, key, content, {name: fact for name, fact in facts.items() if name != "builder"})

    monkeypatch.setattr(PlanStore, "save", older)
    assert main(["build", str(tiny_recipe)]) == 0
    monkeypatch.undo()
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    for words in ([], ["--builder", "tensorrt"]):
        assert main(["build", str(tiny_recipe), *words]) == 0
        assert "was there already by tensorrt" in capsys.readouterr().out


class WrongBuilder(TensorRtBuilder):
    """Builds a plan whose maps are not the recipe's."""

    def __call__(self, library, model, options, *, timing_cache=b"", progress):
        import onnx
        from onnx import numpy_helper

        wrong = onnx.load_model_from_string(model)
        for tensor in wrong.graph.initializer:
            if tensor.name.endswith("last.bias"):
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 0.3, tensor.name))
        return super().__call__(
            library, wrong.SerializeToString(), options, timing_cache=timing_cache, progress=progress
        )


def test_a_plan_with_wrong_maps_is_removed_and_the_next_build_is_sound(
    device, tiny_recipe, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("engines.torch2trt_adapter.Torch2trtBuilder", lambda *_: WrongBuilder())
    assert main(["build", str(tiny_recipe), "--again", "--builder", "torch2trt"]) == 69
    assert "The plan was removed. Run the same command without `--builder`" in capsys.readouterr().err
    assert not plans(tmp_path)
    assert main(["build", str(tiny_recipe)]) == 0


def test_the_agent_compiles_anew_what_answers_wrongly(device, fitted_tensorrt_recipe, monkeypatch, caplog):
    model = fitted_tensorrt_recipe / MODEL_FILES["tensorrt"]
    monkeypatch.setattr(provide, "TensorRtBuilder", WrongBuilder)
    TensorRtRuntime(model).close()
    monkeypatch.setattr(provide, "TensorRtBuilder", TensorRtBuilder)
    live = open_live_recipe(fitted_tensorrt_recipe, EnginePart(runtime="tensorrt"))
    built_now = live.runtime.plan.built_now
    live.close()
    assert built_now
    assert "compiled anew" in caplog.text


def test_the_agent_gives_up_on_an_engine_that_is_wrong_when_new(device, fitted_tensorrt_recipe, monkeypatch):
    monkeypatch.setattr(provide, "TensorRtBuilder", WrongBuilder)
    with pytest.raises(EngineError, match="differs from the golden maps"):
        open_live_recipe(fitted_tensorrt_recipe, EnginePart(runtime="tensorrt"))


def notes(manager):
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(manager.recv(100))
    return found


def test_a_service_manager_is_asked_for_patience_at_the_start_and_not_while_the_line_runs(
    device, fitted_tensorrt_recipe, tmp_path, monkeypatch
):
    written = RunningStation(tmp_path, fitted_tensorrt_recipe, 1, "synthetic://plate", engine={"runtime": "tensorrt"})
    station, woken = load_station(written.config), threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with closing(open_live_recipe(fitted_tensorrt_recipe, station.engine)) as live:
            assert set(notes(manager)) == {b"EXTEND_TIMEOUT_USEC=600000000"}
            shutil.rmtree(tmp_path / "cache")
            switch = RecipeSwitch(station, live, woken.set)
            switch.prepare("tiny")
            assert woken.wait(60)
            with closing(switch.take().live) as prepared:
                assert prepared.runtime.plan.built_now
            assert notes(manager) == []


@pytest.fixture
def fitted_tensorrt_recipe(tiny_recipe, good_frames_folder, tmp_path):
    folder = shutil.copytree(tiny_recipe, tmp_path / "tiny")
    words = ["--images", str(good_frames_folder), "--false-reject-rate", "0.05", "--engine", "tensorrt"]
    assert calibrate(["fit", str(folder), *words]) == 0
    shutil.rmtree(tmp_path / "cache")
    return folder


def test_verify_runs_the_golden_frames_through_the_plan(device, tiny_recipe, tmp_path, capsys):
    result = tmp_path / "verified.json"
    assert main(["verify", str(tiny_recipe), "--engine", "tensorrt", "--json", str(result)]) == 0
    assert "its plan, on the GPU" in capsys.readouterr().out
    assert set(json.loads(result.read_text())["golden"]) == {"cpu", "tensorrt", "plan"}


def test_the_service_manager_hears_of_inner_phases_too(device, tiny_recipe):
    told = []
    library = load_library()
    monitor = builder._monitor(library.trt, lambda phase, share: told.append((phase, share)))
    monitor.phase_start("Building", None, 2)
    monitor.step_complete("Building", 0)
    for step in range(3):
        monitor.phase_start(f"tactics {step}", "Building", 1)
        monitor.step_complete(f"tactics {step}", 0)
        monitor.phase_finish(f"tactics {step}")
    assert told[2:] == [("Building", 0.5)] * 9
