import json

import pytest

from engines.auroc import auroc
from engines.cli import main
from engines.errors import DatasetError
from engines.precision import compare_precisions
from engines.recipe import load_recipe


def test_auroc_is_the_share_of_pairs_in_order():
    pairs = [(b > g) + 0.5 * (b == g) for g in (1, 2, 3) for b in (2, 4)]
    assert auroc([1, 2, 3], [2, 4]) == sum(pairs) / len(pairs)
    assert auroc([0.5], [0.5]) == 0.5


def test_the_three_precisions_are_compared_on_the_same_frames(tiny_recipe, good_frames_folder):
    precisions = compare_precisions(tiny_recipe, load_recipe(tiny_recipe), good_frames_folder, threads=1)
    assert set(precisions) == {"fp32", "tensorrt", "cpu"}
    assert precisions["fp32"].map_difference == {"good": 0, "defective": 0}
    assert precisions["fp32"].equal_verdicts == 1
    for kind in ("tensorrt", "cpu"):
        assert 0 < precisions[kind].map_difference["defective"] < 0.3
        assert precisions[kind].equal_verdicts > 0.8
        assert abs(precisions[kind].auroc - precisions["fp32"].auroc) < 0.1
    assert precisions["fp32"].auroc > 0.5


def test_verify_shows_the_comparison(tiny_recipe, good_frames_folder, tmp_path, capsys):
    arguments = ["verify", str(tiny_recipe), "--images", str(good_frames_folder), "--json", str(tmp_path / "v.json")]
    assert main(arguments) == 0
    assert "synthetic" in capsys.readouterr().out
    assert json.loads((tmp_path / "v.json").read_text())["precisions"]["cpu"]["equal_verdicts"] > 0.8


def test_too_few_images_are_refused(tiny_recipe, good_frames_folder, tmp_path):
    (tmp_path / "one.png").write_bytes((good_frames_folder / "000.png").read_bytes())
    with pytest.raises(DatasetError, match="at least 10"):
        compare_precisions(tiny_recipe, load_recipe(tiny_recipe), tmp_path, threads=1)
