"""Many variants: each differs in what it says, and is measured once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch: pip install 'edge-agent[train]'")

import ablation
import objectives
from ablation_variants import GROUPS, SAME, USUAL, plan
from lessons import Budget, grey_copy, schedule_of
from map_figures import complete, floor_share
from plans import Lesson, Measurement, Study
from study import run_study

import engines.moments
from calibrate.dataset import list_labelled
from engines.corruptions import Corruptor
from engines.errors import UsageError
from engines.images import list_images, read_image
from engines.map_choice import MapChoice

ROOT = Path(__file__).parent.parent.parent
BUDGET = Budget(size=64, steps=3, seed=0, device="cpu")
LESSON = Lesson("plain", objective="plain", width=16)
MAPS = [Measurement("l2", ("l2",)), Measurement("msgms", ("msgms",))]


def run(folder, dataset, plan, *words):
    files = [f"--{what}={folder / what}" for what in ("rows", "looks", "table", "work")]
    options = ["--size", str(BUDGET.size), "--steps", str(BUDGET.steps), "--data", str(dataset)]
    sets = [item.errors for item in MAPS]
    return run_study(Study("objectives", "Few", lambda: plan, sets, objectives.tables), [*options, *files, *words])


def rows_in(folder):
    return [json.loads(line) for line in (folder / "rows").read_text().splitlines()]


def test_every_error_map_from_one_training_and_no_row_twice(dataset, tmp_path, capsys):
    assert run(tmp_path, dataset, [(LESSON, MAPS)]) == 0
    rows = rows_in(tmp_path)
    assert [(row["measurement"], row["errors"], row["frames"]) for row in rows] == [
        ("l2", ["l2"], 12),
        ("msgms", ["msgms"], 12),
    ]
    assert len({row["loss"] for row in rows}) == 1
    assert len({row["pixel_auroc"] for row in rows}) == 2
    texts = [(tmp_path / name).read_text() for name in ("rows", "looks", "table")]
    assert not [text for text in texts if str(tmp_path) in text or str(dataset.parent) in text]
    assert texts[1].count("benchmarks/objectives.py") == 2
    # Half a study that is continued trains nothing again.
    (tmp_path / "rows").write_text(texts[0].splitlines(keepends=True)[0])
    capsys.readouterr()
    assert run(tmp_path, dataset, [(LESSON, MAPS)]) == 0
    said = capsys.readouterr()
    assert "1 rows of 1 networks" in said.out
    assert "training" not in said.err
    assert [row["pixel_auroc"] for row in rows_in(tmp_path)] == [row["pixel_auroc"] for row in rows]


def test_a_network_that_cannot_be_measured_is_named_and_the_others_are(dataset, tmp_path, capsys):
    plan = [(LESSON, [Measurement("same", like=("other", "l2"))]), (LESSON, MAPS[:1])]
    assert run(tmp_path, dataset, plan) == 69
    assert "plain: `same` needs the row of other, l2." in capsys.readouterr().err
    assert [row["measurement"] for row in rows_in(tmp_path)] == ["l2"]


def test_an_unknown_network_lists_the_known_ones(dataset, tmp_path):
    with pytest.raises(UsageError, match=r"--only perfect is not known. Give some of: plain\."):
        run(tmp_path, dataset, [(LESSON, MAPS)], "--only", "perfect")


def test_the_usual_training_comes_first_and_every_other_differs_from_it():
    lessons = [lesson for lesson, _ in plan()]
    usual = lessons[0]
    assert (usual.name, plan()[0][1][0].name) == USUAL
    assert len({lesson.name for lesson in lessons}) == len(lessons)
    for lesson, measurements in plan()[1:]:
        assert (lesson.kind, lesson.width, lesson.grey) != (usual.kind, usual.width, usual.grey)
        assert measurements[-1] is SAME
    names = {(lesson.name, item.name) for lesson, items in plan() for item in items if item is not SAME}
    assert names == set(GROUPS)


def test_a_lesson_without_a_kind_is_left_out_and_only_that():
    frames = np.random.default_rng(0).integers(60, 200, (6, 64, 64, 3), dtype=np.uint8)
    corruptor = Corruptor(frames, rotates=False)
    by_name = {lesson.name: lesson for lesson, _ in plan()}
    usual = by_name[USUAL[0]]
    assert schedule_of(by_name["without crack"], BUDGET) == schedule_of(usual, BUDGET)
    clean = by_name["1 clean"].kind(3, 16).pair(corruptor, (0, 0), 8)
    assert (clean.shown == clean.target).all()
    spoiled = by_name["0 clean"].kind(3, 16).pair(corruptor, (0, 0), 8)
    assert all((shown != target).any() for shown, target in zip(spoiled.shown, spoiled.target, strict=True))
    bold, faint = (by_name[f"{which} ones only"].kind(3, 16).pair(corruptor, (0, 0), 8) for which in ("bold", "faint"))
    change = [np.abs(pair.shown.astype(int) - pair.target).mean() for pair in (bold, faint)]
    assert change[0] > change[1] > 0


def test_what_a_measurement_leaves_open_is_chosen_by_the_quality():
    chosen = MapChoice(["l2"], 5, {"l2 5": 0.8, "l2 11": 0.7, "l2+msgms 5": 0.6, "l2+msgms 11": 0.65})
    assert complete(Measurement("free"), chosen) == MapChoice(["l2"], 5, {"l2 5": 0.8})
    assert complete(Measurement("box", box_map_px=1), chosen) == MapChoice(["l2"], 1, {})
    assert complete(Measurement("maps", ("l2", "msgms")), chosen) == MapChoice(
        ["l2", "msgms"], 11, {"l2+msgms 11": 0.65}
    )


def test_the_floor_is_another_only_inside_the_block():
    usual = engines.moments.FLOOR_SHARE
    with floor_share(usual + 1):
        assert usual + 1 == engines.moments.FLOOR_SHARE
    assert usual == engines.moments.FLOOR_SHARE
    with floor_share(None):
        assert usual == engines.moments.FLOOR_SHARE


def test_a_grey_copy_has_the_same_frames_and_masks(dataset, tmp_path):
    copy = grey_copy(dataset, tmp_path / "grey")
    assert [path.name for path in list_images(copy / "train" / "good")] == [f"{i:03d}.png" for i in range(40)]
    assert read_image(copy / "train" / "good" / "000.png").shape == (80, 96, 1)
    frames, originals = list_labelled(copy), list_labelled(dataset)
    assert [(f.label, f.path.name) for f in frames] == [(f.label, f.path.name) for f in originals]
    assert all(frame.mask_path is not None for frame in frames if not frame.is_good)


def figures(lesson, measurement, image_auroc, **changes):
    row = {"dataset": "bottle", "lesson": lesson, "measurement": measurement, "size": 128, "steps": 1000, "seed": 0}
    row |= {"commit": "abc", "command": "python study", "machine": {"processor": "Nine", "cpus": 2}, "load": 1.0}
    row |= {"minutes": 2.0, "device": "cpu", "bf16": True, "errors": ["l2"], "box_map_px": 5, "synthetic_quality": 0.8}
    row |= {"image_auroc": image_auroc, "image_auroc_interval_95": [0.5, 1.0], "pixel_auroc": 0.9, "aupro": 0.8}
    row |= {"aupro_005": 0.5, "recall": 0.7, "false_reject_rate": 0.1, "promised_false_reject_rate": 0.04, "gmac": 0.5}
    return {**row, **changes}


def test_a_change_is_measured_with_the_same_maps_where_there_is_such_a_row():
    rows = [
        figures(*USUAL, 0.9),
        figures("without crack", USUAL[1], 0.95, box_map_px=11),
        figures("without crack", SAME.name, 0.85),
        figures(USUAL[0], "box 1", 0.8, pixel_auroc=None),
    ]
    text = ablation.tables(rows)
    assert "| without crack | l2 | 11 | 0.800 | 0.9500 [0.500, 1.000] |" in text
    assert "| -0.0500 | +0.0000 | +0.0000 |" in text
    assert "| box 1 | l2 | 5 | 0.800 | 0.8000 [0.500, 1.000] | - |" in text
    assert "| -0.1000 | - | +0.0000 |" in text
    assert SAME.name not in text
    assert "2 networks, 4 minutes" in text


def test_the_best_of_a_matrix_is_bold():
    rows = [figures("restore", "l2", 0.9), figures("restore", "msgms", 0.8), figures("plain", "l2", 0.7)]
    text = objectives.tables(rows)
    assert "| restore | **0.9000** | - | 0.8000 | - | - | - |" in text
    assert "| plain | 0.7000 | - | - | - | - | - |" in text
    assert text.index("| restore | l2 | 5 |") < text.index("| plain | l2 | 5 |")


@pytest.mark.parametrize("program", ["objectives", "ablation"])
def test_the_processor_is_prepared_before_torch_is_imported(program):
    code = f"import sys, {program}; sys.exit('torch' in sys.modules)"
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "benchmarks"))
    done = subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0
