import json

import cv2
import numpy as np
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


def test_a_frame_of_another_size_is_named(tiny_recipe, good_frames_folder, tmp_path):
    for index in range(10):
        frame = cv2.imread(str(good_frames_folder / f"{index:03d}.png"))
        cv2.imwrite(str(tmp_path / f"{index}.png"), frame[: 80 - (index == 4)])
    with pytest.raises(DatasetError, match=r"/4\.png: a frame is 96 x 79 colour but the recipe takes 96 x 80"):
        compare_precisions(tiny_recipe, load_recipe(tiny_recipe), tmp_path, threads=1)


PADDED_PX, PADDED_MAP_PX = 8, 5


class NoisyPadding:
    """A runtime whose maps show the frame, and noise where the frame shows padding."""

    frame_shape = (80, 96, 3)

    def __init__(self):
        self.random = np.random.default_rng(0)

    def bind(self, slots):
        (self.slot,) = slots

    def infer(self, _):
        left, right = self.slot[:, :PADDED_PX], self.slot[:, -PADDED_PX:]
        assert (left == left[:, :1]).all(), "a defect was drawn where it can never be found"
        assert (right == right[:, :1]).all(), "a defect was drawn where it can never be found"
        maps = np.repeat(cv2.resize(self.slot[:, :, 1].astype(np.float32), (64, 64))[None], 2, axis=0)
        for side in (np.s_[:, :, :PADDED_MAP_PX], np.s_[:, :, -PADDED_MAP_PX:]):
            maps[side] = self.random.uniform(0, 1e6, maps[side].shape)
        return maps

    def close(self):
        pass


def test_padding_has_no_say(tiny_recipe, good_frames_folder, tmp_path, monkeypatch):
    for index in range(12):
        frame = cv2.imread(str(good_frames_folder / f"{index:03d}.png"))
        cv2.imwrite(str(tmp_path / f"{index:02d}.png"), frame[:, PADDED_PX:-PADDED_PX])
    monkeypatch.setattr("engines.precision.open_runtime", lambda *_, **__: NoisyPadding())
    recipe = load_recipe(tiny_recipe).model_copy(update={"resize": "letterbox"})
    for precision in compare_precisions(tiny_recipe, recipe, tmp_path, threads=1).values():
        assert precision.map_difference == {"good": 0, "defective": 0}
        assert precision.equal_verdicts == 1
        assert precision.auroc > 0.5
