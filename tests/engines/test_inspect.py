import gc
import json

import pytest
from device import simulated_device

from engines.cli import main
from engines.recipe import MODEL_FILES
from engines.roofline import BOARDS, ConvolutionCost, convolution_costs
from engines.structure import count_gmac, load_model


def test_the_costs_add_up(tiny_recipe):
    model = load_model(tiny_recipe / MODEL_FILES["tensorrt"])
    costs = convolution_costs(model)
    assert sum(cost.gmac for cost in costs) == pytest.approx(count_gmac(model))
    core = [cost for cost in costs if cost.name.startswith("core/")]
    assert [cost.precision for cost in core].count("float32") == 1
    assert core[-1].precision == "float32"


def test_the_roof_is_the_memory_or_the_arithmetic():
    board = BOARDS[0]
    assert ConvolutionCost("", "int8", 33.0, 0.0).floor_ms(board) == pytest.approx(2.0)
    assert ConvolutionCost("", "int8", 0.0, 102.0).floor_ms(board) == pytest.approx(1.0)
    assert ConvolutionCost("", "float32", 33.0, 0.0).floor_ms(board) == pytest.approx(16.0)


def test_a_recipe_is_shown(tiny_recipe, tmp_path, capsys):
    result = tmp_path / "costs.json"
    assert main(["inspect", str(tiny_recipe), "--json", str(result)]) == 0
    said = capsys.readouterr().out
    assert "Orin Nano Super" in said
    assert json.loads(result.read_text())["convolutions"]


def test_a_plan_is_shown_without_being_opened(tiny_recipe, tmp_path, monkeypatch, capsys):
    with simulated_device(tmp_path, monkeypatch):
        assert main(["build", str(tiny_recipe)]) == 0
        gc.collect()
    (path,) = (tmp_path / "cache" / "plans").glob("*.plan")
    path.write_bytes(b"")
    assert main(["inspect", str(path)]) == 0
    assert "int8 convolutions" in capsys.readouterr().out
    path.with_suffix(".json").unlink()
    assert main(["inspect", str(path)]) == 66
    assert "edge-engines build" in capsys.readouterr().err


def test_one_thing_at_a_time(tiny_recipe, capsys):
    assert main(["inspect"]) == 64
    assert main(["inspect", str(tiny_recipe), "--corruptions", str(tiny_recipe)]) == 64
