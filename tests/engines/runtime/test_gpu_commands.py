"""`build` and `bench` on a simulated GPU."""

import gc
import json
import socket

import pytest
from device import simulated_device
from fakes.cuda_device import DeviceSettings

from engines.cli import main
from engines.recipe import MODEL_FILES
from engines.runtime.tensorrt import TensorRtRuntime


@pytest.fixture
def device(tmp_path, monkeypatch):
    with simulated_device(tmp_path, monkeypatch) as machine:
        yield machine
        gc.collect()


def test_build_says_what_it_made_and_checks_it(device, tiny_recipe, tmp_path, capsys):
    result = tmp_path / "built.json"
    assert main(["build", str(tiny_recipe), "--json", str(result)]) == 0
    said = capsys.readouterr().out
    assert "TensorRT 10.3.0" in said
    assert "strong typing" in said
    assert "the golden frames give their maps" in said
    content = json.loads(result.read_text())
    assert content["built_now"]
    assert content["plan"]["int8_convolutions"] > 10
    assert content["plan"]["hidden_convolutions"] == 0
    assert main(["build", str(tiny_recipe), "--json", str(result)]) == 0
    assert "was there already" in capsys.readouterr().out
    assert main(["build", str(tiny_recipe), "--again", "--json", str(result)]) == 0
    assert json.loads(result.read_text())["built_now"]


def test_a_service_manager_is_told_to_wait(device, tiny_recipe, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert main(["build", str(tiny_recipe)]) == 0
        assert manager.recv(100) == b"EXTEND_TIMEOUT_USEC=600000000"


def test_a_service_manager_that_does_not_listen_stops_nothing(device, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert main(["build", str(tiny_recipe)]) == 0


def test_a_build_that_fails_keeps_nothing(device, tiny_recipe, tmp_path, capsys):
    device.fail_next("cuMemAlloc", "CUDA_ERROR_OUT_OF_MEMORY", times=20)
    assert main(["build", str(tiny_recipe)]) == 69
    assert not list((tmp_path / "cache" / "plans").glob("*.plan"))
    assert "Traceback" not in capsys.readouterr().err


def test_an_engine_with_other_maps_is_refused(device, tiny_recipe, monkeypatch, capsys):
    device.faults.executes_nothing = True
    assert main(["build", str(tiny_recipe)]) == 69
    assert "golden" in capsys.readouterr().err


def test_bench_records_the_fastest_way_of_a_frame(device, tiny_recipe, tmp_path, capsys):
    result = tmp_path / "bench.json"
    words = ["bench", str(tiny_recipe), "--engine", "tensorrt", "--runs", "3", "--json", str(result)]
    assert main(words) == 0
    figures = json.loads(result.read_text())["models"]
    assert set(figures) == {"registered", "mapped", "device", "managed"}
    fastest = min(figures, key=lambda kind: figures[kind]["p50_ms"])
    assert f"{fastest} is the fastest" in capsys.readouterr().out
    runtime = TensorRtRuntime(tiny_recipe / MODEL_FILES["tensorrt"])
    assert runtime.frame_memory == fastest
    runtime.close()


def test_bench_of_some_ways_records_nothing(device, tiny_recipe, tmp_path, capsys):
    words = ["bench", str(tiny_recipe), "--engine", "tensorrt", "--runs", "2", "--memory", "managed"]
    assert main(words) == 0
    assert "fastest" not in capsys.readouterr().out
    runtime = TensorRtRuntime(tiny_recipe / MODEL_FILES["tensorrt"])
    assert runtime.frame_memory == "registered"
    runtime.close()


def test_bench_leaves_out_what_the_device_cannot(tiny_recipe, tmp_path, monkeypatch):
    result = tmp_path / "bench.json"
    with simulated_device(tmp_path, monkeypatch, settings=DeviceSettings(host_register_supported=False)):
        words = ["bench", str(tiny_recipe), "--engine", "tensorrt", "--runs", "2", "--json", str(result)]
        assert main(words) == 0
        gc.collect()
    assert set(json.loads(result.read_text())["models"]) == {"mapped", "device", "managed"}
