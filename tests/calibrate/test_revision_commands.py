"""What a technician sees of threshold revisions: history, diff, activate, rollback."""

import json
import shutil

import cv2
import numpy as np
import pytest

from calibrate.cli import main
from edge_agent.thresholds import load_thresholds, name_in_force


@pytest.fixture
def recipe(tiny_recipe, good_frames_folder, tmp_path):
    """A recipe with two fits, the second of them in force."""
    folder = shutil.copytree(tiny_recipe, tmp_path / "recipe")
    words = ["fit", str(folder), "--images", str(good_frames_folder), "--false-reject-rate"]
    assert main([*words, "0.05"]) == 0
    assert main([*words, "0.2", "--exclude", "000.png", "--note", "lens cleaned"]) == 0
    return folder


def test_history_shows_revisions_and_who_changed_what(recipe, tmp_path, capsys):
    capsys.readouterr()
    assert main(["history", str(recipe), "--json", str(tmp_path / "history.json")]) == 0
    printed = capsys.readouterr().out
    assert "activate r0002 instead of r0001: lens cleaned" in printed
    content = json.loads((tmp_path / "history.json").read_text())
    assert content["in_force"] == "r0002"
    assert list(content["revisions"]) == ["r0001", "r0002"]
    assert [change["revision"] for change in content["log"]] == ["r0001", "r0002"]


def test_history_cuts_no_word_on_a_narrow_terminal(recipe, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    assert main(["history", str(recipe)]) == 0
    table, _, _ = capsys.readouterr().out.partition("activate")
    assert "…" not in table
    assert {"r0001", "r0002", load_thresholds(recipe).calibration.created[:10], "cleaned"} <= set(table.split())


def test_history_shows_a_damaged_revision_and_all_others(recipe, capsys):
    (recipe / "thresholds" / "r0001" / "scale.npy").write_bytes(b"")
    capsys.readouterr()
    assert main(["history", str(recipe)]) == 0
    printed = capsys.readouterr().out
    assert "damaged" in printed
    assert "scale.npy" in printed


def test_a_recipe_without_revisions_says_how_to_make_one(tiny_recipe, capsys):
    assert main(["history", str(tiny_recipe)]) == 78
    assert "edge-calibrate fit" in capsys.readouterr().err


def test_diff_says_what_changed_in_numbers_and_pictures(recipe, tmp_path, capsys):
    capsys.readouterr()
    page, figures = tmp_path / "diff.html", tmp_path / "diff.json"
    assert main(["diff", str(recipe), "r0001", "r0002", "--html", str(page), "--json", str(figures)]) == 0
    found = json.loads(figures.read_text())
    assert found["why"] == ["-", "lens cleaned"]
    assert float(found["factor"][0]) > float(found["factor"][1])
    assert found["excluded"] == ["-", "000.png"]
    assert found["frames"] == ["40", "40"]
    assert "lens cleaned" in capsys.readouterr().out
    text = page.read_text()
    assert text.count("<img") == 4
    assert "$" not in text


def test_diff_compares_only_what_both_inspect(recipe, good_frames_folder, tmp_path):
    ignored = np.zeros((80, 96), np.uint8)
    ignored[:, 48:] = 255
    cv2.imwrite(str(tmp_path / "ignored.png"), ignored)
    words = ["--images", str(good_frames_folder), "--ignore", str(tmp_path / "ignored.png"), "--min-area-px", "30"]
    assert main(["fit", str(recipe), "--false-reject-rate", "0.2", "--sensitivity", "3", *words]) == 0
    figures = tmp_path / "diff.json"
    assert main(["diff", str(recipe), "r0001", "r0003", "--json", str(figures)]) == 0
    found = json.loads(figures.read_text())
    assert found["never inspected"] == ["0 %", "50 %"]
    assert found["usual error, change"] == ["", "0 %"], "the same frames say what is usual"


def test_diff_with_a_revision_that_is_not_there_names_it(recipe, capsys):
    assert main(["diff", str(recipe), "r0001", "r0009"]) == 78
    assert "r0009" in capsys.readouterr().err


def test_rollback_takes_the_last_activation_back_and_says_what_is_in_force(recipe, capsys):
    assert main(["rollback", str(recipe), "--note", "rejects good parts"]) == 0
    assert name_in_force(recipe) == "r0001"
    assert "Threshold revision r0001" in capsys.readouterr().out
    assert main(["rollback", str(recipe)]) == 78
    assert "nothing was in force before r0001" in capsys.readouterr().err


def test_a_note_may_look_like_markup_and_a_damaged_name_is_said(recipe, capsys):
    assert main(["activate", str(recipe), "r0001", "--note", "lens [/] cleaned [red]"]) == 0
    assert main(["history", str(recipe)]) == 0
    assert "lens [/] cleaned [red]" in capsys.readouterr().out
    (recipe / "thresholds" / "current").write_bytes(b"\xff")
    assert main(["history", str(recipe)]) == 0
    assert "is damaged" in capsys.readouterr().out
    assert main(["rollback", str(recipe)]) == 78
    assert main(["activate", str(recipe), "r0001"]) == 0
