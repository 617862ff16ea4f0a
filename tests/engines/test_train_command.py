"""What `edge-engines train` says and writes, beyond the recipe itself."""

import json
import shlex
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch
import yaml
from parts import draw_part

from engines.cli import main
from engines.command_line import check_can_fill
from engines.device import choose_device
from engines.objectives import objective_names

WORDS = ["--size", "64", "--width", "16", "--batch", "2", "--errors", "l2"]


def train_words(folder, recipe, *more):
    return ["train", str(folder), "--recipe", str(recipe), *WORDS, *more]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_cuda_device_that_is_not_there(good_frames_folder, tmp_path, capsys):
    assert main(train_words(good_frames_folder, tmp_path / "recipe", "--device", "cuda")) == 69
    message = capsys.readouterr().err
    assert "finds no CUDA device" in message
    assert "--device cpu" in message
    assert not list(tmp_path.iterdir())
    assert choose_device("auto") == choose_device("cpu")


def test_an_unknown_objective_lists_the_known_ones(good_frames_folder, tmp_path, capsys):
    assert main(train_words(good_frames_folder, tmp_path / "recipe", "--objective", "perfect")) == 64
    said = capsys.readouterr().err
    assert [name for name in objective_names() if name not in said] == []


def test_grey_images_cannot_be_colorized(tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(12):
        cv2.imwrite(str(images / f"{seed}.png"), cv2.cvtColor(draw_part(seed), cv2.COLOR_BGR2GRAY))
    assert main(train_words(images, tmp_path / "recipe", "--objective", "colorize")) == 64
    assert "the images are grey" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_the_next_command_can_be_copied_and_its_wish_can_be_promised(good_frames_folder, tmp_path, capsys):
    images, recipe = tmp_path / "gute Teile", tmp_path / "Gehäuse 7"
    shutil.copytree(good_frames_folder, images)
    (images / "groups.csv").write_text("file,group\n" + "".join(f"{n:03d}.png,part {n // 4}\n" for n in range(40)))
    assert main(train_words(images, recipe, "--name", "g7", "--steps", "1")) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next")]
    # 5 parts are set aside: they can promise 1 in 6.
    command = ["edge-calibrate", "fit", str(recipe), "--images", str(images), "--false-reject-rate", "0.167"]
    assert shlex.split(line)[1:] == command


def test_the_recipe_records_how_it_was_trained(good_frames_folder, tmp_path):
    recipe = tmp_path / "recipe"
    words = ["--objective", "plain", "--minutes", "0.02", "--json", str(tmp_path / "t.json")]
    assert main(train_words(good_frames_folder, recipe, *words)) == 0
    training = yaml.safe_load((recipe / "recipe.yaml").read_text())["training"]
    figures = json.loads((recipe / "training.json").read_text())
    assert figures == json.loads((tmp_path / "t.json").read_text())
    assert (training["objective"], training["core_input"], training["minutes"]) == ("plain", "picture", 0.02)
    assert training["steps"] == figures["steps"] >= 20
    assert (figures["device"], figures["minutes_asked"]) == ("cpu", 0.02)
    assert figures["precision"] == ("bf16" if figures["bf16"] else "fp32")
    assert figures["energy_note"]
    assert figures["energy_wh"] is None or figures["energy_wh"] > 0
    assert main(["verify", str(recipe)]) == 0


def test_tensorboard_gets_scalars_and_pictures(good_frames_folder, tmp_path):
    pytest.importorskip("tensorboard", reason="it is not installed: pip install 'edge-agent[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ["--objective", "inpaint", "--steps", "3", "--tensorboard", str(tmp_path / "board")]
    assert main(train_words(good_frames_folder, tmp_path / "recipe", *words)) == 0
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    losses = [event.value for event in events.Scalars("loss")]
    assert losses == pytest.approx(json.loads((tmp_path / "recipe" / "training.json").read_text())["losses"], abs=1e-4)
    assert [event.step for event in events.Scalars("learning rate")] == [0, 1, 2]
    (picture,) = events.Images("frame, shown, reconstruction, error")
    assert (picture.width, picture.height) == (4 * 64, 2 * 64)


@pytest.mark.parametrize("place", ["file", "file/board", "gone/board"])
def test_a_folder_for_tensorboard_that_cannot_be_made_is_refused_before_any_work(tmp_path, capsys, place):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere" / "gone")
    words = train_words(tmp_path / "images", tmp_path / "recipe", "--tensorboard", str(tmp_path / place))
    assert main(words) == 64
    assert "--tensorboard: nothing can be written" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "gone"]


def test_a_folder_that_can_be_made_is_not_made_yet(tmp_path):
    check_can_fill("--tensorboard", tmp_path / "far" / "away")
    assert not list(tmp_path.iterdir())


def test_the_picture_shows_frame_corruption_reconstruction_and_error():
    pytest.importorskip("tensorboard", reason="it is not installed: pip install 'edge-agent[tensorboard]'")
    from engines.objective import Pair
    from engines.tensorboard_log import _side_by_side

    target = np.full((1, 2, 2, 3), (0, 51, 102), np.uint8)
    made = torch.full((1, 3, 2, 2), 0.2)
    picture = _side_by_side(Pair(np.zeros_like(target), target), made)
    assert picture.shape == (3, 2, 8)
    expected = [[0.4, 0.0, 0.2, 2 / 3], [0.2, 0.0, 0.2, 2 / 3], [0.0, 0.0, 0.2, 2 / 3]]
    torch.testing.assert_close(picture[:, 0, ::2], torch.tensor(expected))


def test_tensorboard_that_is_not_installed(good_frames_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "engines.tensorboard_log", raising=False)
    for name in [
        name for name in sys.modules if name.split(".")[0] == "tensorboard" or name == "torch.utils.tensorboard"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    words = ["--tensorboard", str(tmp_path / "board")]
    assert main(train_words(good_frames_folder, tmp_path / "recipe", *words)) == 69
    assert '"edge-agent[tensorboard]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
