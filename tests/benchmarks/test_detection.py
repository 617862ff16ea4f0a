"""The table program: its rows survive an interruption, and none is made twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DEADLINE_S = 120


def start(folder, dataset, *words):
    files = [f"--{name}={folder / name}" for name in ("rows", "looks", "table", "work")]
    program = [sys.executable, str(ROOT / "benchmarks" / "detection.py"), "--data", str(dataset.parent)]
    options = ["--steps", "6", "--size", "64", "--width", "16", "--errors", "l2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*program, *options, *files, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def rows_in(folder):
    path = folder / "rows"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.fixture(scope="module")
def interrupted(dataset, tmp_path_factory):
    """A run of two seeds that was stopped in its second row, and then started again."""
    pytest.importorskip("torch", reason="training needs torch: pip install 'edge-agent[train]'")
    folder = tmp_path_factory.mktemp("detection")
    first = start(folder, dataset, "--seeds", "0,1")
    until = time.monotonic() + DEADLINE_S
    while not rows_in(folder) and first.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    said = first.communicate(timeout=DEADLINE_S)[1]
    assert (first.returncode, "the same command continues" in said) == (130, True), said
    assert len(rows_in(folder)) == 1
    second = start(folder, dataset, "--seeds", "0,1")
    said, errors = second.communicate(timeout=DEADLINE_S)
    assert second.returncode == 0, errors
    assert "2 rows, 1 of them are there already" in said
    return folder


def test_every_seed_has_one_row_after_an_interruption(interrupted, dataset):
    rows = rows_in(interrupted)
    assert [(row["dataset"], row["seed"]) for row in rows] == [("part", 0), ("part", 1)]
    again = start(interrupted, dataset, "--seeds", "1,0")
    said = again.communicate(timeout=DEADLINE_S)[0]
    assert (again.returncode, "2 rows, 2 of them are there already" in said) == (0, True)
    assert rows_in(interrupted) == rows


def test_a_row_holds_the_figures_of_three_precisions(interrupted):
    row = rows_in(interrupted)[0]
    assert row["options"] == {"errors": "l2", "size": "64", "width": "16"}
    assert row["budget"] == {"steps": 6}
    assert row["training"]["steps"] == 6
    assert row["training"]["images"] == {"trained": 18, "tuning": 2, "set_aside": 20}
    assert set(row["precisions"]) == {"fp32", "tensorrt", "cpu"}
    for figures in row["precisions"].values():
        assert figures["frames"] == 12
        assert 0.5 < figures["image_auroc"] <= 1
        assert figures["false_reject_wish"] == 0.05
        assert set(figures["by_defect"]) == {"dot", "hole"}
    models = {figures["model_sha256"] for figures in row["precisions"].values()}
    assert len(models) == 3
    for against in row["against_fp32"].values():
        assert 0 <= against["equal_verdicts"] <= against["frames"] == 12
        assert 0 < against["map_difference_good"] < 0.1


def test_no_row_tells_where_it_was_made(interrupted, dataset):
    text = "".join((interrupted / name).read_text() for name in ("rows", "looks", "table"))
    assert str(dataset.parent) not in text
    assert str(interrupted) not in text
    assert str(ROOT) not in text


def test_every_row_is_a_look_and_a_line_of_the_table(interrupted):
    looks = (interrupted / "looks").read_text()
    table = (interrupted / "table").read_text()
    for row in rows_in(interrupted):
        assert f"`{row['command']}`" in looks
        assert f"| {row['training']['steps']} | {row['precisions']['cpu']['image_auroc']:.4f} [" in table
    assert "mean of 2" in table


def test_a_data_set_that_fails_is_named_and_leaves_no_row(dataset, tmp_path):
    run = start(tmp_path, dataset, "--objective", "perfect")
    said = run.communicate(timeout=DEADLINE_S)[1]
    assert run.returncode == 69
    assert "part, seed 0, --steps 6 --objective perfect" in said.splitlines()[-1]
    assert not rows_in(tmp_path)
