"""The whole way on real parts, where a data set in MVTec AD layout is at hand: `pytest --data DIR` or EDGE_DATA."""

import json

import pytest
import yaml

from calibrate.cli import main as edge_calibrate
from edge_agent.cli import main as edge_agent
from engines.cli import main as edge_engines
from engines.images import list_images

PART = "mvtec_bottle"


@pytest.fixture(scope="module")
def part(request):
    root = request.config.getoption("--data")
    if root is None or not (root / PART / "train" / "good").is_dir():
        pytest.skip(f"needs {PART}: run with --data DIR or EDGE_DATA, the folder that holds {PART}/")
    return root / PART


@pytest.fixture(scope="module")
def recipe(part, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "recipe"
    good = str(part / "train" / "good")
    assert edge_engines(["train", good, "--recipe", str(folder), "--size", "128", "--steps", "150"]) == 0
    assert edge_calibrate(["fit", str(folder), "--images", good, "--false-reject-rate", "0.05"]) == 0
    return folder


def test_the_figures_are_far_from_chance_after_a_minute(recipe, part, tmp_path):
    target = tmp_path / "figures.json"
    assert edge_calibrate(["evaluate", str(recipe), str(part), "--json", str(target)]) == 0
    figures = json.loads(target.read_text())
    assert figures["image_auroc"] > 0.8
    assert figures["pixel_auroc"] > 0.6


def test_every_frame_gives_one_verdict_and_never_invalid(recipe, part, tmp_path):
    config = {
        "schema": 1,
        "site": "real",
        "station": "bottle",
        "recipe": str(recipe),
        "state_dir": "state",
        "camera": {"uri": f"folder://{part}/test?recursive=1", "mode": "free_run"},
        "trigger": {"deadline_ms": 1000, "capture_within_ms": 1000, "dedupe_window_s": 60},
        "mqtt": {"broker": "mqtt://127.0.0.1:1", "consumer": "plc"},
    }
    (tmp_path / "station.yaml").write_text(yaml.safe_dump(config))
    words = ["replay", "--config", tmp_path / "station.yaml", part / "test", "--results", tmp_path / "results.jsonl"]
    assert edge_agent([str(word) for word in words]) == 0
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    files = list_images(part / "test", recursive=True)
    assert [line["source"] for line in lines] == [str(path.relative_to(part / "test")) for path in files]
    assert {line["verdict"] for line in lines} == {"PASS", "FAIL"}
